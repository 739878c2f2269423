# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh: keys of the lab's own, files that make any ssh client reach its machines, waiting for sshd."""

from __future__ import annotations

import io
import socket
import tarfile
from pathlib import Path

from .run import LabError, run
from .state import Lab, Machine

OPTIONS = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"]
KINDS = ("ed25519", "ecdsa", "rsa")


def make_key(path: Path, kind: str = "ed25519") -> None:
    """A key pair without a passphrase, once."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"lab {path.parent.name}", "-f", path])


def host_keys(lab: Lab, machine: Machine) -> list[Path]:
    """The server's host keys are made here, so that they are known before the first connection (and TCG need not)."""
    found = []
    for kind in KINDS:
        path = lab.directory / machine.name / f"ssh_host_{kind}_key"
        make_key(path, kind)
        found += [path, path.with_suffix(".pub")]
    return found


def seed(lab: Lab, machine: Machine) -> bytes:
    """What makes a generic image this machine, as a tar archive to be unpacked at /: name, host keys, root's key."""
    make_key(lab.key)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(name: str, data: bytes, mode: int, kind: bytes = tarfile.REGTYPE) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.type = len(data), mode, kind
            archive.addfile(entry, io.BytesIO(data))

        add("root/.ssh", b"", 0o700, tarfile.DIRTYPE)
        add("root/.ssh/authorized_keys", lab.key.with_suffix(".pub").read_bytes(), 0o600)
        for path in host_keys(lab, machine):
            add(f"etc/ssh/{path.name}", path.read_bytes(), 0o644 if path.suffix == ".pub" else 0o600)
        add("etc/hostname", f"{machine.name}\n".encode(), 0o644)
        add("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {machine.name}\n::1 localhost\n".encode(), 0o644)
    return buffer.getvalue()


def banner(address: str, port: int) -> bool:
    """Whether an sshd answers there."""
    try:
        with socket.create_connection((address, port), timeout=3) as connection:
            connection.settimeout(3)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def write_files(lab: Lab) -> None:
    """known_hosts and ssh_config: `ssh -F .cache/lab/NAME/ssh_config MACHINE` works, and so does testinfra."""
    known, config = [], []
    for machine in lab.machines.values():
        ports = {machine.port, *machine.forwards.values()} if machine.forwards else {machine.port}
        for path in host_keys(lab, machine):
            if path.suffix == ".pub":
                key = " ".join(path.read_text().split()[:2])
                names = [machine.address if port == 22 else f"[{machine.address}]:{port}" for port in sorted(ports)]
                known += [f"{name} {key}" for name in names]
        config.append(
            f"Host {machine.name}\n  HostName {machine.address}\n  Port {machine.port}\n  User {machine.user}\n"
            f"  IdentityFile {lab.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {lab.directory / 'known_hosts'}\n"
            "  StrictHostKeyChecking yes\n  ControlMaster auto\n  ControlPersist 60s\n"
            "  ControlPath ~/.ssh/sbl-%C\n  ServerAliveInterval 20\n  ServerAliveCountMax 6\n"
        )
    Path.home().joinpath(".ssh").mkdir(mode=0o700, exist_ok=True)
    (lab.directory / "known_hosts").write_text("\n".join(known) + "\n")
    (lab.directory / "ssh_config").write_text("\n".join(config))


def close(lab: Lab, machine: Machine) -> None:
    """End the shared connection: a rebooted machine would leave it hanging."""
    run(["ssh", "-F", lab.directory / "ssh_config", "-O", "exit", machine.name], check=False, timeout=10)


def ssh(lab: Lab, machine: Machine, *command: str, timeout: float = 60) -> str:
    """Run a command on the machine."""
    if not (lab.directory / "ssh_config").exists():
        raise LabError(f"lab {lab.name} is not up")
    return run(["ssh", "-F", lab.directory / "ssh_config", *OPTIONS, machine.name, *command], timeout=timeout)
