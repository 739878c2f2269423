# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Storage handed to an instance as a disk device: verified first, merged, owned as it should be inside."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible_collections.securebox.stack.plugins.module_utils.lxd import Document, Lxd, LxdError, NotFound, text
from ansible_collections.securebox.stack.plugins.module_utils.lxd_volume import VolumeError, refuse_unless_inside


class Host:
    """The directories of the host. Tests put another in its place."""

    def verify(self, source: str, luks_uuid: str | None, filesystem_uuid: str | None) -> None:
        refuse_unless_inside(source, luks_uuid, filesystem_uuid)

    def exists(self, source: str) -> bool:
        return Path(source).exists()

    def owner(self, source: str) -> tuple[int, int, bool]:
        """User, group, and whether the directory is empty (but for a new filesystem's lost+found)."""
        status = Path(source).stat()
        return status.st_uid, status.st_gid, all(entry.name == "lost+found" for entry in Path(source).iterdir())

    def owns_all_ids(self) -> bool:
        return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]

    def chown(self, source: str, uid: int, gid: int) -> None:
        os.chown(source, uid, gid)


def verify(params: dict[str, t.Any], lxd: Lxd, host: Host, check_mode: bool) -> list[str]:
    """Everything that can be wrong with the storage, before anything is changed."""
    if params.get("volume"):
        try:
            lxd.get(f"storage-pools/{params['pool']}/volumes/custom/{params['volume']}")
        except NotFound as error:
            raise LxdError(f"There is no custom volume {params['volume']} in the pool {params['pool']}") from error
        return []
    if check_mode and not host.exists(params["source"]):
        return [f"{params['source']} is not there yet, so that it could not be checked which volume it is in."]
    try:
        host.verify(params["source"], params.get("luks_uuid"), params.get("filesystem_uuid"))
    except VolumeError as error:
        raise LxdError(f"{params['instance']}: {error}") from error
    return []


def can_shift(lxd: Lxd, host: Host) -> bool:
    """What LXD says about the kernel is true for a host. In a container, the host's filesystems cannot be shifted."""
    features = lxd.get("")[0]["environment"].get("kernel_features") or {}
    return host.owns_all_ids() and "true" in (features.get("idmapped_mounts"), features.get("shiftfs"))


def disk(params: dict[str, t.Any], shift: bool) -> dict[str, str]:
    device = {"type": "disk", "path": params["path"], "source": params.get("volume") or params["source"]}
    if params.get("volume"):
        device["pool"] = params["pool"]
    if shift:
        device["shift"] = "true"
    if params.get("readonly"):
        device["readonly"] = "true"
    return device


def own_as_inside(instance: Document, source: str, host: Host, check_mode: bool) -> bool:
    """Without id shifting: a fresh directory goes to the instance's own root. Anything in use is left as it is."""
    maps = json.loads(instance["config"].get("volatile.idmap.next") or "[]")
    base = next(((m["Hostid"], m["Maprange"]) for m in maps if m["Isuid"] and m["Nsid"] == 0), (0, 1 << 32))
    uid, gid, empty = host.owner(source)
    if base[0] <= uid < base[0] + base[1]:
        return False
    if not empty:
        raise LxdError(
            f"Ids cannot be shifted on this host, and {source} holds files of {uid}:{gid}, whom "
            f"{instance['name']} cannot own: its ids begin at {base[0]}. Move them with chown, or use a "
            "host whose kernel has idmapped mounts (5.12 or later)"
        )
    if not check_mode:
        host.chown(source, base[0], base[0])
    return True


def ensure(params: dict[str, t.Any], lxd: Lxd, check_mode: bool, host: Host | None = None) -> dict[str, t.Any]:
    """Observe, compare, act."""
    host, name, device = host or Host(), params["instance"], params["device"]
    present = params.get("state", "present") == "present"
    warnings = verify(params, lxd, host, check_mode) if present else []
    try:
        instance = lxd.get(f"instances/{name}")[0]
    except NotFound as error:
        raise LxdError(f"There is no instance {name} in project {lxd.project or 'default'}") from error

    by_directory = present and not params.get("volume")
    unprivileged = text(instance["expanded_config"].get("security.privileged", "")) != "true"
    shift = by_directory and params.get("shift", True) and unprivileged
    changed = False
    if shift and not can_shift(lxd, host):
        shift = False
        warnings.append("Ids cannot be shifted on this host: the directory belongs to the instance's own ids instead.")
        if host.exists(params["source"]):
            changed = own_as_inside(instance, params["source"], host, check_mode)

    def merge(document: Document) -> Document:
        current = document["devices"].get(device)
        if current and (current["type"] != "disk" or current.get("path") == "/"):
            raise LxdError(f"The device {device} of {name} is its {current['type']} and not storage: take another name")
        if present:
            document["devices"][device] = disk(params, shift)
        else:
            document["devices"].pop(device, None)
        return document

    before = {device: dict(instance["devices"].get(device) or {})}
    wanted = {device: merge({"devices": dict(instance["devices"])})["devices"].get(device, {})}
    if before != wanted and not check_mode:
        lxd.update(name, merge)
    return {
        "changed": changed or before != wanted,
        "attachment": wanted[device],
        "diff": {"before": before, "after": wanted},
        "warnings": warnings,
    }
