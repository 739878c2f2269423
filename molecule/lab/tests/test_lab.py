# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines are what scenarios take them for."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("name", ["server", "client", "machine"])
def test_each_machine_is_itself(on, name):
    """Machines side by side are never mixed up."""
    assert on(name).check_output("hostname") == name
    assert on(name).file("/etc/lab-mark").content_string.startswith(f"{name} is a")


@pytest.mark.parametrize("family", ["inet", "inet6"])
def test_containers_reach_each_other(on, lab, family):
    """Firewall tests need a far side, in both protocols."""
    client = lab.machines["client"]
    address = client.address if family == "inet" else client.address6

    assert on("server").addr(address).port(22).is_reachable
    assert not on("server").addr(address).port(23).is_reachable


@pytest.mark.parametrize("name", ["server", "machine"])
def test_a_server_is_still_bare(on, name):
    """Packages are preloaded to save time; whether they are set up is the collection's business."""
    assert on(name).package("lxd").is_installed
    assert not on(name).file("/var/lib/lxd/database").exists
    assert "inactive" in on(name).check_output("ufw status")


def test_a_container_can_hold_containers(on):
    """Nested LXD: the daemon answers and names no container yet."""
    assert on("server").check_output("lxc list --format csv < /dev/null") == ""


def test_a_machine_has_what_a_container_lacks(on):
    """Device-mapper, AppArmor, cgroup v2, a blank disk: the reasons to wait for a virtual machine."""
    machine = on("machine")

    machine.check_output("modprobe dm-crypt")
    assert machine.file("/dev/mapper/control").exists
    assert "apparmor" in machine.file("/sys/kernel/security/lsm").content_string
    assert machine.check_output("stat -fc %T /sys/fs/cgroup") == "cgroup2fs"
    assert machine.check_output("blockdev --getsize64 /dev/disk/by-id/virtio-data") == str(1 << 30)


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_a_machine_listens_on_one_address_of_this_computer(lab, address):
    """A half-built server with a known key must not be on the network: its forwards are bound to 127.0.0.1 alone."""
    for port in lab.machines["machine"].forwards.values():
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        with pytest.raises(OSError):
            socket.create_connection((address, port), timeout=2).close()


def test_an_emulated_machine_never_fetches_package_lists(on):
    """A role's `update_cache` would cost half a minute each time, and every use of apt after it more than before."""
    assert on("machine").file("/var/lib/apt/periodic/update-success-stamp").mtime.year >= 2037
    assert not on("machine").check_output("find /var/lib/apt/lists -name '*_Packages'")
