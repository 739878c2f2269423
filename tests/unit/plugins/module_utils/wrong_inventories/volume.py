# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted volume: what it lies on, and its secrets."""

from __future__ import annotations

from site_factory import UNSET

from .parts import DATA, DISK, GIB, ON_A_DEVICE, box, device

WRONG = {
    "no passphrase source": (
        box(encrypted_volume_passphrase=UNSET),
        {},
        ["encrypted_volume_passphrase", "no terminal", "group_vars/box/"],
    ),
    "empty passphrase": (box(encrypted_volume_passphrase=""), {}, ["encrypted_volume_passphrase", "it is empty"]),
    "weak passphrase": (
        box(encrypted_volume_passphrase="hunter2"),
        {},
        ["encrypted_volume_passphrase", "too weak", "12"],
    ),
    "empty secret": (
        {"all": {"vault_db_postgresql_password": ""}},
        {},
        ["vault_db_postgresql_password", "securebox.stack.secrets", "group_vars/all/vault.yml"],
    ),
    "device with data": (
        box(**ON_A_DEVICE),
        device(signatures=[("ext4", "aa-bb")]),
        ["encrypted_volume_device", DISK, "it holds data (ext4)", "new-disk.md"],
    ),
    "device with another volume": (
        box(**ON_A_DEVICE),
        device(signatures=[("crypto_LUKS", "aa-bb")]),
        ["encrypted_volume_device", "another encrypted volume", "aa-bb", "encrypted_volume_uuid"],
    ),
    "device that is not there": (
        box(**ON_A_DEVICE),
        device("missing"),
        ["encrypted_volume_device", "no such device", "ls -l /dev/disk/by-id"],
    ),
    "device that is a file": (box(**ON_A_DEVICE), device("file"), ["encrypted_volume_device", "an ordinary file"]),
    "size larger than the device": (
        box(**{**ON_A_DEVICE, "encrypted_volume_size": "200G"}),
        device(),
        ["encrypted_volume_size", "200G", "larger than the device", "100 GiB"],
    ),
    "size larger than the free disk": (
        box(encrypted_volume_size="500G"),
        {},
        ["encrypted_volume_size", "500G", "larger than the free disk", "150 GiB of 160 GiB", "group_vars/box/"],
    ),
    "size larger than the free disk of its own mount": (
        {},
        {"disks": {"/": (900 * GIB, 999 * GIB), "/var": (9 * GIB, 10 * GIB)}},
        ["9 GiB of 10 GiB are free at /var"],
    ),
    "size that shrinks": (
        box(encrypted_volume_size="10G"),
        {"paths": {DATA: {"type": "file", "size": 60 * GIB, "signatures": []}}},
        ["never shrinks", "60 GiB"],
    ),
    "size that is none": (box(encrypted_volume_size="sixty"), {}, ["encrypted_volume_size", "sixty", "such as 60G"]),
    "size without its unit": (box(encrypted_volume_size="60"), {}, ["encrypted_volume_size", "is a unit missing"]),
    "file with other data": (
        {},
        {"paths": {DATA: {"type": "file", "size": GIB, "signatures": [("ext4", "")]}}},
        ["encrypted_volume_file", "it holds data (ext4)"],
    ),
    "both file and device": (
        box(encrypted_volume_device=DISK),
        {},
        ["encrypted_volume_device", DISK, "set together with", DATA],
    ),
    "neither file nor device": (
        box(encrypted_volume_file=UNSET),
        {},
        ["neither encrypted_volume_file nor encrypted_volume_device"],
    ),
    "relative mount point": (
        box(encrypted_volume_mount_point="srv/x"),
        {},
        ["encrypted_volume_mount_point", "no absolute"],
    ),
    "mount point of the system": (box(encrypted_volume_mount_point="/srv"), {}, ["a directory of the system"]),
    "mount point in use": (
        {},
        {"mounts": {"/srv/securebox": "/dev/sdb1"}},
        ["encrypted_volume_mount_point", "/dev/sdb1 is mounted there"],
    ),
    "file inside the mount point": (
        box(encrypted_volume_file="/srv/securebox/x.luks"),
        {},
        ["encrypted_volume_file", "inside encrypted_volume_mount"],
    ),
    "no volume yet, and not told to make one": (
        box(encrypted_volume_initialise=UNSET),
        {},
        ["encrypted_volume_initialise", "there is no volume yet", "-e encrypted_volume_initialise=true"],
    ),
    "uuids differ": (box(lxd_storage_uuid="0000-1"), {}, ["lxd_storage_uuid", "0000-1", "would be refused their data"]),
}
