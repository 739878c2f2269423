# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines are reachable from this computer only, and nobody else's process is ever taken for one of them."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path

import pytest
from lab import lxd, qemu
from lab.run import LabError


def command(**changes):
    settings = {
        "name": "box",
        "accel": "tcg",
        "cpus": 2,
        "memory": 1024,
        "drives": [{"serial": "root", "file": "root.qcow2", "format": "qcow2"}],
        "kernel": Path("/images/vmlinuz"),
        "forwards": {"22": 2201, "443": 2202},
    }
    return qemu.command(**{**settings, **changes})


def test_free_ports_are_different_and_free():
    ports = qemu.free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", port))


def test_a_port_in_use_is_never_chosen():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert taken.getsockname()[1] not in qemu.free_ports(20)


def test_forwards_listen_on_this_computer_only():
    network = next(word for word in command() if word.startswith("user,"))
    rules = re.findall(r"hostfwd=(\S+?)(?:,|$)", network)
    assert rules == ["tcp:127.0.0.1:2201-:22", "tcp:127.0.0.1:2202-:443"]


def test_emulation_and_kvm_are_what_was_asked_for():
    assert "kvm" not in " ".join(command())
    assert command(accel="kvm")[command(accel="kvm").index("-accel") + 1] == "kvm"


def test_each_drive_has_its_name_in_the_guest():
    drives = [{"serial": name, "file": f"{name}.raw", "format": "raw"} for name in ("root", "data")]
    devices = [word for word in command(drives=drives) if word.startswith("virtio-blk")]
    assert [device.rpartition("serial=")[2] for device in devices] == ["root", "data"]


def test_a_foreign_process_is_not_the_machine(tmp_path):
    """Numbers of processes are used again: after a crash, ours may be anybody's."""
    (tmp_path / "qemu.pid").write_text(f"{os.getpid()}\n")
    assert qemu.running(tmp_path) == 0


@pytest.mark.parametrize("content", ["", "x", "99999999"])
def test_a_broken_pid_file_is_no_machine(tmp_path, content):
    (tmp_path / "qemu.pid").write_text(content)
    assert qemu.running(tmp_path) == 0


def test_no_kvm_device_means_emulation(monkeypatch):
    monkeypatch.delenv("SECUREBOX_LAB_ACCEL", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert qemu.accelerator(Path("/images/vmlinuz")) == "tcg"


def test_kvm_is_probed_once(monkeypatch, places):
    (places / "cache").mkdir()
    asked = []
    monkeypatch.delenv("SECUREBOX_LAB_ACCEL", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(qemu, "boots_with_kvm", lambda kernel: asked.append(kernel) or False)
    for _ in range(2):
        assert qemu.accelerator(Path("/images/vmlinuz")) == "tcg"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ([], "10.217.0.1/24"),
        (["192.168.1.0/24"], "10.217.0.1/24"),
        (["10.217.0.0/24"], "10.217.1.1/24"),
        (["fd42:217::/64"], "10.217.1.1/24"),
        (["10.217.0.0/22", "10.217.4.7"], "10.217.5.1/24"),
    ],
)
def test_the_bridge_takes_a_network_that_nobody_uses(used, expected):
    v4, v6 = lxd.free_networks(used)
    assert v4 == expected
    assert ipaddress.ip_interface(v6).network.prefixlen == 64


def test_no_free_network_is_said():
    with pytest.raises(LabError, match="no free network"):
        lxd.free_networks(["10.0.0.0/8"])
