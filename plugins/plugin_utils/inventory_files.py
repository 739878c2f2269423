# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds the file of an inventory in which a variable is set, or else the one in which it belongs."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIXES = ("", ".yml", ".yaml", ".json")


class InventoryFiles:
    """Reads the files as text: a template's source is wanted here, not its value."""

    def __init__(
        self, directory: str, hosts_file: str, groups_of: dict[str, list[str]], owners: dict[str, str]
    ) -> None:
        """`groups_of`: a host's groups, the nearest last. `owners`: a role -> the group whose hosts get it."""
        self._directory = Path(directory)
        self._hosts_file = hosts_file
        self._groups_of = groups_of
        self._owners = owners

    def locate(self, host: str, variable: str) -> str:
        """`inventories/my/group_vars/box/lxd.yml:12` where it is set, without the line where it should be."""
        if not variable:
            return shorten(self._hosts_file)
        places = [self._directory / "host_vars" / host]
        places += [self._directory / "group_vars" / group for group in reversed(self._groups_of.get(host, []))]
        for place in [*places, self._directory / "group_vars" / "all"]:
            # Of several files of a folder the last one wins, as in Ansible.
            for file in reversed(_files(place)):
                line = _line_of(file, variable)
                if line:
                    return f"{shorten(str(file))}:{line}"
        if self._hosts_file and (line := _line_of(Path(self._hosts_file), variable, indented=True)):
            return f"{shorten(self._hosts_file)}:{line}"
        return shorten(str(self._directory / "group_vars" / self._home_of(variable)))

    def _home_of(self, variable: str) -> str:
        if variable.startswith("vault_"):
            return "all/vault.yml"
        roles = [role for role in self._owners if variable.startswith(role + "_")]
        if roles:
            role = max(roles, key=len)
            return f"{self._owners[role]}/{role}.yml"
        return "box/connection.yml" if variable.startswith("ansible_") else "all/securebox.yml"


def shorten(path: str) -> str:
    """Relative to where the user is, if it lies below."""
    relative = os.path.relpath(path) if path else ""
    return path if relative.startswith("..") else relative


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file() and path.suffix in SUFFIXES)
    return [path for path in (place.with_name(place.name + suffix) for suffix in SUFFIXES) if path.is_file()]


def _line_of(file: Path, variable: str, indented: bool = False) -> int:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return 0
    pattern = rf"^{'[ ]*' if indented else ''}['\"]?{re.escape(variable)}['\"]?\s*[:=]"
    match = re.search(pattern, text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 0
