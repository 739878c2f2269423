# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The LXD daemon of this machine, and the lab's own pool, bridge and profile in it."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

from . import images
from .run import LabError, run, say, succeeds, wait_for

POOL = PROFILE = "securebox-lab"
BRIDGE = "sblabbr0"
LXCFS = Path("/var/lib/lxcfs")
SOCKETS = (Path("/var/snap/lxd/common/lxd/unix.socket"), Path("/var/lib/lxd/unix.socket"))


def lxc(*words: object, stdin: str | bytes | None = None, timeout: float = 180, check: bool = True) -> str:
    return run(["lxc", *words], stdin=stdin, timeout=timeout, check=check)


def query(path: str) -> t.Any:
    """Ask LXD's API. None when there is no such thing."""
    text = lxc("query", path, check=False)
    return json.loads(text) if text.strip() else None


def running() -> bool:
    return succeeds(["lxc", "query", "/1.0"], timeout=20)


def lxcfs_wanted() -> bool:
    """Whether lxcfs has to be started. One that was killed leaves a dead mount behind, which is taken away here."""
    if not shutil.which("lxcfs"):
        return False
    try:
        LXCFS.stat()
    except FileNotFoundError:
        pass
    except OSError:
        run(["umount", "--lazy", LXCFS])
    return not os.path.ismount(LXCFS)


def start_daemon() -> None:
    """Where systemd runs, LXD starts by itself. Where it does not (CI), start the two daemons here, detached."""
    if running():
        return
    if not shutil.which("lxc") or not shutil.which("lxd"):
        raise LabError("LXD is not installed: run `sudo molecule/resources/lab.py doctor --install`")
    if Path("/run/systemd/system").exists() or os.geteuid() != 0:
        raise LabError(
            "LXD does not answer. As root: `systemctl start lxd`; as another user: be in the group lxd "
            "(`sudo usermod -aG lxd $USER`, then log in again)"
        )
    say("  starting lxcfs and lxd, for there is no systemd on this machine")
    # What systemd would have done with the package's own file: the kernel's 128 inotify instances of a user are too few
    # for thirteen containers, which are one user to it: see docs/decisions/lab-inotify.md.
    for settings in Path("/etc/sysctl.d").glob("*lxd*.conf"):
        run(["sysctl", "--quiet", "--load", settings], check=False)
    log = images.paths.cache() / "lxd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    Path("/var/lib/lxd").mkdir(exist_ok=True)
    daemons = [["lxd", "--group", "lxd", "--logfile", str(log)]]
    if lxcfs_wanted():
        LXCFS.mkdir(exist_ok=True)
        daemons.insert(0, ["lxcfs", str(LXCFS)])
    for command in daemons:
        with log.with_suffix(f".{command[0]}").open("ab") as output:
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
            )
    wait_for("the LXD daemon (see lxd.log in the lab's cache)", running, 90, 0.5)


def routes() -> list[str]:
    """The networks that this machine knows."""
    found = []
    for family in ("-4", "-6"):
        listing = json.loads(run(["ip", family, "-json", "route"]) or "[]")
        found += [item["dst"] for item in listing if item["dst"] != "default"]
    return found


def free_networks(used: list[str]) -> tuple[str, str]:
    """Addresses for a bridge, in networks that overlap none of those. LXD's own `auto` gives up in some sandboxes."""
    taken = [ipaddress.ip_network(item, strict=False) for item in used]
    for number in range(64):
        pair = (f"10.217.{number}.1/24", f"fd42:217:{number:x}::1/64")
        networks = [ipaddress.ip_interface(address).network for address in pair]
        if not any(new.version == old.version and new.overlaps(old) for new in networks for old in taken):
            return pair
    raise LabError("no free network for the lab's bridge below 10.217.0.0/18")


def ensure() -> None:
    """The lab's pool, bridge and profile. Addresses are whatever this machine does not use yet."""
    with images.locked("lxd"):
        start_daemon()
        if query(f"/1.0/storage-pools/{POOL}") is None:
            lxc("storage", "create", POOL, "dir")
        if query(f"/1.0/networks/{BRIDGE}") is None:
            v4, v6 = free_networks(routes())
            lxc(
                "network",
                "create",
                BRIDGE,
                f"ipv4.address={v4}",
                f"ipv6.address={v6}",
                "ipv4.nat=true",
                "ipv6.nat=true",
            )
        if query(f"/1.0/profiles/{PROFILE}") is None:
            lxc("profile", "create", PROFILE)
            devices = {
                "root": {"type": "disk", "path": "/", "pool": POOL},
                "eth0": {"type": "nic", "network": BRIDGE, "name": "eth0"},
            }
            profile = {"config": {}, "description": "securebox lab", "devices": devices}
            lxc("profile", "edit", PROFILE, stdin=json.dumps(profile))


def image(name: str, release: str) -> str:
    """The image's alias in LXD, imported if it is not there."""
    found = images.build(name, release)
    alias = f"securebox-lab/{found.name}"
    with images.locked("lxd"):
        if query(f"/1.0/images/aliases/{alias.replace('/', '%2F')}") is None:
            lxc("image", "import", found / "metadata.tar.xz", found / "rootfs.squashfs", "--alias", alias, timeout=600)
    return alias


def purge() -> None:
    """Take away what the labs share: images, profile, bridge and pool."""
    if not running():
        return
    for item in query("/1.0/images/aliases?recursion=1") or []:
        if item["name"].startswith("securebox-lab/"):
            lxc("image", "delete", item["name"])
    for kind, name in (("profile", PROFILE), ("network", BRIDGE), ("storage", POOL)):
        lxc(kind, "delete", name, check=False)
