# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory is in the expected volume if the kernel says so, and for no other reason."""

from __future__ import annotations

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.lxd_volume import (
    VolumeError,
    mounted_at,
    refuse_unless_inside,
)

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
OURS = "CRYPT-LUKS2-6e0a4b1c3a524a6e9f630c9f0a3f6d11-box"
ROOT = "21 1 8:1 / / rw - ext4 /dev/sda1 rw"
VOLUME = "90 21 253:0 / /srv/box rw shared:1 - ext4 /dev/mapper/box rw"
SPACED = "91 21 253:1 / /srv/my\\040box rw - ext4 /dev/mapper/other rw"


@pytest.fixture
def machine(tmp_path):
    """A root directory with the kernel's files in it; returns a function that mounts and unmounts."""

    def mount(*lines, dm_uuid=OURS):
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/self/mountinfo").write_text("\n".join([ROOT, *lines]) + "\n")
        (tmp_path / "sys/dev/block/253:0/dm").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block/253:0/dm/uuid").write_text(dm_uuid + "\n")
        (tmp_path / "srv/box/db1").mkdir(parents=True, exist_ok=True)
        return str(tmp_path)

    return mount


def test_the_open_volume_is_accepted(machine):
    refuse_unless_inside("/srv/box/db1", UUID, None, machine(VOLUME))
    refuse_unless_inside("/srv/box/db1", UUID.upper(), None, machine(VOLUME))


def test_nothing_asked_nothing_looked_at(machine):
    refuse_unless_inside("/srv/box/db1", None, None, machine())


@pytest.mark.parametrize(
    ("lines", "dm_uuid", "source", "message"),
    [
        ([], "", "/srv/box/db1", "lies on /dev/sda1, mounted at /, which is not encrypted: not the LUKS2 volume"),
        ([VOLUME], "CRYPT-LUKS2-00000000000000000000000000000000-box", "/srv/box/db1", "holds CRYPT-LUKS2-0000"),
        ([VOLUME], "CRYPT-PLAIN-box", "/srv/box/db1", "holds CRYPT-PLAIN-box"),
        ([VOLUME], OURS, "/srv/box", "is the volume's mount point"),
        ([VOLUME], OURS, "/srv/box/app1", "does not exist. It should be in"),
        # Something else was mounted over it later: the last counts.
        ([VOLUME, "95 90 8:2 / /srv/box rw - ext4 /dev/sdb1 rw"], "", "/srv/box/db1", "lies on /dev/sdb1"),
        # A name that only begins like the mount point.
        ([VOLUME.replace("/srv/box", "/srv/b")], "", "/srv/box/db1", "lies on /dev/sda1"),
    ],
)
def test_everything_else_is_refused(machine, lines, dm_uuid, source, message):
    """Each of these is a way in which patients' data once could have landed in the clear."""
    with pytest.raises(VolumeError, match=message):
        refuse_unless_inside(source, UUID, None, machine(*lines, dm_uuid=dm_uuid))


def test_a_file_is_no_directory(machine, tmp_path):
    root = machine(VOLUME)
    (tmp_path / "srv/box/file").touch()

    with pytest.raises(VolumeError, match="is not a directory"):
        refuse_unless_inside("/srv/box/file", UUID, None, root)


def test_a_filesystem_of_another_uuid_is_refused(machine):
    with pytest.raises(VolumeError, match="has no known UUID: not the filesystem 1234"):
        refuse_unless_inside("/srv/box/db1", None, "1234", machine(VOLUME))


def test_blanks_in_a_mount_point(machine, tmp_path):
    (tmp_path / "srv/my box/x").mkdir(parents=True)

    assert mounted_at("/srv/my box/x", machine(SPACED)).device == "/dev/mapper/other"


def test_a_link_is_named(tmp_path):
    """LXD would follow it when the instance starts, to wherever it points by then."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(VolumeError, match=f"reached through a link: name {tmp_path}/real itself"):
        refuse_unless_inside(str(tmp_path / "link"), UUID, None)
