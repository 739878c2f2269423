# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check of the whole input before the first change: plain data in, a list of problems out. No Ansible in here."""

from __future__ import annotations

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check import (
    access,
    bans,
    containers,
    flows,
    hosts,
    proxy,
    roles,
    server,
    structure,
    tiers,
    tunnel,
    volume,
    wazuh,
)
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site

PARTS = (
    structure, roles, access, volume, containers, flows, tunnel, proxy, hosts, bans, wazuh, tiers, server,
)  # fmt: skip


def check(site: Site) -> list[Problem]:
    """Find all problems of all parts; equal ones of several hosts become one."""
    found: dict[tuple[str, str], Problem] = {}
    for part in PARTS:
        for rule in part.RULES:
            for problem in _apply(rule, site, bool(found)):
                known = found.setdefault((problem.variable, problem.why), problem)
                known.hosts.extend(host for host in problem.hosts if host not in known.hosts)
    return list(found.values())


def _apply(rule, site: Site, has_problems: bool) -> list[Problem]:
    """Run one rule. On input whose type is wrong it may fail; the wrong type has been reported by then."""
    try:
        return list(rule(site))
    except (TypeError, ValueError, KeyError, AttributeError):
        if has_problems:
            return []
        raise
