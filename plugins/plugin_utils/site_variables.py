# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of hosts as their tasks will see them: roles' defaults, the inventory above, templates resolved."""

from __future__ import annotations

import typing as t
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.template import Templar

COLLECTION = Path(__file__).resolve().parents[2]
SHARED = (
    "securebox_",
    "vault_",
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_connection",
    "ansible_lxd_ssh_",
    "ansible_ssh_",
    "ansible_private_key_file",
)


class SiteVariables:
    """Resolves the variables of the collection's roles for any host, and keeps why one of them could not be."""

    def __init__(self, loader: t.Any, raw: t.Callable[[str], dict[str, t.Any]], around: dict[str, t.Any]) -> None:
        """`raw` gives a host's variables unresolved; `around` is what templates look at besides: hostvars, groups."""
        self._loader = loader
        self._raw = raw
        self._around = around

    def of(self, host: str, roles: list[str]) -> tuple[dict[str, t.Any], dict[str, str]]:
        """The host's values, and for those that have none the reason."""
        variables = {}
        for role in roles:
            variables.update(self._defaults(role))
        given = self._raw(host)
        variables.update(given)
        variables.update(self._around)
        prefixes = (*SHARED, *(f"{role}_" for role in roles))
        templar = Templar(loader=self._loader, variables=variables)
        values: dict[str, t.Any] = {}
        broken: dict[str, str] = {}
        for name in sorted(variables):
            if not name.startswith(prefixes) or callable(variables[name]):
                continue
            try:
                values[name] = plain(templar.template(variables[name]))
            except AnsibleError as error:
                # What is computed from facts has no value yet: none are gathered before the check.
                if name in given and "ansible_facts" not in str(given[name]):
                    broken[name] = reason(error) + source(given[name])
        return values, broken

    def _defaults(self, role: str) -> dict[str, t.Any]:
        path = COLLECTION / "roles" / role / "defaults" / "main.yml"
        if not path.is_file():
            return {}
        try:
            # Core 2.19 and later resolve templates of trusted sources only; the collection's own files are one.
            return self._loader.load_from_file(str(path), trusted_as_template=True) or {}
        except TypeError:
            return self._loader.load_from_file(str(path)) or {}


def specification(role: str) -> dict[str, t.Any]:
    """The options of a role's argument specification."""
    path = COLLECTION / "roles" / role / "meta" / "argument_specs.yml"
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"].get("options", {})


def plain(value: t.Any) -> t.Any:
    """Ordinary Python values: without Ansible's own subclasses, which carry tags or decrypt themselves."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def reason(error: BaseException) -> str:
    """The innermost reasons, in one line: Ansible wraps one error into another at each level of a template."""
    seen = [error]
    while (inner := getattr(seen[-1], "orig_exc", None) or seen[-1].__cause__) and inner not in seen:
        seen.append(inner)
    texts = [" ".join(str(getattr(item, "message", None) or item).split()) for item in seen]
    last = texts[-1]
    # A lookup's own error says what went wrong, and the one around it with what.
    around = next((text for text in reversed(texts[:-1]) if last not in text), "")
    return (f"{around} {last}" if around and len(texts) > 2 else last)[:300]


def source(value: t.Any) -> str:
    """The first template in a value, which is what the user has to look at."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(source, value)), "")
    return f" It is computed by: {' '.join(value.split())[:120]}" if isinstance(value, str) and "{{" in value else ""
