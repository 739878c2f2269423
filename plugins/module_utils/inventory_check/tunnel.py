# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tunnel of those who administer the box, and from where ssh answers."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.flows import listed, port_trouble
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    HIDDEN,
    Problem,
    Site,
    address,
    integer,
    interface,
)

FAMILIES = ("ipv4", "ipv6")
_NAME = re.compile(r"[A-Za-z0-9._@-]+")


def key_trouble(text: str) -> str:
    """What is wrong with a key of WireGuard; empty when nothing is."""
    try:
        size = len(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return "no key of WireGuard: 44 characters, as `wg pubkey` and `wg genpsk` print them"
    return "" if size == 32 and len(text) == 44 else "the key is cut off or mistyped: it has to have 44 characters"


def tunnel(site: Site) -> t.Iterator[Problem]:
    """Its own network, which nothing else here uses."""
    if not site.items("wireguard_peers"):
        return
    port = integer(site.get(site.box, "wireguard_port", 51820))
    if port is None or not 1 <= port <= 65535:
        yield site.problem(site.box, "wireguard_port", "no port: it has to be between 1 and 65535")
    elif not any(re.search(rf"\b{port}\b", str(rule)) for rule in site.get(site.box, "firewall_rules", [])):
        yield site.problem(
            site.box, "firewall_rules",
            f"wireguard_peers are listed, but no rule lets them in: allow {port}/udp comment 'WireGuard'")
    if not _own(site):
        yield site.problem(site.box, "wireguard_addresses", "the box needs an address in the tunnel: [10.99.0.1/24]")
    for value in listed(site, "wireguard_addresses"):
        own = interface(value)
        if own is None or "/" not in str(value):
            yield site.problem(
                site.box, "wireguard_addresses", "no address with the network of the tunnel: 10.99.0.1/24", value)
            continue
        for name, network in _taken(site):
            if network.version == own.version and network.prefixlen and network.overlaps(own.network):
                yield site.problem(site.box, "wireguard_addresses", f"overlaps with {name} ({network})", value)


def peers(site: Site) -> t.Iterator[Problem]:
    own = _own(site)
    used = {str(item.ip): "the box" for item in own}
    names: set[str] = set()
    keys: dict[str, str] = {}
    for peer in site.items("wireguard_peers"):
        name = str(peer.get("name", ""))
        where = f"wireguard_peers[{name}]"
        if not _NAME.fullmatch(name):
            yield site.problem(site.box, f"{where}.name", "no name: letters, digits and . _ @ -", name)
        if name in names:
            yield site.problem(site.box, f"{where}.name", "there twice", name)
        names.add(name)
        key = str(peer.get("public_key", ""))
        trouble = key_trouble(key)
        if not trouble and key in keys:
            trouble = f"{keys[key]} has the same key: each machine makes its own"
        if trouble:
            yield site.problem(site.box, f"{where}.public_key", trouble, key)
        keys.setdefault(key, name)
        if peer.get("preshared_key") and (trouble := key_trouble(str(peer["preshared_key"]))):
            yield site.problem(site.box, f"{where}.preshared_key", trouble, HIDDEN)
        yield from _addresses(site, peer, where, own, used)


def _addresses(
    site: Site, peer: dict[str, t.Any], where: str, own: list[t.Any], used: dict[str, str]
) -> t.Iterator[Problem]:
    values = peer.get("addresses")
    if not isinstance(values, list) or not values:
        yield site.problem(site.box, f"{where}.addresses", "it needs an address in the tunnel: [10.99.0.2]", values)
        return
    for value in values:
        parsed = address(value)
        if parsed is None:
            yield site.problem(site.box, f"{where}.addresses", "no address, which is without a prefix", value)
        elif str(parsed) in used:
            yield site.problem(site.box, f"{where}.addresses", f"it is the address of {used[str(parsed)]}", value)
        elif own and not any(parsed in item.network for item in own):
            yield site.problem(
                site.box, f"{where}.addresses",
                f"outside the tunnel's network ({', '.join(str(item.network) for item in own)})", value)
        used.setdefault(str(parsed), str(peer.get("name")))


def ssh_from(site: Site) -> t.Iterator[Problem]:
    """Each way that ssh is open to has to be one that somebody can come by."""
    segments = [str(item.get("name")) for item in site.items("lxd_networks")]
    tunnels = str(site.get(site.box, "wireguard_interface", "wg0"))
    known = {device for device, _text in site.server.addresses} if site.server else None
    for value in map(str, listed(site, "firewall_ssh_from")):
        if interface(value) is not None:
            continue
        why = ""
        if value in segments:
            why = "containers get no ssh: who takes one over must not come nearer to the box"
        elif value == tunnels:
            if not site.items("wireguard_peers"):
                why = "ssh would answer in the tunnel only, and wireguard_peers is empty: nobody could log in"
        elif "/" in value or ":" in value or re.match(r"\d+\.", value):
            why = "no address and no network"
        elif known is not None and value not in known:
            why = f"no such interface on the box ({', '.join(sorted(known))}), and not wireguard_interface ({tunnels})"
        if why:
            yield site.problem(site.box, "firewall_ssh_from", why, value)


def login_host(site: Site) -> t.Iterator[Problem]:
    """Closed to the world, and the inventory still names the public address: the new login would be refused."""
    ways = [str(value) for value in listed(site, "firewall_ssh_from")]
    # On a server whose tunnel is not there yet, the bootstrap play has put the public address there, and kept that.
    login = site.get(site.box, "securebox_login", {})
    host = str(login.get("host") or site.get(site.box, "ansible_host", ""))
    own = _own(site)
    inside = ways == [str(site.get(site.box, "wireguard_interface", "wg0"))]
    if inside and own and address(host) and address(host) not in [item.ip for item in own]:
        yield site.problem(
            site.box, "ansible_host",
            f"ssh answers in the tunnel only (firewall_ssh_from), where the box is {own[0].ip}: put that here, and "
            "this one into securebox_bootstrap_host", host)


def trusted(site: Site) -> t.Iterator[Problem]:
    for number, item in enumerate(site.items("firewall_trusted"), start=1):
        where = f"firewall_trusted[{number}]"
        for port in item.get("ports") or [None]:
            if port_trouble(port):
                yield site.problem(site.box, f"{where}.ports", port_trouble(port), port)
        if not item.get("from"):
            yield site.problem(site.box, f"{where}.from", "whom? At least one network", item.get("from"))
        for value in map(str, item.get("from") or []):
            if interface(value) is None and re.search(r"[/:]|^\d+\.", value):
                yield site.problem(site.box, f"{where}.from", "no address and no network", value)
            elif (parsed := interface(value)) is not None and not parsed.network.prefixlen:
                yield site.problem(site.box, f"{where}.from", "that is everybody", value)


def _own(site: Site) -> list[t.Any]:
    return [item for item in map(interface, listed(site, "wireguard_addresses")) if item is not None]


def _taken(site: Site) -> t.Iterator[tuple[str, t.Any]]:
    """Networks that are used already: the segments', and the server's own."""
    for item in site.items("lxd_networks"):
        for family in FAMILIES:
            if (parsed := interface(item.get(family))) is not None:
                yield f"the network of {item.get('name')}", parsed.network
    if site.server is None:
        return
    mine = [str(site.get(site.box, "wireguard_interface", "wg0"))]
    mine += [str(item.get("name")) for item in site.items("lxd_networks")]
    for device, text in [*site.server.addresses, *site.server.routes]:
        if device not in mine and (parsed := interface(text)) is not None:
            yield f"the server's own network on {device}", parsed.network


RULES = (tunnel, peers, ssh_from, login_host, trusted)
