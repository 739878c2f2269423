# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The encrypted volume: where, how large, which, and opened by what."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils import encrypted_volume
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Server,
    Site,
    human,
    parse_size,
)

# Below this the run refuses; what the secrets playbook writes is far longer.
PASSPHRASE_LENGTH = 12
# Never fill the disk that the system itself lives on.
RESERVE = 1024**3


def one_place(site: Site) -> t.Iterator[Problem]:
    file, device = _place(site)
    if file and device:
        yield site.problem(
            site.box,
            "encrypted_volume_device",
            "set together with encrypted_volume_file "
            f"({file}): the data lives in a file or on a device, so take one of the two out",
            device,
        )
    if not file and not device and not _broken(site, "encrypted_volume_file", "encrypted_volume_device"):
        yield site.problem(
            site.box,
            "encrypted_volume_file",
            "neither encrypted_volume_file nor encrypted_volume_device is set: say where the encrypted data lives",
        )
    for name in ("encrypted_volume_file", "encrypted_volume_device", "encrypted_volume_mount_point"):
        value = site.get(site.box, name)
        if value and not posixpath.isabs(str(value)):
            yield site.problem(site.box, name, "no absolute path: it has to begin with /")
    mount_point = posixpath.normpath(str(site.get(site.box, "encrypted_volume_mount_point", "/srv/securebox")))
    if mount_point in ("/", "/etc", "/usr", "/var", "/home", "/srv", "/boot", "/root", "/var/lib"):
        yield site.problem(site.box, "encrypted_volume_mount_point", "a directory of the system: take one of its own")
    if file and posixpath.normpath(str(file)).startswith(mount_point + "/"):
        yield site.problem(
            site.box,
            "encrypted_volume_file",
            "it lies inside encrypted_volume_mount_point: the volume would have to be open to open it",
        )


def size_is_a_size(site: Site) -> t.Iterator[Problem]:
    file, _device = _place(site)
    value = site.get(site.box, "encrypted_volume_size")
    if value in (None, ""):
        if file and not _broken(site, "encrypted_volume_size"):
            yield site.problem(site.box, "encrypted_volume_size", "a file needs a size, such as 60G")
        return
    size = parse_size(value)
    if size is None:
        yield site.problem(site.box, "encrypted_volume_size", "no size: a number with M, G or T, such as 60G")
    elif size >= 64 * 1024**2 and not _is_understood(value):
        yield site.problem(site.box, "encrypted_volume_size", "not a whole number with M, G or T, such as 60G")
    elif size < 64 * 1024**2:
        yield site.problem(
            site.box,
            "encrypted_volume_size",
            "too small for a LUKS2 volume with a file system: is a unit missing? Such as 60G",
        )


def _is_understood(value: t.Any) -> bool:
    """By the module that will read it."""
    try:
        encrypted_volume.parse_size(value, "encrypted_volume_size")
    except encrypted_volume.VolumeError:
        return False
    return True


def uuids_agree(site: Site) -> t.Iterator[Problem]:
    volume, storage = (site.get(site.box, name) for name in ("encrypted_volume_uuid", "lxd_storage_uuid"))
    if volume and storage and str(volume).lower() != str(storage).lower():
        yield site.problem(
            site.box,
            "lxd_storage_uuid",
            f"not encrypted_volume_uuid ({volume}): the containers would be refused their data",
        )


def passphrase(site: Site) -> t.Iterator[Problem]:
    name = "encrypted_volume_passphrase"
    value = site.get(site.box, name)
    if _broken(site, name):
        return
    if value is None:
        if not site.controller.has_terminal and not _is_open(site):
            yield site.problem(
                site.box,
                name,
                "nobody can be asked, for there is no terminal, and the variable is not "
                "set: set it from the vault, or run this from a terminal",
            )
    elif str(value) == "":
        # An empty vault variable behind it is reported by its own name.
        if site.get(site.box, "vault_" + name) != "":
            yield site.problem(site.box, name, "it is empty: set it, or take the line out to be asked at each run")
    elif len(str(value)) < PASSPHRASE_LENGTH:
        yield site.problem(
            site.box,
            name,
            f"too weak: {PASSPHRASE_LENGTH} characters at least; a thief of the disk has all the time in the world",
        )
    elif "\n" in str(value):
        yield site.problem(site.box, name, "it holds a line break, so it could not be typed at the prompt")


def fits_the_server(site: Site) -> t.Iterator[Problem]:
    server = site.server
    if server is None:
        return
    file, device = _place(site)
    if device and not file:
        yield from _device(site, server, str(device))
    elif file and not device:
        yield from _file(site, server, str(file))

    seen = server.paths.get(str(device or file), {})
    is_empty = not seen.get("signatures") and seen.get("type") == ("block" if device else "missing")
    if is_empty and not site.flag(site.box, "encrypted_volume_initialise"):
        yield site.problem(
            site.box,
            "encrypted_volume_initialise",
            f"there is no volume yet at {device or file}. Making one is an act of its own, once: run with "
            "-e encrypted_volume_initialise=true",
        )

    mount_point = posixpath.normpath(str(site.get(site.box, "encrypted_volume_mount_point", "")))
    source = server.mounts.get(mount_point, "")
    if source and not source.startswith(("/dev/mapper/", "/dev/dm-")):
        yield site.problem(
            site.box,
            "encrypted_volume_mount_point",
            f"{source} is mounted there: another file system's place",
            mount_point,
        )


def _device(site: Site, server: Server, device: str) -> t.Iterator[Problem]:
    seen = server.paths.get(device, {})
    if seen.get("type") != "block":
        what = {"missing": "no such device", "file": "an ordinary file: that is encrypted_volume_file"}
        yield site.problem(
            site.box,
            "encrypted_volume_device",
            f"{what.get(seen.get('type'), 'no block device')} on the server; its disks: ls -l /dev/disk/by-id",
        )
        return
    yield from _signatures(site, seen, "encrypted_volume_device")
    size = parse_size(site.get(site.box, "encrypted_volume_size", 0)) or 0
    if size > seen["size"]:
        yield site.problem(
            site.box, "encrypted_volume_size", f"larger than the device, which has {human(seen['size'])}"
        )


def _file(site: Site, server: Server, file: str) -> t.Iterator[Problem]:
    seen = server.paths.get(file, {})
    if seen.get("type") == "block":
        yield site.problem(site.box, "encrypted_volume_file", "a block device: that is encrypted_volume_device")
        return
    yield from _signatures(site, seen, "encrypted_volume_file")
    size = parse_size(site.get(site.box, "encrypted_volume_size", 0)) or 0
    if seen.get("size", 0) > size > 0:
        yield site.problem(
            site.box,
            "encrypted_volume_size",
            f"the volume is larger already ({human(seen['size'])}), and it never shrinks",
        )
    mounts = [mount for mount in server.disks if mount == "/" or (file + "/").startswith(mount + "/")]
    if not mounts:
        return
    mount = max(mounts, key=len)
    free, total = server.disks[mount]
    # The file may be sparse, so what it already has on the disk is not known: its whole growth is asked for.
    need = size - seen.get("size", 0)
    if need > 0 and need + RESERVE > free:
        yield site.problem(
            site.box,
            "encrypted_volume_size",
            f"larger than the free disk: {human(free)} of "
            f"{human(total)} are free at {mount}, and {human(RESERVE)} stays for the system",
        )


def _signatures(site: Site, seen: dict[str, t.Any], variable: str) -> t.Iterator[Problem]:
    expected = str(site.get(site.box, "encrypted_volume_uuid", "")).lower()
    for kind, uuid in seen.get("signatures", []):
        if kind == "crypto_LUKS" and uuid.lower() == expected:
            continue
        if kind == "crypto_LUKS":
            why = f"it holds another encrypted volume, of UUID {uuid}. To use that one, set encrypted_volume_uuid to it"
        else:
            why = f"it holds data ({kind}). Formatting refuses that; how to erase it: docs/runbooks/new-disk.md"
        yield site.problem(site.box, variable, why)


def _place(site: Site) -> tuple[t.Any, t.Any]:
    return site.get(site.box, "encrypted_volume_file"), site.get(site.box, "encrypted_volume_device")


def _broken(site: Site, *names: str) -> bool:
    return any(name in site.broken.get(site.box, {}) for name in names)


def _is_open(site: Site) -> bool:
    mount_point = str(site.get(site.box, "encrypted_volume_mount_point", ""))
    return bool(site.server) and site.server.mounts.get(mount_point, "").startswith("/dev/mapper/")


RULES = (one_place, size_is_a_size, uuids_agree, passphrase, fits_the_server)
