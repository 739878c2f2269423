# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the firewall forwards and lets flow."""

from __future__ import annotations

import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    integer,
    interface,
)


def forwards(site: Site) -> t.Iterator[Problem]:
    known = addresses(site)
    ports: list[int | None] = []
    for item in site.items("firewall_forwards"):
        where = f"firewall_forwards[{item.get('port')}]"
        port = integer(item.get("port"))
        if port is None or not 1 <= port <= 65535:
            yield site.problem(site.box, f"{where}.port", "no port: it has to be between 1 and 65535", item.get("port"))
        if port in ports:
            yield site.problem(site.box, f"{where}.port", "forwarded twice", port)
        ports.append(port)
        for key, version in (("to", 4), ("to6", 6)):
            if item.get(key) in (None, ""):
                continue
            target = address(item[key])
            if target is None or target.version != version:
                yield site.problem(site.box, f"{where}.{key}", f"no IPv{version} address", item[key])
            elif known and target not in known:
                yield site.problem(
                    site.box, f"{where}.{key}", "no container of lxd_instances has this address", item[key]
                )


def allowed(site: Site) -> t.Iterator[Problem]:
    known = addresses(site)
    for number, item in enumerate(site.items("firewall_flows"), start=1):
        where = f"firewall_flows[{number}]"
        port = integer(item.get("port"))
        if port is None or not 1 <= port <= 65535:
            yield site.problem(site.box, f"{where}.port", "no port: it has to be between 1 and 65535", item.get("port"))
        for key in ("from", "to"):
            value = item.get(key)
            parsed = interface(value)
            if parsed is None:
                yield site.problem(site.box, f"{where}.{key}", "no address or network", value)
            elif known and parsed.network.num_addresses == 1 and parsed.ip not in known:
                yield site.problem(site.box, f"{where}.{key}", "no container of lxd_instances has this address", value)


def addresses(site: Site) -> list[t.Any]:
    found = [address(item.get(family)) for item in site.items("lxd_instances") for family in ("ipv4", "ipv6")]
    return [item for item in found if item is not None]


def callers_are_seen(site: Site) -> t.Iterator[Problem]:
    if site.flag(site.box, "lxd_nat", True) and site.items("firewall_flows"):
        yield site.problem(
            site.box,
            "lxd_nat",
            "LXD would show callers from the other networks by the bridge's address, and the database refuses them: "
            "false, the firewall hides the segments from the world alone",
        )


RULES = (forwards, allowed, callers_are_seen)
