# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the world for who has none of his own: what the box's proxy lets through, and who is told to go by it."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.flows import NAME, listed, port_trouble
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    integer,
    interface,
)

URL = re.compile(r"http://([A-Za-z0-9.-]+):([0-9]{1,5})/?")
# Who is told about the proxy, and by which variable.
USERS = ("hardening_updates_proxy", "letsencrypt_proxy", "app_tomcat_war_proxy")


def answers(site: Site) -> t.Iterator[Problem]:
    bridges = [parsed.ip for item in site.items("lxd_networks") if (parsed := interface(item.get("ipv4")))]
    addresses = listed(site, "forward_proxy_addresses")
    if site.items("forward_proxy_access") and not addresses:
        yield site.problem(site.box, "forward_proxy_addresses", "it would answer everywhere: at least one address")
    for value in addresses:
        if address(value) is None:
            yield site.problem(site.box, "forward_proxy_addresses", "no address", value)
        elif bridges and address(value).version == 4 and address(value) not in bridges:
            yield site.problem(site.box, "forward_proxy_addresses", "no address of lxd_networks", value)
    port = site.get(site.box, "forward_proxy_port")
    if port is not None and port_trouble(port):
        yield site.problem(site.box, "forward_proxy_port", port_trouble(port))


def lets_through(site: Site) -> t.Iterator[Problem]:
    for number, item in enumerate(site.items("forward_proxy_access"), start=1):
        where = f"forward_proxy_access[{number}]"
        for name in item.get("to") or []:
            if not NAME.fullmatch(str(name).removeprefix(".")):
                why = "no full name of a machine, nor a dot and such a name: .example.org is all below it"
                yield site.problem(site.box, f"{where}.to", why, name)
        for network in item.get("from") or []:
            if interface(network) is None:
                yield site.problem(site.box, f"{where}.from", "no address and no network", network)
        for port in item.get("ports") or []:
            if integer(port) not in (80, 443):
                why = "80 is http, 443 is https; nothing else is passed on"
                yield site.problem(site.box, f"{where}.ports", why, port)
    for network in listed(site, "forward_proxy_never"):
        if interface(network) is None:
            yield site.problem(site.box, "forward_proxy_never", "no address and no network", network)


def is_reached(site: Site) -> t.Iterator[Problem]:
    """Who is told to go by the box's proxy finds it, and is let in."""
    addresses = listed(site, "forward_proxy_addresses")
    port = integer(site.get(site.box, "forward_proxy_port"))
    services = [integer(item.get("port")) for item in site.items("firewall_segment_services")]
    for host in site.groups.get("tiers", []):
        for variable in USERS:
            value = site.get(host, variable, "")
            match = URL.fullmatch(str(value))
            if value and not match:
                yield site.problem(host, variable, "it has to be like http://10.80.1.1:3128, or empty", value)
            elif match and match[1] in addresses and port != int(match[2]):
                yield site.problem(host, variable, f"the proxy there answers at forward_proxy_port ({port})", value)
            elif match and match[1] in addresses and port not in services:
                why = "the firewall does not let the containers in there: name the port in firewall_segment_services"
                yield site.problem(host, variable, why, value)


RULES = (answers, lets_through, is_reached)
