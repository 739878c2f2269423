# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the whole input on the controller. Rules: module_utils/inventory_check; this gathers what they look at."""

from __future__ import annotations

import os
import typing as t
import zoneinfo
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check import check
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    HIDDEN,
    Controller,
    Problem,
    Site,
    is_secret_name,
)
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.probe import parse
from ansible_collections.securebox.stack.plugins.plugin_utils.inventory_files import InventoryFiles
from ansible_collections.securebox.stack.plugins.plugin_utils.site_variables import SiteVariables, specification

display = Display()


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("roles", "look", "unreachable"))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        roles = self._task.args.get("roles")
        if not isinstance(roles, dict):
            raise AnsibleActionFail("roles is a dictionary: for each group of the inventory the roles of its hosts.")
        look = str(self._task.args.get("look") or "")
        site = build_site(self._loader, task_vars, roles)
        site.server = parse(look)
        site.unreachable = str(self._task.args.get("unreachable") or "")
        if not site.unreachable and site.server is None and site.box:
            site.unreachable = "its answer was cut off: " + " ".join(look.split())[-200:]
        problems = masked(site, check(site))
        result["changed"] = False
        if display.verbosity:
            result["problems"] = [problem.as_dict() for problem in problems]
        if problems:
            result.update(failed=True, msg=message(problems))
        return result


def build_site(loader: t.Any, task_vars: dict[str, t.Any], roles: dict[str, list[str]]) -> Site:
    """Everything that the rules look at, apart from the server itself."""
    groups = {name: list(hosts) for name, hosts in task_vars.get("groups", {}).items()}
    roles_of: dict[str, list[str]] = {}
    for group, names in roles.items():
        for host in groups.get(group, []):
            roles_of.setdefault(host, []).extend(name for name in names if name not in roles_of.get(host, []))

    hostvars = task_vars["hostvars"]
    around = {"hostvars": hostvars, "groups": groups}
    source = SiteVariables(loader, hostvars.raw_get, around)
    site = Site(groups=groups, variables={}, roles=roles, validate=validate)
    for host, names in roles_of.items():
        site.variables[host], site.broken[host] = source.of(host, names)
    site.specs = {role: specification(role) for names in roles.values() for role in names}

    some_host = hostvars.raw_get(next(iter(roles_of))) if roles_of else {}
    directory = some_host.get("inventory_dir") or str(Path.cwd())
    files = InventoryFiles(
        directory,
        some_host.get("inventory_file") or directory,
        {host: hostvars.raw_get(host).get("group_names", []) for host in roles_of},
        {role: group for group in reversed(list(roles)) for role in roles[group]},
    )
    site.locate = files.locate
    site.controller = Controller(has_terminal(), zoneinfo.available_timezones(), file_trouble, head)
    return site


def validate(options: dict[str, t.Any], variables: dict[str, t.Any]) -> list[str]:
    return ArgumentSpecValidator(options).validate(variables).error_messages


def has_terminal() -> bool:
    """Whether someone can be asked. This runs in a worker, whose own standard input is not the user's."""
    try:
        return str(Path(f"/proc/{os.getppid()}/fd/0").readlink()).startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return True


def file_trouble(path: str) -> str:
    file = Path(path).expanduser()
    if not file.exists():
        return "no such file"
    if not file.is_file():
        return "not a file"
    if not os.access(file, os.R_OK):
        return "not readable"
    return "" if file.stat().st_size else "an empty file"


def head(path: str) -> bytes:
    with Path(path).expanduser().open("rb") as file:
        return file.read(4)


def masked(site: Site, problems: list[Problem]) -> list[Problem]:
    """No secret of the inventory in any message, wherever a rule or Ansible may have repeated it."""
    secrets = sorted({value for values in site.variables.values() for value in _secrets(values)}, key=len, reverse=True)
    for problem in problems:
        for secret in secrets:
            problem.value = problem.value.replace(secret, HIDDEN)
            problem.why = problem.why.replace(secret, HIDDEN)
    return problems


def _secrets(value: t.Any, name: str = "") -> t.Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, name)
    # Shorter ones would tear holes into every other word.
    elif isinstance(value, str) and len(value) > 3 and is_secret_name(name):
        yield value


def message(problems: list[Problem]) -> str:
    """What the user sees: one block a problem, in the order in which the parts of the site are described."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{count} in the input. Nothing has been changed on the server.", ""]
    for number, problem in enumerate(problems, start=1):
        where = f" ({', '.join(problem.hosts)})" if problem.hosts else ""
        lines += [
            f"{number}. {problem.variable}{where}",
            f"   found:  {problem.value}",
            f"   wrong:  {problem.why}",
            f"   edit:   {problem.edit}",
            "",
        ]
    return "\n".join(lines).rstrip()
