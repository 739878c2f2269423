# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers: unprivileged, apart from one another, limited, and not started by a boot."""

from __future__ import annotations

import re

import pytest
from machine import Unreachable

# Addresses of documentation's ranges, which belong to nobody: whoever hears the forged frames is not harmed.
NOBODYS = {"other4": "192.0.2.77", "other6": "2001:db8::77", "gateway4": "192.0.2.1"}
TIMES = 20


def questions(site):
    inside = {
        "ids": "cat /proc/self/uid_map",
        "memory": "cat /sys/fs/cgroup/memory.max 2>/dev/null || awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo",
        "cpus": "nproc",
        "device": "mknod /root/verify-disk b 8 0 && rm -f /root/verify-disk && echo made",
    }
    return {site.box: {"instances": "lxc list --format json"}, **{host: dict(inside) for host in site.containers}}


@pytest.fixture
def settings(site, said):
    """The expanded configuration of each container, by its name in the inventory."""
    found = {item["name"]: item["expanded_config"] for item in said(site.box, "instances").json}
    missing = [host for host in site.containers if site.instance(host) not in found]
    assert not missing, f"LXD has no such containers: {missing}"
    return {host: found[site.instance(host)] for host in site.containers}


@pytest.mark.control("CT-1")
def test_root_in_a_container_is_nobody_outside(site, said, settings, evidence):
    """Who breaks out of a container is an account that owns nothing, and another one for every container."""
    ranges = {}
    for host in site.containers:
        _inside, outside, count = map(int, said(host, "ids").lines[0].split())
        ranges[host] = range(outside, outside + count)
        assert outside > 0, f"{host} is privileged"
        assert settings[host].get("security.privileged", "false") == "false"
    evidence("; ".join(f"{host}: {r.start} to {r.stop - 1}" for host, r in ranges.items()))
    names = list(ranges)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            one, other = ranges[first], ranges[second]
            assert one.stop <= other.start or other.stop <= one.start, f"{first} and {second} share ids"


@pytest.mark.control("CT-1")
def test_a_container_cannot_touch_the_machine(site, said, evidence):
    """Root inside tries to make a device of the disk; the kernel refuses."""
    for host in site.containers:
        text = said(host, "device").text
        evidence(f"{host}: {text}")
        assert "Operation not permitted" in text, f"{host} made a device of the disk"


@pytest.mark.control("CT-1")
def test_no_container_runs_containers(site, settings, evidence):
    """Nesting would open far more of the kernel than a tier needs."""
    nesting = {host: settings[host].get("security.nesting", "false") for host in site.containers}
    evidence(f"security.nesting: {nesting}")
    assert set(nesting.values()) == {"false"}


def size(text):
    number, unit = re.fullmatch(r"(\d+)\s*([KMGT]?)i?B?", str(text)).groups()
    return int(number) * 1024 ** " KMGT".index(unit or " ")


@pytest.mark.control("CT-1")
def test_no_tier_can_take_the_whole_machine(site, said, settings, evidence):
    """Memory, processors and processes of each are limited, and the kernel inside says the same."""
    described = {item["name"]: item for item in site.get(site.box, "lxd_instances", [])}
    for host in site.containers:
        wanted = described[site.instance(host)]
        limits = {name: settings[host].get(f"limits.{name}") for name in ("memory", "cpu", "processes")}
        evidence(f"{host}: {limits}")
        assert all(limits.values()), f"{host} has no limit of {[name for name, value in limits.items() if not value]}"
        seen = said(host, "memory").text.split()[0]
        assert seen != "max" and int(float(seen)) <= size(wanted["memory"]), f"{host} may use {seen} bytes"
        assert int(said(host, "cpus").text) <= int(wanted["cpu"])


@pytest.mark.control("CT-2")
def test_no_boot_starts_what_needs_the_data(site, settings, evidence):
    """LXD starts what ran before, unless told not to: so it has to be told, in so many words."""
    keep = {item.get("instance") for item in site.get(site.box, "encrypted_volume_dependents", []) if item.get("keep")}
    for host in site.containers:
        value = settings[host].get("boot.autostart")
        evidence(f"{host}: boot.autostart {value}")
        if site.instance(host) not in keep:
            assert value == "false", f"{host} may start before the volume is open"


@pytest.mark.control("CT-2")
def test_while_locked_nothing_runs_that_needs_the_data(site, status, evidence, not_applicable):
    """A locked box runs the proxy at most."""
    if status["state"] != "locked":
        not_applicable("the box is not locked now: verify it once after a reboot, before unlocking")
    keep = {item["name"] for item in site.get(site.box, "encrypted_volume_dependents", []) if item.get("keep")}
    running = {item["name"] for item in status["dependents"] if item["running"]}
    evidence(f"running: {', '.join(running) or 'nothing'}")
    assert running <= keep


@pytest.fixture
def frames(box, site, unlocked):
    """What containers sent in others' names, and what of it came to the box (probes/spoof.py)."""
    senders = {
        host: {
            "instance": site.instance(host),
            "bridge": site.segment(host),
            "own4": site.addresses(host)[0],
            "own6": next((address for address in site.addresses(host) if ":" in address), "fe80::77"),
            **NOBODYS,
        }
        for host in site.containers
    }
    try:
        return box.program("spoof", {"times": TIMES, "senders": senders})
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.control("NET-5")
def test_no_container_speaks_in_anothers_name(site, frames, evidence):
    """Frames with another MAC, IPv4 or IPv6 address, ARP for others and router advertisements: none leaves."""
    for host in site.containers:
        found = frames[host]
        assert "trouble" not in found, f"{host}: {found['trouble']}"
        heard = found["heard"]["box"]
        own = sum(count for mark, count in heard.items() if mark.startswith("own-"))
        forged = {mark: count for mark, count in heard.items() if not mark.startswith("own-")}
        evidence(f"{host}: of {found['sent']['forged']} forged frames came {sum(forged.values())}, of its own {own}")
        assert forged == {}
        assert own, "not even its own frames came, so the silence proves nothing"
