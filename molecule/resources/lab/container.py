# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine container: an LXD system container stands in for a server. Seconds to create; no device-mapper."""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from pathlib import Path

from . import images, lxd, paths, ssh
from .run import wait_for
from .state import Lab, Machine

# Seconds to wait for a container: a few on an idle machine, many on one that tests ten things at once.
PATIENCE = 240

# Hosts with cgroup v1: systemd leaves an empty cpu,cpuacct where a nested LXD wants two controllers.
CGROUP_V1 = """\
[Unit]
Description=Mount the cgroup v1 controllers that a nested LXD asks for
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cd /sys/fs/cgroup && for c in cpu cpuacct; do \\
  mountpoint -q $c && continue; rm -f $c; mkdir -p $c; mount -t cgroup -o $c cgroup $c; done'

[Install]
WantedBy=sysinit.target
"""


def up(lab: Lab, machine: Machine) -> None:
    """Create, seed, start, and wait until sshd answers."""
    begin = time.monotonic()
    name = paths.instance(lab.name, machine.name)
    alias = lxd.image(machine.image, machine.release)
    # Nesting also for those that hold no containers: systemd's own sandboxes ask for it.
    lxd.lxc(
        "init",
        alias,
        name,
        "--profile",
        lxd.PROFILE,
        "-c",
        "security.nesting=true",
        "-c",
        f"user.hostname={machine.name}",
    )
    push(name, seed(lab, machine))
    lxd.lxc("start", name)
    # Here the mirror is near: a role's `update_cache` may do its work. Without the mark Ansible goes by the lists' age.
    stale = "rm -f /var/lib/apt/periodic/update-success-stamp; touch -d 1970-01-02 /var/lib/apt/lists"
    lxd.lxc("exec", name, "--", "sh", "-c", stale)
    if machine.image != "server":
        install_sshd(name, images.directory(machine.image, machine.release) / "ssh")
    machine.address, machine.address6 = wait_for(f"addresses of {name}", lambda: addresses(name), PATIENCE, 0.5)
    wait_for(f"sshd of {name}", lambda: ssh.banner(machine.address, 22), PATIENCE)
    machine.boot_seconds = round(time.monotonic() - begin, 1)


def seed(lab: Lab, machine: Machine) -> bytes:
    """The common seed, and what a container needs to hold containers of its own."""
    buffer = io.BytesIO(ssh.seed(lab, machine))
    if machine.image == "server":
        with tarfile.open(fileobj=buffer, mode="a") as archive:
            files = {"etc/subuid": "root:100000:800000\n", "etc/subgid": "root:100000:800000\n"}
            if Path("/sys/fs/cgroup/cpu").exists():
                files["etc/systemd/system/lab-cgroup.service"] = CGROUP_V1
                files["etc/systemd/system/sysinit.target.wants/lab-cgroup.service"] = CGROUP_V1
            for path, text in files.items():
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(text), 0o644
                archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def push(name: str, archive: bytes) -> None:
    """Put the seed into the stopped container: sshd finds its keys at its first start."""
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(fileobj=io.BytesIO(archive)) as source:
            source.extractall(temporary, filter="tar")
        for top in sorted(Path(temporary).iterdir()):
            lxd.lxc("file", "push", "--quiet", "--recursive", "--create-dirs", top, f"{name}/")


def install_sshd(name: str, packages: Path) -> None:
    """A tier's image has no sshd; for the lab's own way in, unpack one."""
    active = ["exec", name, "--", "systemctl", "is-active", "systemd-networkd"]
    wait_for(f"init of {name}", lambda: lxd.lxc(*active, check=False).startswith("active"), PATIENCE)
    lxd.lxc("file", "push", "--quiet", "--recursive", packages, f"{name}/run/")
    command = "dpkg --force-confold -i /run/ssh/*.deb && rm -r /run/ssh"
    lxd.lxc("exec", name, "--env", "DEBIAN_FRONTEND=noninteractive", "--", "sh", "-c", command)


def addresses(name: str) -> tuple[str, str] | None:
    """The container's IPv4 and global IPv6 address, when it has both."""
    state = lxd.query(f"/1.0/instances/{name}/state") or {}
    found = ((state.get("network") or {}).get("eth0") or {}).get("addresses") or []
    family = {item["family"]: item["address"] for item in found if item["scope"] == "global"}
    return (family["inet"], family["inet6"]) if {"inet", "inet6"} <= set(family) else None


def down(lab: Lab, machine: Machine, *, force: bool = False) -> None:
    """Delete it; a second time is no error."""
    del force
    name = paths.instance(lab.name, machine.name)
    if lxd.running() and lxd.query(f"/1.0/instances/{name}"):
        lxd.lxc("delete", "--force", name)


def reboot(lab: Lab, machine: Machine) -> None:
    lxd.lxc("restart", "--timeout", "240", paths.instance(lab.name, machine.name), timeout=300)
    wait_for(f"sshd of {machine.name}", lambda: ssh.banner(machine.address, machine.port), PATIENCE)


def alive(lab: Lab, machine: Machine) -> bool:
    found = lxd.query(f"/1.0/instances/{paths.instance(lab.name, machine.name)}")
    return bool(found) and found["status"] == "Running"
