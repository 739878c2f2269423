# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an instance's image comes from: a public server, an alias LXD has, or a pair of files on the host."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path
from urllib.parse import quote

from ansible_collections.securebox.stack.plugins.module_utils.lxd import Document, Lxd, LxdError, NotFound

# Debian 12's LXD still has a server for `images` that no longer serves LXD.
SERVERS = {
    "images": "https://images.lxd.canonical.com",
    "ubuntu": "https://cloud-images.ubuntu.com/releases",
}
# What LXD says about files that it has under another alias.
ALREADY_THERE = "same fingerprint already exists"


def source(image: dict[str, t.Any]) -> Document:
    """What LXD is told to create an instance from."""
    remote = image.get("remote")
    if not remote:
        return {"type": "image", "alias": image["alias"]}
    server = image.get("server") or SERVERS.get(remote)
    if not server:
        raise LxdError(f"image: {remote} is not one of {', '.join(SERVERS)}: give its server too")
    return {"type": "image", "mode": "pull", "protocol": "simplestreams", "server": server, "alias": image["alias"]}


def fingerprint(files: dict[str, str]) -> str:
    """LXD's name for a split image: the SHA-256 of its two files, one after the other."""
    digest = hashlib.sha256()
    for path in (files["metadata"], files["rootfs"]):
        with Path(path).open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def ensure(image: dict[str, t.Any], lxd: Lxd, check_mode: bool) -> bool:
    """Import the files once, under the alias. Whether anything was to do."""
    alias, files = image["alias"], image.get("files")
    if image.get("remote"):
        return False
    try:
        lxd.get(f"images/aliases/{quote(alias, safe='')}")
        return False
    except NotFound as error:
        if not files:
            raise LxdError(
                f"image: LXD has no image with the alias {alias}, and neither remote nor files say where to get it"
            ) from error
    for path in files.values():
        if not Path(path).is_file():
            raise LxdError(f"image: {path} is not a file on this host (files of the image {alias})")
    if check_mode:
        return True
    argv = ["lxc", *(["--project", lxd.project] if lxd.project else []), "image", "import"]
    try:
        # LXD finds out by itself what the fingerprint is: computing it here as well takes long.
        lxd.run([*argv, files["metadata"], files["rootfs"], "--alias", alias], f"Importing the image {alias}")
    except LxdError as error:
        if ALREADY_THERE not in str(error):
            raise
        body = {"name": alias, "target": fingerprint(files)}
        lxd.change("POST", "images/aliases", body, f"Naming the image {alias}")
    return True
