# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The groups of the inventory, and variables that have no value at all."""

from __future__ import annotations

import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site

TIERS = ("proxy", "app", "db")


def one_box(site: Site) -> t.Iterator[Problem]:
    boxes = site.groups.get("box", [])
    if len(boxes) != 1:
        why = (
            "no server: put exactly one host into the group box"
            if not boxes
            else (
                "this version makes one box of one server: one host in the group box, another inventory for another box"
            )
        )
        yield Problem("group box", why, ", ".join(boxes) or "an empty group", site.locate("", ""))


def tiers_have_hosts(site: Site) -> t.Iterator[Problem]:
    for tier in TIERS:
        if not site.groups.get(tier):
            yield Problem(
                f"group {tier}",
                f"no container: put at least one host into the group {tier}",
                "an empty group",
                site.locate("", ""),
            )
        for host in site.groups.get(tier, []):
            if host not in site.groups.get("tiers", []):
                yield Problem(
                    f"group {tier}",
                    f"{host} is in {tier}, but {tier} is no child of the group tiers",
                    host,
                    site.locate("", ""),
                )


def variables_have_values(site: Site) -> t.Iterator[Problem]:
    for host, broken in site.broken.items():
        for variable, error in broken.items():
            yield site.problem(host, variable, f"it has no value: {error}", "cannot be computed")


RULES = (one_box, tiers_have_hosts, variables_have_values)
