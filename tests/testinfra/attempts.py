# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the world's attempts (probes/world.py) say, and whether a silence among them says anything."""

from __future__ import annotations

import typing as t

import pytest

if t.TYPE_CHECKING:
    from machine import Site

VERSIONS = ("IPv4", "IPv6")
# What was tried, in the answer of the probe.
World = dict[str, t.Any]
Attempt = dict[str, t.Any]


def version(address: str) -> str:
    return VERSIONS[":" in address]


def versions(site: Site) -> list[str]:
    """Those that the box speaks."""
    return [name for name in VERSIONS if name == "IPv4" or site.on(site.box, "firewall_ipv6")]


def tries(world: World, **wanted: t.Any) -> list[Attempt]:
    return [item for item in world["tries"] if all(item[key] == value for key, value in wanted.items())]


def require(world: World, items: list[Attempt]) -> list[Attempt]:
    if not items:
        pytest.skip(f"not tried: {world['trouble'] or 'no such pair'}")
    return items


def way(world: World, name: str) -> list[str]:
    """What box and stranger heard of each other by that protocol."""
    return [
        item["result"]
        for item in world["tries"]
        if {item["from"], item["to"]} == {"box", "outside"} and version(item["address"]) == name
    ]


def need_way(world: World, *names: str) -> None:
    """A stranger's silence says something only while packets pass between him and the box."""
    for name in names:
        found = way(world, name)
        if "open" not in found:
            said = ", ".join(dict.fromkeys(found)) or "no attempt"
            pytest.skip(
                f"not tried: nothing passes between the box and the stranger beside it by {name} ({said}"
                f"{world['trouble']}), so his silence proves nothing"
            )


def missing(world: World, hosts: t.Iterable[str], kind: str = "tries") -> dict[str, str]:
    """Whose attempts are not there, and why. What such a machine did not reach is nobody's success."""
    tried = {item["from"] for item in world[kind]}
    return {host: world["died"].get(host, "no attempt") for host in hosts if host not in tried}
