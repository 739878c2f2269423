# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor names what is missing and the command that helps."""

from __future__ import annotations

import os

import pytest
from lab import doctor


def here(*missing):
    """A machine that has every program but these."""
    return lambda program: None if program in (*missing, "snap") else f"/usr/bin/{program}"


def there(_):
    return True


def test_nothing_missing_nothing_said():
    assert doctor.missing_packages("all", here(), there) == []


@pytest.mark.parametrize(
    ("engine", "program", "package"),
    [
        ("container", "lxd", "lxd"),
        ("container", "mmdebstrap", "mmdebstrap"),
        ("vm", "qemu-img", "qemu-utils"),
        ("all", "mksquashfs", "squashfs-tools"),
    ],
)
def test_a_missing_program_leads_to_its_package(engine, program, package):
    assert doctor.missing_packages(engine, here(program), there) == [package]


def test_an_engine_asks_only_for_its_own():
    assert doctor.missing_packages("container", here("qemu-img"), there) == []


def test_lxd_from_snap_is_lxd_too():
    def snap(program):
        return None if program in ("lxd", "dnsmasq") else f"/snap/bin/{program}"

    assert doctor.missing_packages("container", snap, there) == []


def test_without_root_fakeroot_is_needed(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert doctor.missing_packages("vm", here("fakeroot"), there) == ["fakeroot"]


def test_kvm_is_never_fatal_but_said():
    absent, forbidden = doctor.kvm(False, False, "jo")[0], doctor.kvm(True, False, "jo")[0]
    assert "slow" in absent.remedy
    assert "adduser jo kvm" in forbidden.remedy
    assert not absent.fatal
    assert not forbidden.fatal
    assert doctor.kvm(True, True, "jo") == []


def test_lxd_wants_root_or_its_group():
    assert doctor.lxd_rights(True, []) == []
    assert doctor.lxd_rights(False, ["lxd"]) == []
    assert "adduser" in doctor.lxd_rights(False, ["users"])[0].remedy


def test_too_few_ids_for_containers_in_containers():
    assert doctor.subordinate([(100000, 10000001)]) == []
    assert "/etc/subuid" in doctor.subordinate([(100000, 65536)])[0].remedy


def test_too_few_inotify_instances_for_all_containers():
    """Debian's LXD brings the setting. Where no systemd runs, nobody applies it but the lab, when it starts LXD."""
    assert doctor.inotify(1024, systemd=True) == []
    assert doctor.inotify(128, systemd=False) == []
    [found] = doctor.inotify(128, systemd=True)
    assert found.fatal
    assert "thirteenth container" in found.what
    assert "sysctl --load" in found.remedy


def test_ranges_are_those_of_root(tmp_path):
    (tmp_path / "subuid").write_text("jo:100000:65536\nroot:200000:1000001\n\n")
    assert doctor.ranges(tmp_path / "subuid") == [(200000, 1000001)]


def test_a_full_disk_is_found_before_the_build():
    assert doctor.space(100 << 30) == []
    assert "SECUREBOX_LAB_CACHE" in doctor.space(1 << 30)[0].remedy
