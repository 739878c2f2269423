# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules look at, and what they find."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass, field

HIDDEN = "(a secret, not shown)"
_SECRET_NAME = re.compile(r"(^vault_|pass(word|phrase|wd)?($|[_.])|secret|token|private|preshared)", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b)?", re.IGNORECASE)
_UNSET = object()


def is_secret_name(name: str) -> bool:
    """Whether a variable, or a key inside one, holds a secret by its name."""
    # A file's name or a TLS key's path is not a secret.
    return bool(_SECRET_NAME.search(name)) and not name.endswith(("_file", "_path", "_private_key"))


@dataclass
class Problem:
    variable: str
    why: str
    value: str = ""
    edit: str = ""
    hosts: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, t.Any]:
        return {"variable": self.variable, "value": self.value, "why": self.why, "edit": self.edit, "hosts": self.hosts}


@dataclass
class Server:
    """What the one look at the server saw. Sizes are in bytes."""

    distribution: str = ""
    release: str = ""
    architecture: str = ""
    python: str = ""
    memory: int = 0
    cpus: int = 0
    # mount point -> (free, total)
    disks: dict[str, tuple[int, int]] = field(default_factory=dict)
    # mount point -> source
    mounts: dict[str, str] = field(default_factory=dict)
    # (interface, address or network)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    routes: list[tuple[str, str]] = field(default_factory=list)
    # path -> {"type": "block" | "file" | "missing", "size": int, "signatures": [(type, uuid)]}
    paths: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    # "installed", "available", "missing", "incus" or "unknown"
    lxd: str = "unknown"


@dataclass
class Controller:
    """What the rules need to know of the machine that Ansible runs on."""

    has_terminal: bool = False
    # All names of time zones; empty when this machine has no table of them.
    timezones: set[str] = field(default_factory=set)
    # path -> "" when it is a readable file, or what is wrong with it
    file_trouble: t.Callable[[str], str] = lambda path: ""
    # path -> its first bytes
    head: t.Callable[[str], bytes] = lambda path: b"PK"


@dataclass
class Site:
    groups: dict[str, list[str]]
    variables: dict[str, dict[str, t.Any]]
    # host -> variable -> why it has no value
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    # group -> roles that its hosts get
    roles: dict[str, list[str]] = field(default_factory=dict)
    # role -> options of its argument specification
    specs: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    # (options, variables) -> error messages: Ansible's own validator
    validate: t.Callable[[dict, dict], list[str]] = lambda options, variables: []
    # (host, variable) -> the file to edit
    locate: t.Callable[[str, str], str] = lambda host, variable: ""
    server: Server | None = None
    unreachable: str = ""
    controller: Controller = field(default_factory=Controller)

    @property
    def box(self) -> str:
        """The one box; empty when there is none, which `structure` reports."""
        return (self.groups.get("box") or [""])[0]

    def first(self, group: str) -> str:
        return (self.groups.get(group) or [""])[0]

    def get(self, host: str, variable: str, default: t.Any = None) -> t.Any:
        value = self.variables.get(host, {}).get(variable)
        return default if value is None else value

    def flag(self, host: str, variable: str, default: bool = False) -> bool:
        """A yes or no, also as the command line has it: `-e name=false` is a string."""
        value = self.get(host, variable, default)
        return value.strip().lower() in ("true", "yes", "on", "y", "t", "1") if isinstance(value, str) else bool(value)

    def items(self, variable: str) -> list[dict[str, t.Any]]:
        """A list of dictionaries of the box; what is not one has been reported by its specification."""
        value = self.get(self.box, variable, [])
        return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

    def problem(self, host: str, variable: str, why: str, value: t.Any = _UNSET) -> Problem:
        """A problem with one variable of one host. `variable` may point into it: `lxd_instances[app1].memory`."""
        name = re.split(r"[\[. ]", variable)[0]
        if value is _UNSET:
            value = self.get(host, name, "not set")
        shown = HIDDEN if is_secret_name(variable) and value != "not set" else show(value)
        return Problem(variable, why, shown, self.locate(host, name), [host] if host else [])


def show(value: t.Any) -> str:
    if value == "":
        return '""'
    if value == []:
        return "an empty list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 160 else text[:157] + "..."


def parse_size(value: t.Any) -> int | None:
    """Bytes of `60G`, `512MiB`, `2048`; None for what is no size. Units are powers of 1024, as for cryptsetup."""
    match = _SIZE.fullmatch(str(value).strip())
    if not match:
        return None
    return int(float(match.group(1)) * 1024 ** " kmgtp".index(match.group(2).lower() or " "))


def human(size: int) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = min((max(size, 1).bit_length() - 1) // 10, len(units) - 1)
    return f"{size / 1024**step:.1f} {units[step]}".replace(".0 ", " ")


def integer(value: t.Any) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None


def interface(value: t.Any) -> t.Any:
    """An address with its network, or None."""
    try:
        return ipaddress.ip_interface(str(value))
    except ValueError:
        return None


def address(value: t.Any) -> t.Any:
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        return None
