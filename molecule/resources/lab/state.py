# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab consists of, kept in a directory of its own: lab.json, keys, ssh_config, inventory.yml, console logs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import typing as t
from pathlib import Path

from . import paths, recipes
from .run import LabError


@dataclasses.dataclass
class Machine:
    """One server. The first half is asked for (molecule's `platforms`), the second half is found out by the engine."""

    name: str
    engine: str = "container"
    release: str = recipes.RELEASE
    image: str = "server"
    groups: list[str] = dataclasses.field(default_factory=list)
    cpus: int = 2
    # MiB, GiB: for the engine vm only.
    memory: int = 6144
    disk: str = "40G"
    data_disk: str = ""
    tiers: list[str] = dataclasses.field(default_factory=list)

    address: str = ""
    address6: str = ""
    port: int = 22
    user: str = "root"
    # vm: guest port -> port on 127.0.0.1.
    forwards: dict[str, int] = dataclasses.field(default_factory=dict)
    # Where the tiers' images lie on the machine: tier -> {metadata, rootfs}.
    images: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    accelerator: str = ""
    # Seconds from power on to the first answer of sshd.
    boot_seconds: float = 0.0

    @classmethod
    def parse(cls, given: dict[str, t.Any], **defaults: t.Any) -> Machine:
        """From a molecule platform or the command line; unknown words are errors, not silence."""
        known = {field.name for field in dataclasses.fields(cls)}
        ignored = {"children", "networks"}
        unknown = set(given) - known - ignored
        if unknown:
            raise LabError(f"platform {given.get('name')!r}: unknown {sorted(unknown)}; there are {sorted(known)}")
        machine = cls(**{**defaults, **{key: value for key, value in given.items() if key in known}})
        paths.check_name(machine.name)
        if machine.engine not in ("container", "vm"):
            raise LabError(f"platform {machine.name!r}: engine is {machine.engine!r}, but there are container and vm")
        return machine


class Lab:
    """A lab's directory and its machines."""

    def __init__(self, name: str) -> None:
        self.name = paths.check_name(name)
        self.directory = paths.labs() / name
        self.machines: dict[str, Machine] = {}
        if self.file.exists():
            stored = json.loads(self.file.read_text())
            self.machines = {key: Machine(**value) for key, value in stored["machines"].items()}

    @property
    def file(self) -> Path:
        return self.directory / "lab.json"

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    def save(self) -> None:
        """Written in one go: a lab that is killed half-way can still be taken down."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        machines = {key: dataclasses.asdict(value) for key, value in self.machines.items()}
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"name": self.name, "machines": machines}, indent=2) + "\n")
        fresh.replace(self.file)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def every() -> list[Lab]:
    """All labs of this checkout."""
    return [Lab(found.parent.name) for found in sorted(paths.labs().glob("*/lab.json"))]
