# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine lacks for the lab, with the command that gets it; or, as root, gets it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from . import paths
from .run import LabError, run, say, stage

# Program -> Debian's package. Both engines build images; javac compiles the stand-in application of the whole box.
IMAGES = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "mkfs.ext4": "e2fsprogs",
    "ssh": "openssh-client",
    "ip": "iproute2",
    "xz": "xz-utils",
    "zstd": "zstd",
}
PROGRAMS = {
    "container": {
        **IMAGES,
        "lxc": "lxd-client",
        "lxd": "lxd",
        "nft": "nftables",
        "dnsmasq": "dnsmasq-base",
        "sysctl": "procps",
    },
    "vm": {
        **IMAGES,
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "javac": "default-jdk-headless",
    },
}
# Packages that Debian has and others may not: their programs come another way there.
SNAP = {"lxd", "lxd-client"}
# Not programs: what mmdebstrap checks the mirror's signature with.
FILES = {"/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring"}
SPACE = 12 << 30


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is missing: what, and the command that helps. Without being fatal: only slower."""

    what: str
    remedy: str
    fatal: bool = True


def missing_packages(engine: str, which: Callable[[str], str | None], exists: Callable[[str], bool]) -> list[str]:
    """The packages whose programs are not there."""
    engines = ("container", "vm") if engine == "all" else (engine,)
    wanted = {program: package for name in engines for program, package in PROGRAMS[name].items()}
    if os.geteuid() != 0:
        wanted["fakeroot"] = "fakeroot"
    found = {package for program, package in wanted.items() if not which(program)}
    found |= {package for file, package in FILES.items() if not exists(file)}
    # LXD from snap brings its own dnsmasq and client.
    if which("snap") and which("lxc"):
        found -= {"dnsmasq-base", *SNAP}
    return sorted(found)


def search(program: str) -> str | None:
    """Also where an ordinary user's PATH does not look."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/snap/bin")


def kvm(exists: bool, usable: bool, user: str) -> list[Finding]:
    """Why the engine vm would have to emulate."""
    if not exists:
        return [Finding("there is no /dev/kvm", "nothing to install: machines will be emulated, which is slow", False)]
    if not usable:
        return [Finding("/dev/kvm may not be used", f"sudo adduser {user} kvm   # then log in again", False)]
    return []


def lxd_rights(root: bool, groups: list[str]) -> list[Finding]:
    """Only root and the group lxd may talk to the daemon."""
    if root or "lxd" in groups:
        return []
    return [Finding("LXD's daemon may not be used", "sudo adduser $USER lxd   # then log in again")]


def subordinate(root_ranges: list[tuple[int, int]]) -> list[Finding]:
    """A stand-in server hands a part of its ids on to containers of its own, so it needs many."""
    if any(count >= 1_000_000 for _, count in root_ranges):
        return []
    command = "echo root:100000:10000001 | sudo tee -a /etc/subuid /etc/subgid"
    return [Finding("root has fewer than 1,000,000 subordinate ids (/etc/subuid)", command)]


def ranges(path: Path) -> list[tuple[int, int]]:
    """root's lines of /etc/subuid. No file: LXD takes a large range by itself."""
    if not path.exists():
        return [(0, 1 << 30)]
    lines = [line.strip().split(":") for line in path.read_text().splitlines()]
    return [(int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[0] == "root"]


def inotify(instances: int, systemd: bool) -> list[Finding]:
    """All containers are one user to the kernel, and each wants some ten. Without systemd the lab itself sees to it."""
    if instances >= 512 or not systemd:
        return []
    settings = "/etc/sysctl.d/10-lxd-inotify.conf"
    command = f"echo fs.inotify.max_user_instances=1024 | sudo tee {settings} && sudo sysctl --load {settings}"
    return [Finding(f"{instances} inotify instances for a user: the thirteenth container will not boot", command)]


def space(free: int) -> list[Finding]:
    """Images and machines need room."""
    if free >= SPACE:
        return []
    return [Finding(f"only {free >> 30} GiB are free at {paths.cache()}", "make room, or set SECUREBOX_LAB_CACHE")]


def examine(engine: str) -> tuple[list[str], list[Finding]]:
    """Missing packages, and everything else that is wrong."""
    findings: list[Finding] = []
    root = os.geteuid() == 0
    place = paths.cache()
    place.mkdir(parents=True, exist_ok=True)
    findings += space(shutil.disk_usage(place).free)
    if engine != "container":
        user = os.environ.get("USER", "$USER")
        findings += kvm(Path("/dev/kvm").exists(), os.access("/dev/kvm", os.R_OK | os.W_OK), user)
    if engine != "vm":
        import grp

        names = [grp.getgrgid(number).gr_name for number in os.getgroups()]
        findings += lxd_rights(root, names)
        findings += subordinate(ranges(Path("/etc/subuid")))
        instances = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
        findings += inotify(instances, Path("/run/systemd/system").exists())
    return missing_packages(engine, search, os.path.exists), findings


def install(packages: list[str]) -> None:
    """By apt, without recommended packages: QEMU's would bring a desktop."""
    with stage(f"install {' '.join(packages)}"):
        environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
        # Without systemd, a package's daemon cannot be started by its installation.
        run([*environment, "apt-get", "update", "-qq"], timeout=600)
        run([*environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], timeout=1800)


def main(engine: str, wanted: bool) -> int:
    """Print the findings; 1 when the lab cannot work."""
    packages, _ = examine(engine)
    if packages and wanted and os.geteuid() == 0:
        if not search("apt-get"):
            raise LabError(f"this system has no apt; install what Debian calls {' '.join(packages)}")
        # fuse mounts of lxcfs, and LXD's bridge, come with these two.
        install([*packages, *(["lxcfs"] if "lxd" in packages else [])])
    packages, findings = examine(engine)
    if packages:
        command = f"sudo apt-get install --no-install-recommends {' '.join(packages)}"
        findings.insert(0, Finding(f"packages are missing: {' '.join(packages)}", command))
    for finding in findings:
        say(f"doctor: {'' if finding.fatal else '(slower) '}{finding.what}\n        {finding.remedy}")
    if not findings:
        say("doctor: nothing is missing")
    return int(any(finding.fatal for finding in findings))
