# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that exists only in a test: cryptsetup, mount, LXD and systemd as far as the collection uses them.

Backing files are real (in a temporary directory) with real LUKS2 headers; what is open, mounted and running is not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing as t
from pathlib import Path

from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume_system import (
    MIB,
    Mapping,
    Result,
    System,
)

OFFSET = 16 * MIB


def header_bytes(uuid: str, label: str, slots: int = 1, version: int = 2) -> bytes:
    """Both copies of a LUKS2 header, checksums and all."""
    kdf = {"type": "argon2id", "time": 4, "memory": 65536, "cpus": 2, "salt": "c2FsdA=="}
    metadata = {
        "keyslots": {str(number): {"type": "luks2", "key_size": 64, "kdf": kdf} for number in range(slots)},
        "segments": {
            "0": {"offset": str(OFFSET), "size": "dynamic", "encryption": "aes-xts-plain64", "sector_size": 512}
        },
        "digests": {},
    }
    copies = b""
    for magic, offset in ((b"LUKS\xba\xbe", 0), (b"SKUL\xba\xbe", 16384)):
        block = bytearray(16384)
        block[:24] = magic + version.to_bytes(2, "big") + (16384).to_bytes(8, "big") + (1).to_bytes(8, "big")
        block[24 : 24 + len(label)] = label.encode()
        block[72:78] = b"sha256"
        block[168 : 168 + len(uuid)] = uuid.encode()
        block[256:264] = offset.to_bytes(8, "big")
        text = json.dumps(metadata).encode()
        block[4096 : 4096 + len(text)] = text
        block[448:480] = hashlib.sha256(bytes(block)).digest()
        copies += bytes(block)
    return copies


class Machine(System):
    def __init__(self) -> None:
        super().__init__()
        self.passphrases: dict[str, bytes] = {}
        self.open: list[Mapping] = []
        self.mounted: list[tuple[str, str]] = []
        self.file_systems: dict[str, int] = {}
        self.signatures: dict[str, str] = {}
        self.in_use: set[str] = set()
        self.devices: set[str] = set()
        self.running: set[str] = set()
        self.ready_after = 0
        self.free = 100 * 1024 * MIB
        self.log: list[str] = []
        self.fail: dict[str, Result] = {}

    # -- what System reads ---------------------------------------------------------------------------------------

    def memory_total(self) -> int:
        return 8 * 1024 * MIB

    def processors(self) -> int:
        return 2

    def loops(self) -> dict[str, str]:
        return {f"loop{number}": mapping.backing for number, mapping in enumerate(self.open)}

    def mappings(self) -> list[Mapping]:
        return list(self.open)

    def mounts(self) -> list[tuple[str, str]]:
        return [("/", "254:0"), *self.mounted]

    def unencrypted_swap(self) -> list[str]:
        return []

    def kind(self, path: str) -> str:
        return "block" if path in self.devices else super().kind(path)

    def is_claimed(self, device: str) -> bool:
        return device in self.in_use

    def free_space(self, path: str) -> tuple[int, int]:
        return self.free, self.free

    def users_of(self, number: str) -> list[str]:
        return ["less (pid 42, /srv/vault/notes)"]

    def first_bytes(self, path: str, count: int, offset: int = 0) -> bytes:
        if not path.startswith("/dev/mapper/"):
            return super().first_bytes(path, count, offset)
        block = bytearray(1024)
        block[4:8] = (self.file_systems[path] // 4096).to_bytes(4, "little")
        block[24] = 2
        return bytes(block)

    def tool(self, name: str) -> str:
        return f"/usr/sbin/{name}"

    # -- what it runs --------------------------------------------------------------------------------------------

    def run(self, argv: list[str], secret: bytes | None = None, timeout: float | None = None) -> Result:
        name = argv[0].rsplit("/", 1)[-1]
        verb = next((word for word in argv[1:] if not word.startswith("-")), "")
        words = " ".join([name, *argv[1:]])
        self.log.append(words)
        for start, result in self.fail.items():
            if words.startswith(start):
                return result
        act = getattr(self, f"_{name.replace('.', '_')}_{verb}", None) or getattr(
            self, f"_{name.replace('.', '_')}", None
        )
        return (act(argv, secret) if act else None) or Result(0, "", "")

    def ran(self, word: str) -> bool:
        return any(word in line for line in self.log)

    def _option(self, argv: list[str], name: str) -> str:
        return next(word.split("=", 1)[1] for word in argv if word.startswith(f"--{name}="))

    def _cryptsetup_luksFormat(self, argv: list[str], secret: bytes | None) -> None:
        path, uuid = argv[-1], self._option(argv, "uuid")
        with Path(path).open("r+b") as stream:
            stream.write(header_bytes(uuid, self._option(argv, "label")))
        self.passphrases[path] = secret or b""

    def _cryptsetup_config(self, argv: list[str], secret: bytes | None) -> None:
        path = argv[-1]
        uuid = super().first_bytes(path, 36, 168).decode()
        with Path(path).open("r+b") as stream:
            stream.write(header_bytes(uuid, argv[argv.index("--label") + 1]))

    def _cryptsetup_open(self, argv: list[str], secret: bytes | None) -> Result | None:
        test = "--test-passphrase" in argv
        path = argv[-1] if test else argv[-2]
        if self.passphrases[path] != secret:
            return Result(2, "", "No key available with this passphrase.")
        if not test:
            uuid = super().first_bytes(path, 36, 168).decode().replace("-", "")
            size = Path(path).stat().st_size - OFFSET
            self.open.append(Mapping(argv[-1], f"CRYPT-LUKS2-{uuid}-{argv[-1]}", f"253:{len(self.open)}", size, path))
            self.file_systems.setdefault(f"/dev/mapper/{argv[-1]}", size)
        return None

    def _cryptsetup_resize(self, argv: list[str], secret: bytes | None) -> Result | None:
        old = self.open.pop()
        if self.passphrases[old.backing] != secret:
            self.open.append(old)
            return Result(2, "", "No key available with this passphrase.")
        size = Path(old.backing).stat().st_size - OFFSET
        self.open.append(Mapping(old.name, old.uuid, old.number, size, old.backing))
        return None

    def _cryptsetup_close(self, argv: list[str], secret: bytes | None) -> Result | None:
        if any(mapping.name == argv[-1] and mapping.size == 0 for mapping in self.open):
            return Result(4, "", "")
        self.open = [mapping for mapping in self.open if mapping.name != argv[-1]]
        return None

    def interrupt(self, **half: t.Any) -> None:
        """As a cryptsetup leaves it that is killed between two requests to the device-mapper."""
        self.open[-1] = dataclasses.replace(self.open[-1], **half)

    def _dmsetup_remove(self, argv: list[str], secret: bytes | None) -> None:
        self.open = [mapping for mapping in self.open if mapping.name != argv[-1]]

    def _dmsetup_resume(self, argv: list[str], secret: bytes | None) -> None:
        self.interrupt(suspended=False)

    def _resize2fs(self, argv: list[str], secret: bytes | None) -> None:
        self.file_systems[argv[-1]] = self.open[-1].size

    def _wipefs(self, argv: list[str], secret: bytes | None) -> Result:
        return Result(0, self.signatures.get(argv[-1], ""), "")

    def _mount(self, argv: list[str], secret: bytes | None) -> None:
        number = next(mapping.number for mapping in self.open if f"/dev/mapper/{mapping.name}" == argv[-2])
        self.mounted.append((argv[-1], number))

    def _umount(self, argv: list[str], secret: bytes | None) -> None:
        self.mounted = [entry for entry in self.mounted if entry[0] != argv[-1]]

    def _lxc_query(self, argv: list[str], secret: bytes | None) -> Result:
        running = argv[-1].rsplit("/", 1)[-1] in self.running
        return Result(0, json.dumps({"status": "Running" if running else "Stopped"}), "")

    def _lxc_start(self, argv: list[str], secret: bytes | None) -> None:
        self.running.add(argv[2])

    def _lxc_stop(self, argv: list[str], secret: bytes | None) -> None:
        self.running.discard(argv[2])

    def _lxc_exec(self, argv: list[str], secret: bytes | None) -> Result | None:
        if "is-it-ready" in argv and self.ready_after > 0:
            self.ready_after -= 1
            return Result(1, "", "not yet")
        return None

    def _systemctl(self, argv: list[str], secret: bytes | None) -> Result | None:
        unit = argv[-1]
        if "is-active" in argv:
            return Result(0 if unit in self.running else 3, "", "")
        (self.running.add if "start" in argv else self.running.discard)(unit)
        return None
