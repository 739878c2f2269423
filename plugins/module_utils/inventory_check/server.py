# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the server can become a box at all."""

from __future__ import annotations

import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site

RELEASES = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
ARCHITECTURES = ("x86_64", "aarch64")
PYTHON = (3, 9)


def reachable(site: Site) -> t.Iterator[Problem]:
    if site.unreachable and site.box:
        where = f"{site.get(site.box, 'ansible_host', site.box)}:{site.get(site.box, 'ansible_port', 22)}"
        yield site.problem(
            site.box,
            "ansible_host",
            "the server could not be looked at: " + site.unreachable,
            f"{where} as {site.get(site.box, 'ansible_user', 'you')}",
        )


def supported(site: Site) -> t.Iterator[Problem]:
    server = site.server
    if server is None:
        return
    known = RELEASES.get(server.distribution, ())
    if server.release not in known:
        yield _server(
            site,
            "the release is not supported: Debian 12 (tested), Debian 13, Ubuntu 22.04 or 24.04",
            f"{server.distribution or 'unknown'} {server.release}",
        )
    if server.architecture not in ARCHITECTURES:
        yield _server(site, f"the architecture is not supported ({', '.join(ARCHITECTURES)})", server.architecture)
    version = tuple(int(part) for part in server.python.split(".")[:2] if part.isdigit())
    if not version:
        yield _server(site, "Python is missing on the server: apt-get install python3", "no /usr/bin/python3")
    elif version < PYTHON:
        yield _server(site, "its Python is too old: 3.9 or newer", server.python)


def lxd_can_be_had(site: Site) -> t.Iterator[Problem]:
    if site.server is None:
        return
    if site.server.lxd == "incus":
        yield _server(site, "Incus is installed, and this version knows LXD only. Take a server without Incus", "incus")
    elif site.server.lxd == "missing":
        yield _server(
            site, "LXD is neither installed nor in the package lists (Debian: main; Ubuntu: snapd is needed)", "none"
        )


def time_zone(site: Site) -> t.Iterator[Problem]:
    for variable in ("hardening_timezone", "hardening_time_zone"):
        value = site.get(site.box, variable)
        if value and site.controller.timezones and str(value) not in site.controller.timezones:
            yield site.problem(site.box, variable, "no time zone; such as Europe/Oslo (timedatectl list-timezones)")


def _server(site: Site, why: str, value: str) -> Problem:
    problem = site.problem(site.box, "ansible_host", why, value)
    problem.variable = f"server {site.box}"
    return problem


RULES = (reachable, supported, lxd_can_be_had, time_zone)
