# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""LXD is started where nothing else starts it, also after a machine that was stopped midway."""

from __future__ import annotations

import errno

import pytest
from lab import lxd


class DeadMount:
    """A FUSE mount whose process was killed."""

    def stat(self):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def __fspath__(self):
        return "/var/lib/lxcfs-of-a-test"


@pytest.fixture
def ran(monkeypatch):
    commands = []
    monkeypatch.setattr(
        lxd, "run", lambda words: commands.append([str(getattr(w, "__fspath__", w.__str__)()) for w in words])
    )
    monkeypatch.setattr(lxd.shutil, "which", lambda program: f"/usr/bin/{program}")
    return commands


def test_a_dead_mount_of_lxcfs_is_taken_away_and_lxcfs_started(monkeypatch, ran):
    monkeypatch.setattr(lxd, "LXCFS", DeadMount())
    assert lxd.lxcfs_wanted()
    assert ran == [["umount", "--lazy", "/var/lib/lxcfs-of-a-test"]]


def test_a_live_mount_is_left_alone(monkeypatch, ran):
    monkeypatch.setattr(lxd, "LXCFS", lxd.Path("/proc"))
    assert not lxd.lxcfs_wanted()
    assert ran == []


def test_a_machine_without_lxcfs_does_without(monkeypatch, ran):
    monkeypatch.setattr(lxd.shutil, "which", lambda program: None)
    assert not lxd.lxcfs_wanted()
