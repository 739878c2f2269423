# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU: what accelerates it on this machine, its command line, and talking to it."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from . import paths
from .run import say

GUEST_PORTS = (22, 822, 80, 443)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; all held at once, so that no two are the same."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in held:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in held]


def accelerator(kernel: Path) -> str:
    """kvm if it boots this kernel within seconds, else tcg. Some machines have a /dev/kvm that does not; asked once."""
    wish = os.environ.get("SECUREBOX_LAB_ACCEL")
    if wish in ("kvm", "tcg"):
        return wish
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    answers = paths.cache() / "kvm.json"
    key = f"{platform.node()} {platform.release()} {kernel.parent.name}"
    known = json.loads(answers.read_text()) if answers.exists() else {}
    if key not in known:
        known[key] = boots_with_kvm(kernel)
        answers.write_text(json.dumps(known))
        say(f"  KVM {'works' if known[key] else 'does not boot a kernel here: emulating, which is slow'}")
    return "kvm" if known[key] else "tcg"


def boots_with_kvm(kernel: Path, patience: float = 8) -> bool:
    """Whether a kernel gets as far as its first words under KVM."""
    with tempfile.TemporaryDirectory() as directory:
        console = Path(directory) / "console"
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512", "-display", "none", "-no-reboot"]
        command += ["-serial", f"file:{console}", "-monitor", "none", "-kernel", str(kernel)]
        command += ["-append", "console=ttyS0 earlyprintk=serial panic=-1"]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            return False
        try:
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if console.exists() and b"Linux version" in console.read_bytes():
                    return True
                if process.poll() is not None:
                    return False
                time.sleep(0.2)
            return False
        finally:
            process.kill()
            process.wait()


def command(name: str, accel: str, cpus: int, memory: int, drives: list[dict[str, str]], kernel: Path,
            forwards: dict[str, int]) -> list[str]:  # fmt: skip
    """The command line, to be run in the machine's own directory."""
    # Westmere: has AES (dm-crypt is six times as fast with it), and not the wide registers, which are slow to emulate.
    tcg = ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "Westmere"]
    fast = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": tcg}
    words = ["qemu-system-x86_64", "-name", name, "-machine", "q35", *fast[accel], "-smp", str(cpus), "-m", str(memory)]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:console.log", "-monitor", "none"]
    words += ["-qmp", "unix:qmp.sock,server=on,wait=off", "-pidfile", "qemu.pid"]
    words += ["-device", "virtio-rng-pci"]
    for number, drive in enumerate(drives):
        options = {**drive}
        serial = options.pop("serial")
        words += [
            "-drive",
            ",".join([f"id=d{number}", "if=none", *(f"{key}={value}" for key, value in options.items())]),
        ]
        words += ["-device", f"virtio-blk-pci,drive=d{number},serial={serial}"]
    rules = ",".join(f"hostfwd=tcp:127.0.0.1:{host}-:{guest}" for guest, host in forwards.items())
    words += ["-netdev", f"user,id=n0,{rules}", "-device", "virtio-net-pci,netdev=n0,romfile="]
    words += ["-kernel", str(kernel), "-initrd", str(kernel.with_name("initrd.img")), "-append", " ".join(append(name))]
    return words


def append(name: str) -> list[str]:
    """Kernel parameters: quiet, and without what costs time and protects nobody in a lab."""
    return [
        "root=LABEL=lab-root rw console=ttyS0 quiet loglevel=4 panic=5 net.ifnames=0 mitigations=off",
        "fsck.mode=skip systemd.show_status=0 noresume random.trust_cpu=on tsc=reliable",
        f"systemd.hostname={name}",
    ]


def running(directory: Path) -> int:
    """The machine's process, or 0. A number in a file may have gone to somebody else's process: look at its name."""
    with suppress(OSError, ValueError):
        pid = int((directory / "qemu.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"qemu" in words[0] and Path(f"/proc/{pid}/cwd").resolve() == directory.resolve():
            return pid
    return 0


def qmp(directory: Path, action: str) -> None:
    """Tell the machine something, such as system_powerdown."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            # Below /proc the path is short, however deep the checkout lies: sockets allow 107 characters.
            connection.connect(f"/proc/self/fd/{descriptor}/qmp.sock")
            stream = connection.makefile("rw")
            stream.readline()
            for word in ("qmp_capabilities", action):
                stream.write(json.dumps({"execute": word}) + "\n")
                stream.flush()
                stream.readline()
    finally:
        os.close(descriptor)
