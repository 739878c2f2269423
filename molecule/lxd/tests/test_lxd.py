# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers made by the role can do and cannot, asked of LXD, of the kernel, and from inside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

DESK, ARCHIVE = ("10.93.1.10", "fd93:0:0:1::10"), ("10.93.1.11", "fd93:0:0:1::11")
# The same that `verify` runs on a box.
SPOOF = Path(__file__).resolve().parents[3] / "tests/testinfra/probes/spoof.py"
LAB = Path(__file__).resolve().parents[2] / "resources" / "lab.py"


@pytest.fixture(scope="module")
def inside(host):
    """Run a command in a container."""
    return lambda name, command: host.check_output(f"lxc exec {name} -- {command} < /dev/null")


@pytest.fixture(scope="module")
def instance(host):
    return lambda name: json.loads(host.check_output(f"lxc query /1.0/instances/{name} < /dev/null"))


@pytest.mark.parametrize(("name", "addresses"), [("desk", DESK), ("archive", ARCHIVE)])
def test_containers_have_the_addresses_of_the_description(inside, name, addresses):
    """Firewall rules, host names and certificates are made from them."""
    shown = json.loads(inside(name, "ip -json address show eth0"))[0]["addr_info"]

    assert {ip_address(a["local"]) for a in shown if a["scope"] == "global"} == {ip_address(a) for a in addresses}


@pytest.mark.control("CT-1")
def test_every_container_has_ids_of_its_own(inside):
    """Whoever breaks out of one container is nobody in the next."""
    ranges = {}
    for name in ("desk", "archive"):
        inner, outer, count = map(int, inside(name, "cat /proc/self/uid_map").split())
        assert inner == 0 and outer >= 65536 and count == 65536
        ranges[name] = range(outer, outer + count)

    assert not set(ranges["desk"]) & set(ranges["archive"])


@pytest.mark.control("CT-1")
def test_limits_hold(inside):
    """Asked of the kernel, from inside: what one container uses up, the others would miss."""
    limits = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
    processes = "cat /sys/fs/cgroup/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids/pids.max"

    assert inside("desk", f"sh -c '{limits}'") == str(256 << 20)
    assert inside("desk", f"sh -c '{processes}'") == "200"
    assert inside("desk", "nproc") == "1"


@pytest.mark.control("CT-1")
@pytest.mark.parametrize("name", ["desk", "archive"])
def test_containers_are_unprivileged_and_cannot_nest(instance, name):
    config = instance(name)["expanded_config"]

    assert (config["security.privileged"], config["security.nesting"], config["security.idmap.isolated"]) == \
        ("false", "false", "true")


@pytest.mark.control("NET-5")
def test_frames_with_anothers_address_are_dropped(host):
    """A broken proxy must not be able to speak as the application, the server or a router.

    1,000 forged frames of seven kinds: none comes to the server, none to the container beside. Its own frames, sent the
    same way and between them, all come to both.
    """
    addresses = dict(zip(("own4", "own6", "other4", "other6"), [*DESK, *ARCHIVE], strict=True))
    sender = {"instance": "desk", "bridge": "floor1", "beside": "archive", "gateway4": "10.93.1.1", **addresses}
    given = json.dumps({"times": 1000, "senders": {"desk": sender}})
    said = host.check_output(f"python3 - <<'END'\nGIVEN = {given!r}\n{SPOOF.read_text()}\nEND")

    arrived = {"own-ipv4": 10, "own-ipv6": 10, "own-arp": 10}
    assert json.loads(said)["desk"] == {
        "sent": {"own": 30, "forged": 7000}, "heard": {"box": arrived, "beside": arrived}}


def test_policy_is_left_to_the_firewall(host):
    """LXD's accept rules would hide what the firewall does; its address translation stays."""
    rules = host.check_output("nft list table inet lxd")

    assert "pstrt.floor1" in rules and "masquerade" in rules
    assert not any(f"{chain}.floor1" in rules for chain in ("fwd", "in", "out"))


def test_storage_is_where_it_belongs_and_belongs_to_the_containers_root(host, inside):
    """Written inside, found in the directory of the host; seen by this container only."""
    assert inside("archive", "stat --format %U:%G /var/lib/archive") == "root:root"
    inside("archive", "sh -c 'echo kept > /var/lib/archive/note'")

    assert host.file("/srv/lodge/archive/note").content_string == "kept\n"
    assert inside("desk", "ls -d /var/lib/archive 2>/dev/null || true".join(["sh -c '", "'"])) == ""


def test_storage_was_there_before_the_first_start(host):
    """Below the mount there is nothing: the container has never run without it."""
    below = "/var/lib/lxd/storage-pools/rooms/containers/archive/rootfs/var/lib/archive"

    assert host.file(below).exists
    assert host.file(below).listdir() == []


def test_devices_given_one_by_one_leave_each_other_alone(instance, inside):
    """After two modules and a later change of settings, all are there, in the running container too."""
    assert set(instance("desk")["devices"]) == {"eth0", "letters"}
    assert set(instance("attic")["devices"]) == {"eth0", "data"}
    assert inside("desk", "findmnt --noheadings --output TARGET /srv/letters") == "/srv/letters"


def test_what_was_refused_left_nothing_behind(host):
    names = host.check_output("lxc list --format csv --columns n < /dev/null").split()

    assert names == ["archive", "attic", "desk"]


def test_only_root_may_use_lxd(host):
    """Membership in the group is as good as being root."""
    assert host.group("lxd").members == []
    assert host.user("guest").exists
    # The socket itself says why; what the client makes of it differs from release to release.
    connect = "import socket; socket.socket(socket.AF_UNIX).connect('/var/lib/lxd/unix.socket')"
    refused = host.run(f'runuser -u guest -- python3 -c "{connect}"')
    assert refused.rc != 0 and "Permission denied" in refused.stderr
    assert host.run("runuser -u guest -- lxc list < /dev/null").rc != 0
    assert host.run("lxc list < /dev/null").rc == 0


@pytest.mark.control("CT-2")
def test_after_a_boot_only_what_may_start_runs(host, lab):
    """What needs the encrypted volume waits for the administrator. (Last of all, for it restarts the server.)"""
    subprocess.run([sys.executable, LAB, "reboot", "--name", lab.name], check=True, capture_output=True)
    for _ in range(60):
        found = host.run("lxc list --format csv --columns ns < /dev/null").stdout.split()
        if "desk,RUNNING" in found:
            break
        time.sleep(1)

    assert found == ["archive,STOPPED", "attic,STOPPED", "desk,RUNNING"]
