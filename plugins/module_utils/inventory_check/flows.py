# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the firewall forwards and lets flow."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    integer,
    interface,
)

# A machine in the world, as DNS knows it: at least one dot, and letters at the end.
NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]")
# What Linux takes for the name of an interface.
BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
OTHERWISE = {
    "from": "no address, no network, and no name of firewall_segments",
    "to": "no address, no network, and no full name of a machine in the world",
}
ACTIONS = ("allow", "deny", "reject", "limit", "route")


def port_trouble(value: t.Any) -> str:
    port = integer(value)
    return "" if port is not None and 1 <= port <= 65535 else "no port: it has to be between 1 and 65535"


def forwards(site: Site) -> t.Iterator[Problem]:
    known = addresses(site)
    ports: list[int | None] = []
    for item in site.items("firewall_forwards"):
        where = f"firewall_forwards[{item.get('port')}]"
        for key in ("port", "to_port"):
            if key in item and port_trouble(item[key]):
                yield site.problem(site.box, f"{where}.{key}", port_trouble(item[key]), item[key])
        port = integer(item.get("port"))
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
    known, segments = addresses(site), names(site)
    seen: list[tuple[t.Any, ...]] = []
    for number, item in enumerate(site.items("firewall_flows"), start=1):
        where = f"firewall_flows[{number}]"
        if port_trouble(item.get("port")):
            yield site.problem(site.box, f"{where}.port", port_trouble(item.get("port")), item.get("port"))
        ends = {}
        for key in ("from", "to"):
            value = item.get(key)
            parsed = ends[key] = interface(value)
            if parsed is None and not (value in segments if key == "from" else NAME.fullmatch(str(value))):
                yield site.problem(site.box, f"{where}.{key}", OTHERWISE[key], value)
            elif parsed is not None and known and parsed.network.num_addresses == 1 and parsed.ip not in known:
                yield site.problem(site.box, f"{where}.{key}", "no container of lxd_instances has this address", value)
        if ends["from"] and ends["to"]:
            if ends["from"].version != ends["to"].version:
                yield site.problem(site.box, f"{where}.to", f"not of the family of from ({item['from']})", item["to"])
            elif ends["from"] == ends["to"]:
                yield site.problem(site.box, f"{where}.to", "it reaches itself without the firewall", item["to"])
        flow = tuple(str(item.get(key, "tcp")) for key in ("from", "to", "port", "proto"))
        if flow in seen:
            yield site.problem(site.box, where, f"the same as firewall_flows[{seen.index(flow) + 1}]", " ".join(flow))
        seen.append(flow)


def names(site: Site) -> list[t.Any]:
    return [item.get("name") for item in site.items("firewall_segments")]


def segments(site: Site) -> t.Iterator[Problem]:
    known, networks = names(site), [item.get("name") for item in site.items("lxd_networks")]
    for number, name in enumerate(known):
        if not BRIDGE.fullmatch(str(name)):
            yield site.problem(site.box, f"firewall_segments[{name}].name", "no name of an interface", name)
        elif name in known[:number]:
            yield site.problem(site.box, f"firewall_segments[{name}].name", "named twice", name)
        elif networks and name not in networks:
            yield site.problem(site.box, f"firewall_segments[{name}].name", "no bridge of lxd_networks", name)
    for name in listed(site, "firewall_segments_without_dns"):
        if name not in known:
            yield site.problem(
                site.box, "firewall_segments_without_dns", "no segment of firewall_segments has this name", name
            )
    ssh = integer(site.get(site.box, "firewall_ssh_port", site.get(site.box, "hardening_ssh_port")))
    for item in site.items("firewall_segment_services"):
        where = f"firewall_segment_services[{item.get('port')}].port"
        if port_trouble(item.get("port")):
            yield site.problem(site.box, where, port_trouble(item.get("port")), item.get("port"))
        elif integer(item["port"]) == ssh and item.get("proto", "tcp") == "tcp":
            why = "ssh is closed to the segments: who takes over a container has come no nearer to the box"
            yield site.problem(site.box, where, why, item["port"])
    for port in listed(site, "firewall_segment_ports"):
        if port_trouble(port):
            yield site.problem(site.box, "firewall_segment_ports", port_trouble(port), port)


def listed(site: Site, variable: str) -> list[t.Any]:
    value = site.get(site.box, variable, [])
    return value if isinstance(value, list) else []


def rules(site: Site) -> t.Iterator[Problem]:
    """What ufw itself would refuse, but only after the run has begun; the rest of the words are ufw's own business."""
    for number, text in enumerate(listed(site, "firewall_rules"), start=1):
        why = rule_trouble(str(text))
        if why:
            yield site.problem(site.box, f"firewall_rules[{number}]", why, text)


def rule_trouble(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return "a quotation mark has no counterpart"
    if not words:
        return "it is empty"
    if words[0] == "ufw":
        return "leave out the word ufw: only what follows it"
    if words[0] not in ACTIONS:
        return f"it begins with none of {', '.join(ACTIONS)}"
    if {"delete", "insert", "prepend"} & set(words):
        return "the list is the order, and what is not in it is removed: no delete, insert and prepend"
    return ""


def uplink(site: Site) -> t.Iterator[Problem]:
    name = site.get(site.box, "firewall_uplink", "")
    found = sorted({item for item, _address in site.server.addresses}) if site.server else []
    if name and found and name not in found:
        yield site.problem(site.box, "firewall_uplink", f"no interface of the server: it has {', '.join(found)}", name)


def times(site: Site) -> t.Iterator[Problem]:
    """Limits below which a firewall harms itself."""
    for variable, least, why in (
        ("firewall_login_seconds", 30, "the login that confirms the rules needs more time than that, in seconds"),
        ("firewall_names_seconds", 30, "name servers would be asked all the time, in seconds"),
        ("firewall_names_keep_seconds", 600, "a name server that is away for a moment would close it, in seconds"),
    ):
        value = site.get(site.box, variable)
        number = integer(value)
        if value is not None and (number is None or number < least):
            yield site.problem(site.box, variable, f"{why}: at least {least}", value)


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


RULES = (forwards, allowed, segments, rules, uplink, times, callers_are_seen)
