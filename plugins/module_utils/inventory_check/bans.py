# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs on their way from the containers to the box, and who reads them there: both ends have to say the same. And what
a ban must not cut off."""

from __future__ import annotations

import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.flows import listed
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    integer,
    interface,
)

RECEIVED = "/var/log/received/"
PORT = 601


def files_are_received(site: Site) -> t.Iterator[Problem]:
    """fail2ban does not start when a log is not there."""
    logs = {f"{RECEIVED}{item.get('name')}/{log}.log" for item in senders(site) for log in item.get("logs") or []}
    for jail in site.items("hardening_bans_jails"):
        for file in jail.get("files") or []:
            if str(file).startswith(RECEIVED) and file not in logs:
                yield site.problem(
                    site.box, f"hardening_bans_jails[{jail.get('name')}].files",
                    "hardening_received_from names no such log, so fail2ban would not start", file)


def somebody_listens(site: Site) -> t.Iterator[Problem]:
    """A log that nobody takes is not missed until it is needed."""
    port = integer(site.get(site.box, "hardening_received_port", PORT))
    for host in site.variables:
        to = site.get(host, "hardening_handed_to")
        if host == site.box or not to:
            continue
        own = [address(site.get(host, name)) for name in ("securebox_address", "securebox_address6")]
        mine = [item for item in senders(site)
                if {address(known) for known in item.get("addresses") or []} & {known for known in own if known}]
        if not mine:
            yield site.problem(host, "hardening_handed_to",
                               "hardening_received_from of the box has no sender with this container's address", to)
        elif not [item for item in mine if address(item.get("at")) == address(to)]:
            yield site.problem(host, "hardening_handed_to",
                               f"the box takes its logs at {', '.join(str(item.get('at')) for item in mine)}", to)
        taken = {str(log) for item in mine for log in item.get("logs") or []}
        for log in site.get(host, "hardening_handed_logs", {}) if mine else ():
            if log not in taken:
                yield site.problem(host, f"hardening_handed_logs[{log}]",
                                   "hardening_received_from of the box does not take it: it would be lost", log)
        if integer(site.get(host, "hardening_handed_port", PORT)) != port:
            yield site.problem(host, "hardening_handed_port", f"the box listens at {port} (hardening_received_port)",
                               site.get(host, "hardening_handed_port", PORT))


def they_get_through(site: Site) -> t.Iterator[Problem]:
    bridges = [parsed.ip for network in site.items("lxd_networks") for family in ("ipv4", "ipv6")
               if (parsed := interface(network.get(family)))]
    for item in senders(site):
        at = address(item.get("at"))
        if at is not None and bridges and at not in bridges:
            yield site.problem(site.box, f"hardening_received_from[{item.get('name')}].at",
                               "no network of lxd_networks has this address of the box", item.get("at"))
    port = integer(site.get(site.box, "hardening_received_port", PORT))
    opened = [integer(item.get("port")) for item in site.items("firewall_segment_services")]
    if senders(site) and site.items("firewall_segments") and port not in opened:
        yield site.problem(site.box, "firewall_segment_services",
                           f"containers hand their logs over at port {port}, and the firewall would drop them")


def tunnels_stay_open(site: Site) -> t.Iterator[Problem]:
    """An administrator may share an address with somebody who guesses."""
    port = integer(site.get(site.box, "wireguard_port", 51820))
    opened = [integer(value) for value in listed(site, "hardening_bans_open_udp")]
    if site.items("wireguard_peers") and site.get(site.box, "hardening_bans", True) and port not in opened:
        yield site.problem(site.box, "hardening_bans_open_udp",
                           f"a ban would cut off the tunnel of all who share the address: [{port}] is missing")


def senders(site: Site) -> list[dict[str, t.Any]]:
    return site.items("hardening_received_from")


RULES = (files_are_received, somebody_listens, they_get_through, tunnels_stay_open)
