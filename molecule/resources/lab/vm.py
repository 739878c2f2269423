# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Engine vm: a QEMU machine with user networking. Real kernel, dm-crypt and reboots; nothing of it needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from . import disk, images, qemu, ssh
from .run import LabError, run, say, stage, wait_for
from .state import Lab, Machine

# Emulated, on a machine that does other things as well.
PATIENCE = 600


def up(lab: Lab, machine: Machine) -> None:
    """Overlay the image, seed it, boot it, wait for sshd."""
    create(lab, machine, images.build("vm", machine.release), lab.directory / machine.name)
    say(f"  {machine.name}: booted with {machine.accelerator}, ssh after {machine.boot_seconds} s")


def create(lab: Lab, machine: Machine, base: Path, directory: Path) -> None:
    """A machine on top of the image in `base`."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    machine.accelerator = qemu.accelerator(base / "vmlinuz")
    machine.address = "127.0.0.1"
    drives = make_drives(lab, machine, base, directory)
    for attempt in (1, 2, 3):
        ports = qemu.free_ports(len(qemu.GUEST_PORTS))
        machine.forwards = {str(guest): host for guest, host in zip(qemu.GUEST_PORTS, ports, strict=True)}
        machine.port = machine.forwards["22"]
        try:
            start(machine, base / "vmlinuz", drives, directory)
            break
        except LabError as error:
            # Somebody may have taken a port between our look and QEMU's.
            if attempt == 3 or "hostfwd" not in str(error):
                raise


def make_drives(lab: Lab, machine: Machine, base: Path, directory: Path) -> list[dict[str, str]]:
    """Root overlay, seed, and where wanted a blank disk and the one with the tiers' images."""
    overlay = ["-f", "qcow2", "-F", "raw", "-b", base / "disk.raw", directory / "root.qcow2"]
    run(["qemu-img", "create", "-q", *overlay])
    seed = ssh.seed(lab, machine)
    (directory / "seed.tar").write_bytes(seed + b"\0" * (-len(seed) % 512))
    # Nothing here has to survive a crash of the machine below.
    loose = {"cache": "unsafe", "discard": "unmap"}
    drives = [
        {"serial": "root", "file": "root.qcow2", "format": "qcow2", **loose},
        {"serial": "seed", "file": "seed.tar", "format": "raw", "readonly": "on"},
    ]
    if machine.data_disk:
        run(["qemu-img", "create", "-q", "-f", "raw", directory / "data.raw", machine.data_disk])
        drives.append({"serial": "data", "file": "data.raw", "format": "raw", **loose})
    if machine.tiers:
        path = disk.tier_disk(machine.tiers, machine.release)
        drives.append({"serial": "images", "file": str(path), "format": "raw", "readonly": "on"})
        machine.images = disk.tier_files(machine.tiers)
    return drives


def start(machine: Machine, kernel: Path, drives: list[dict[str, str]], directory: Path) -> None:
    """The first start: the command line is kept, for later ones."""
    words = qemu.command(
        machine.name, machine.accelerator, machine.cpus, machine.memory, drives, kernel, machine.forwards
    )
    (directory / "command.json").write_text(json.dumps(words, indent=1))
    boot(machine, directory)


def boot(machine: Machine, directory: Path) -> None:
    """Switch on and wait for sshd, on whichever port it listens. QEMU outlives this program, but not `lab.py down`."""
    begin = time.monotonic()
    with (directory / "qemu.log").open("w") as log:
        process = subprocess.Popen(
            json.loads((directory / "command.json").read_text()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            start_new_session=True,
        )

    def answer() -> bool:
        if process.poll() is not None:
            raise LabError(f"QEMU ended: {(directory / 'qemu.log').read_text()[-500:]}")
        return any(ssh.banner(machine.address, machine.forwards[guest]) for guest in ("22", "822"))

    wait_for(f"sshd of {machine.name}; see {directory / 'console.log'}", answer, PATIENCE)
    machine.boot_seconds = round(time.monotonic() - begin, 1)


def down(lab: Lab, machine: Machine, *, force: bool = False) -> None:
    """Ask it to power off, wait, and then no longer ask."""
    directory = lab.directory / machine.name
    pid = qemu.running(directory)
    if not pid:
        return
    if not force:
        with suppress(OSError):
            qemu.qmp(directory, "system_powerdown")
        with suppress(LabError):
            wait_for("the machine to power off", lambda: not qemu.running(directory), 60)
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        if qemu.running(directory) != pid:
            return
        os.kill(pid, number)
        with suppress(LabError):
            wait_for("QEMU to end", lambda: gone(directory), patience)


def gone(directory: Path) -> bool:
    """Whether QEMU has ended; if it is our own child, also bury it."""
    with suppress(ChildProcessError, OSError, ValueError):
        os.waitpid(int((directory / "qemu.pid").read_text()), os.WNOHANG)
    return not qemu.running(directory)


def reboot(lab: Lab, machine: Machine) -> None:
    """Press the power button, wait until the machine is off, switch it on again."""
    directory = lab.directory / machine.name
    with stage(f"{machine.name}: shut down"):
        qemu.qmp(directory, "system_powerdown")
        wait_for("the machine to power off", lambda: gone(directory), PATIENCE)
    (directory / "console.log").replace(directory / "console.1.log")
    boot(machine, directory)
    lab.save()


def alive(lab: Lab, machine: Machine) -> bool:
    return bool(qemu.running(lab.directory / machine.name))
