# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of the engine vm: a bare server with its kernel beside it, and a second disk with the tiers' images."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from . import images, paths, ssh
from .run import LabError, run, say, stage
from .state import Lab, Machine

# Fewer inodes than usual and no lazy initialisation: the first boot would spend its time on writing empty tables.
MKFS = ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-i", "65536", "-m", "0"]
SIZE = "40G"

# Where the guest finds the tiers' images.
IMAGES = "/var/lib/securebox-lab/images"

FSTAB = "LABEL=lab-root / ext4 noatime,errors=remount-ro 0 0\n"

# What a cloud's first boot does, in one tar: root's key, host keys, the name. Once: a later boot finds the server as
# the site has made it. Disks are found by their serial numbers, without udev, which is slow when emulated.
BOOT_SCRIPT = """\
#!/bin/sh
set -eu
disk() {
    for block in /sys/block/vd*; do
        if [ "$(cat "$block/serial")" = "$1" ]; then echo "/dev/${block##*/}"; fi
    done
}
if [ ! -e /var/lib/securebox-lab/seeded ]; then
    tar --extract --file="$(disk seed)" --directory=/
    touch /var/lib/securebox-lab/seeded
fi
images=$(disk images)
if [ -n "$images" ]; then mount -o ro,noload,noatime "$images" /var/lib/securebox-lab/images; fi
"""
BOOT_UNIT = """\
[Unit]
Description=Make this machine the one that the lab asked for
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/lab-boot

[Install]
WantedBy=sysinit.target
"""

# Only what the machine has. The order of QEMU's disks is not the kernel's, so the root is found by its label.
INITRAMFS = """\
MODULES=list
COMPRESS=lz4
BUSYBOX=n
KEYMAP=n
"""
MODULES = "virtio_pci\nvirtio_blk\next4\n"

CUSTOMIZE = """\
set -eu
root=$1
mkdir -p "$root/var/lib/securebox-lab/images"
cp fstab "$root/etc/fstab"
cp lab-boot.service "$root/etc/systemd/system/"
install -m 0755 lab-boot "$root/usr/local/lib/lab-boot"
cp initramfs "$root/etc/initramfs-tools/conf.d/lab"
cp modules "$root/etc/initramfs-tools/modules"
chroot "$root" systemctl -q enable lab-boot.service
for unit in getty@tty1.service serial-getty@ttyS0.service systemd-pstore.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" update-initramfs -u
"""
SOURCES = [MKFS, SIZE, FSTAB, BOOT_SCRIPT, BOOT_UNIT, INITRAMFS, MODULES, CUSTOMIZE]


def build(release: str, work: Path) -> None:
    """disk.raw (sparse), vmlinuz and initrd.img."""
    with tempfile.TemporaryDirectory() as name:
        scripts = Path(name)
        scripts.chmod(0o755)
        texts = {"fstab": FSTAB, "lab-boot": BOOT_SCRIPT, "lab-boot.service": BOOT_UNIT}
        texts |= {"initramfs": INITRAMFS, "modules": MODULES}
        for file, text in {**texts, "customize-vm": CUSTOMIZE}.items():
            (scripts / file).write_text(text)
        hook = f'cd {name} && sh ./customize-vm "$1" && cp -L "$1/vmlinuz" "$1/initrd.img" {work}/'
        images.tree("vm", release, work / "rootfs.tar", [hook])
    filesystem([work / "rootfs.tar"], work / "disk.raw", SIZE, "lab-root")
    try:
        with stage("boot it once, for what a first boot compiles"):
            warm(release, work)
        filesystem([work / "rootfs.tar", work / "warm.tar"], work / "disk.raw", SIZE, "lab-root")
    except LabError as error:
        say(f"  going on without, each boot takes longer: {error}")
    for archive in work.glob("*.tar"):
        archive.unlink()
    say(f"  vm: {(work / 'disk.raw').stat().st_blocks >> 11} MiB of {SIZE}")


def warm(release: str, work: Path) -> None:
    """Take AppArmor's compiled profiles out of a first boot: they depend on the kernel, and take 10 s when emulated."""
    from . import vm

    lab = Lab("warm")
    lab.directory = work / "warm"
    machine = Machine("warm", engine="vm", release=release, memory=2048)
    lab.machines = {"warm": machine}
    directory = lab.directory / "warm"
    try:
        vm.create(lab, machine, work, directory)
        ssh.write_files(lab)
        # Into a file, for it is binary, and because `ssh.ssh` returns text.
        ssh.ssh(lab, machine, "systemctl is-system-running --wait; tar -cf /run/warm.tar -C / var/cache/apparmor")
        run(["scp", "-q", "-F", lab.directory / "ssh_config", "warm:/run/warm.tar", work / "warm.tar"])
    finally:
        vm.down(lab, machine, force=True)
        ssh.close(lab, machine)
        shutil.rmtree(lab.directory, ignore_errors=True)


def filesystem(archives: list[Path], target: Path, size: str, label: str) -> None:
    """A file system with the archives' content, without mounting anything; not being root needs fakeroot."""
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as tree:
        unpack = ["tar", "-x", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", tree, "-f"]
        commands = [[*unpack, archive] for archive in archives]
        commands.append([*MKFS, "-L", label, "-d", tree, target, size])
        script = " && ".join(shlex.join(str(word) for word in command) for command in commands)
        run([*([] if os.geteuid() == 0 else ["fakeroot"]), "sh", "-c", script], timeout=1800)


def tier_disk(tiers: list[str], release: str) -> Path:
    """The tiers' images on a disk of their own, kept by what is on it."""
    found = {tier: images.build(tier, release) for tier in sorted(tiers)}
    digest = hashlib.sha256(repr([MKFS, sorted(path.name for path in found.values())]).encode()).hexdigest()[:12]
    target = paths.cache() / "images" / f"tiers-{release}-{digest}.raw"
    with images.locked(target.name):
        if not target.exists():
            with stage("build the disk with the tiers' images"), tempfile.TemporaryDirectory(dir=target.parent) as name:
                size = 64
                for tier, path in found.items():
                    (Path(name) / tier).mkdir()
                    for file in ("metadata.tar.xz", "rootfs.squashfs"):
                        os.link(path / file, Path(name) / tier / file)
                        size += 1 + ((path / file).stat().st_size * 103 // 100 >> 20)
                Path(name).chmod(0o755)
                run([*MKFS, "-L", "lab-images", "-d", name, target.with_suffix(".new"), f"{size}M"], timeout=600)
                target.with_suffix(".new").replace(target)
    return target


def tier_files(tiers: list[str]) -> dict[str, dict[str, str]]:
    """Where the guest finds them."""
    files = {"metadata": "metadata.tar.xz", "rootfs": "rootfs.squashfs"}
    return {tier: {key: f"{IMAGES}/{tier}/{file}" for key, file in files.items()} for tier in tiers}
