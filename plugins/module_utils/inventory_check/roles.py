# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every role's own argument specification, for every host that gets the role."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    HIDDEN,
    Problem,
    Site,
    is_secret_name,
)


def specifications_hold(site: Site) -> t.Iterator[Problem]:
    for group, roles in site.roles.items():
        for host in site.groups.get(group, []):
            for role in roles:
                if applies(site, host, role):
                    yield from _role(site, host, role)


def applies(site: Site, host: str, role: str) -> bool:
    """Let's Encrypt is one of three ways to a certificate; its variables do not matter to the others."""
    return role != "letsencrypt" or site.get(host, "proxy_apache_certificate") == "letsencrypt"


def _role(site: Site, host: str, role: str) -> t.Iterator[Problem]:
    options = site.specs.get(role, {})
    broken = site.broken.get(host, {})
    variables = {name: site.variables[host][name] for name in options if name in site.variables.get(host, {})}
    for message in site.validate(options, variables):
        names = [name for name in options if re.search(rf"\b{re.escape(name)}\b", message)]
        # A required variable whose template failed is reported with the template's own error.
        names = [name for name in names if name not in broken]
        if not names and any(re.search(rf"\b{re.escape(name)}\b", message) for name in broken):
            continue
        # A message about an element may repeat the element, and with it a password beside the faulty key.
        variable = max(names, key=len, default=f"role {role}")
        secret = any(holds_secret(name, options[name]) for name in names)
        if secret and not re.match(r"missing required arguments|value of \w+ must be", message):
            message = message.split(":")[0]
        problem = site.problem(host, variable, message)
        if secret or variable not in variables:
            problem.value = HIDDEN if variable in variables else "not set"
        yield problem


def holds_secret(name: str, option: dict[str, t.Any]) -> bool:
    nested = option.get("options") or {}
    return bool(option.get("no_log")) or is_secret_name(name) or any(holds_secret(*item) for item in nested.items())


RULES = (specifications_hold,)
