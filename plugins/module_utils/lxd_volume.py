# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which volume a directory lies in, as the kernel says, and whether it is the one it should be.

LXD itself only looks whether a path exists, and the empty mount point of a locked volume does.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path


class VolumeError(Exception):
    """The directory is not where it has to be."""


@dataclass(frozen=True)
class Mounted:
    mount_point: str
    device: str
    dm_uuid: str = ""
    filesystem_uuid: str = ""


def mounted_at(path: str, root: str = "/") -> Mounted:
    """The mount that holds a path: the innermost, and of several on one spot the last."""
    base = Path(root)
    device = (base / path.lstrip("/")).stat().st_dev
    mounts = _mounts_around(path, base)
    if not mounts:
        raise VolumeError(f"No mount holds {path}")
    # One that another mount hides has another device. (btrfs shows a device of its own making: then all count.)
    visible = [mount for mount in mounts if mount[1] == f"{os.major(device)}:{os.minor(device)}"]
    mount_point, numbers, source = max(visible or mounts, key=lambda mount: len(mount[0]))
    dm_uuid = base / "sys/dev/block" / numbers / "dm/uuid"
    return Mounted(
        mount_point,
        source,
        dm_uuid.read_text().strip() if dm_uuid.is_file() else "",
        _filesystem_uuid(base / "dev/disk/by-uuid", numbers),
    )


def _mounts_around(path: str, base: Path) -> list[tuple[str, str, str]]:
    """Mount point, device numbers and source of each mount on the way to a path, the latest first."""
    found = []
    for line in (base / "proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        fields = before.split()
        mount_point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if mount_point == "/" or path == mount_point or path.startswith(mount_point + "/"):
            found.append((mount_point, fields[2], after.split()[1]))
    return found[::-1]


def _filesystem_uuid(directory: Path, numbers: str) -> str:
    for link in directory.iterdir() if directory.is_dir() else ():
        device = link.stat()
        if stat.S_ISBLK(device.st_mode) and f"{os.major(device.st_rdev)}:{os.minor(device.st_rdev)}" == numbers:
            return link.name
    return ""


def refuse_unless_inside(source: str, luks_uuid: str | None, filesystem_uuid: str | None, root: str = "/") -> None:
    """Raise unless the source is a directory of its own inside the expected, mounted volume."""
    path = Path(root) / source.lstrip("/")
    if not path.exists():
        hint = (
            f" It should be in the volume {luks_uuid or filesystem_uuid}: is that open and mounted?"
            if luks_uuid or filesystem_uuid
            else ""
        )
        raise VolumeError(f"The source {source} does not exist.{hint}")
    if not path.is_dir():
        raise VolumeError(f"The source {source} is not a directory")
    if not (luks_uuid or filesystem_uuid):
        return
    if root == "/" and os.path.realpath(source) != source:
        raise VolumeError(f"The source {source} is reached through a link: name {os.path.realpath(source)} itself")
    mounted = mounted_at(source, root)
    where = f"The source {source} lies on {mounted.device}, mounted at {mounted.mount_point}"
    if luks_uuid and not mounted.dm_uuid.startswith(f"CRYPT-LUKS2-{luks_uuid.replace('-', '').lower()}-"):
        held = f"holds {mounted.dm_uuid}" if mounted.dm_uuid else "is not encrypted"
        raise VolumeError(f"{where}, which {held}: not the LUKS2 volume {luks_uuid}. Is that open and mounted?")
    if filesystem_uuid and mounted.filesystem_uuid.lower() != filesystem_uuid.lower():
        held = mounted.filesystem_uuid or "no known UUID"
        raise VolumeError(f"{where}, which has {held}: not the filesystem {filesystem_uuid}")
    if mounted.mount_point == source:
        raise VolumeError(
            f"The source {source} is the volume's mount point, which also exists while the volume is "
            "locked. Name a directory inside it"
        )
