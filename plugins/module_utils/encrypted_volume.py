# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted volume: what the kernel says about it, and the acts that change it.

Free of Ansible on purpose: the modules import this file on the target, and the role installs the same file beside the
command ``securebox`` on the box, so there is one way to observe, open, mount and close.

No function here takes a passphrase. What needs one is described as a `SecretCommand`, whose standard input is the
passphrase; the caller decides how it gets there (through ssh's standard input, or from the terminal).
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t
from pathlib import Path

from .encrypted_volume_system import MIB, Header, Mapping, Result, System, VolumeError, parse_header

GIB = 1024 * MIB

# A header carries this label from luksFormat until its file system is complete. Only such a header may ever meet mkfs.
INITIALISING = "initialising"

# Patient data needs neither devices nor set-uid programs; access times are needless writes.
MOUNT_OPTIONS = "nodev,nosuid,noatime"

# Enough for the LUKS2 header (16 MiB) and a file system worth having.
SMALLEST = 64 * MIB

# A root disk filled to the brim takes the whole box down with it.
RESERVE = 0.05


@dataclasses.dataclass(frozen=True)
class SecretCommand:
    """A command that reads the passphrase, and nothing else, from its standard input."""

    step: str
    argv: list[str]


def explain(step: str, rc: int, error: str, what: str) -> str:
    """Why a command with the passphrase failed, by cryptsetup's exit code, in words for the night."""
    grown = "Its file has grown, the volume not yet; run again" if step == "resize" else "Nothing was changed"
    known = {
        2: f"The passphrase does not open {what}. {grown}",
        3: f"There is not enough memory to try the passphrase on {what}. Stop something (a container), then run again",
    }
    return known.get(rc) or f"cryptsetup could not {step} {what} (exit {rc}): {error.strip()}"


@dataclasses.dataclass(frozen=True)
class Spec:
    """The volume as the inventory describes it."""

    name: str
    backing: str
    is_file: bool
    uuid: str
    mount_point: str
    size: int | None = None
    directories: tuple[str, ...] = ()
    pbkdf_memory: int | None = None
    pbkdf_iterations: int | None = None

    @property
    def mapper(self) -> str:
        return f"/dev/mapper/{self.name}"

    @property
    def dm_uuid(self) -> str:
        """The device-mapper's own name for it, with the LUKS UUID inside: the proof of what is mounted."""
        return f"CRYPT-LUKS2-{self.uuid.replace('-', '')}-{self.name}"

    @classmethod
    def build(cls, options: dict[str, t.Any]) -> Spec:
        """Read the options that the modules and box.json share, and refuse what cannot be meant."""
        path, device = options.get("file"), options.get("device")
        if bool(path) == bool(device):
            raise VolumeError(
                f"exactly one of file and device has to be given, found file={path!r} and device={device!r}"
            )
        uuid = str(options["uuid"]).lower()
        if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid):
            raise VolumeError(f"uuid is {options['uuid']!r}, which is not a UUID")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", options["name"]):
            raise VolumeError(f"name is {options['name']!r}: letters, digits, dots, dashes and underscores, please")
        mount_point = os.path.normpath(options["mount_point"])
        if not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+", mount_point):
            raise VolumeError(f"mount_point is {options['mount_point']!r}: an absolute path below /, without spaces")
        directories = tuple(options.get("directories") or ())
        for directory in directories:
            parts = directory.split("/")
            if not all(parts) or ".." in parts or "." in parts:
                raise VolumeError(f"directories has {directory!r}: a path relative to the volume's root, please")
        size = parse_size(options["size"], "size") if options.get("size") and path else None
        if size is not None and size < SMALLEST:
            raise VolumeError(f"size is {options['size']}: less than {human(SMALLEST)} does not hold a volume")
        memory = options.get("pbkdf_memory")
        return cls(
            name=options["name"],
            backing=str(path or device),
            is_file=bool(path),
            uuid=uuid,
            mount_point=mount_point,
            size=size,
            directories=directories,
            pbkdf_memory=parse_size(memory, "pbkdf_memory") if memory else None,
            pbkdf_iterations=options.get("pbkdf_iterations"),
        )


def parse_size(value: t.Any, name: str) -> int:
    """`60G` as bytes. Powers of 1024, whole MiB: so every sector size and page size divides it."""
    found = re.fullmatch(r"(\d+)\s*([MGT])(?:i?B)?", str(value).strip())
    if not found:
        raise VolumeError(f"{name} is {value!r}: a whole number with M, G or T, as in 60G, please")
    return int(found[1]) * MIB * 1024 ** "MGT".index(found[2])


def human(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def pbkdf_cost(memory_total: int, processors: int, spec: Spec) -> tuple[int, int, int]:
    """Memory (KiB), iterations and lanes of argon2id, from the target's own memory.

    Memory is an eighth of the machine's, from 64 MiB to 1 GiB: what formatting takes, every opening takes again, and
    a header that asks for more than is free is killed for lack of memory. Iterations make up for less memory, so that
    every machine does the work of four passes over 1 GiB (1-3 s). Both are forced, never measured: a machine that is
    busy while it measures would choose a weak header for life.
    """
    memory = spec.pbkdf_memory or min(GIB, max(64 * MIB, memory_total // 8))
    memory -= memory % MIB
    iterations = spec.pbkdf_iterations or max(4, 4 * GIB // memory)
    return memory // 1024, iterations, max(1, min(4, processors))


@dataclasses.dataclass(frozen=True)
class Observation:
    """What is there now."""

    kind: str
    size: int
    header: Header | None
    mapping: Mapping | None
    mounted: str | None

    @property
    def interrupted(self) -> bool:
        return self.mapping is not None and self.mapping.interrupted

    @property
    def state(self) -> str:
        if self.header is None:
            return "absent" if self.kind == "absent" else "foreign"
        if self.header.label == INITIALISING:
            return "initialising"
        if self.mapping is None:
            return "closed"
        if self.interrupted:
            return "interrupted"
        return "mounted" if self.mounted == self.mapping.number else "open"


class Volume:
    """Observe, refuse, act. Acts check nothing that `observe` and `identify` have not said already."""

    def __init__(self, spec: Spec, system: System | None = None) -> None:
        self.spec = spec
        self.system = system or System()

    def __str__(self) -> str:
        return f"{self.spec.name} ({self.spec.backing})"

    # -- observing -----------------------------------------------------------------------------------------------

    def observe(self) -> Observation:
        kind = self.system.kind(self.spec.backing)
        readable = kind in ("file", "block")
        mounts = [number for point, number in self.system.mounts() if point == self.spec.mount_point]
        return Observation(
            kind=kind,
            size=self.system.backing_size(self.spec.backing) if readable else 0,
            header=self._header() if readable else None,
            mapping=self._mapping(),
            mounted=mounts[-1] if mounts else None,
        )

    def _header(self) -> Header | None:
        def read(offset: int, count: int) -> bytes:
            return self.system.first_bytes(self.spec.backing, count, offset)

        return parse_header(read, self.spec.backing)

    def _mapping(self) -> Mapping | None:
        """The open volume under its own name. Somebody else's mapping under that name is refused, not used."""
        backing = os.path.realpath(self.spec.backing)
        for mapping in self.system.mappings():
            # Before its first table is loaded, a mapping has nothing behind it.
            behind = mapping.interrupted or os.path.realpath(mapping.backing) == backing
            ours = mapping.uuid == self.spec.dm_uuid and behind
            if mapping.name == self.spec.name and not ours:
                raise VolumeError(
                    f"/dev/mapper/{mapping.name} is open, but it is {mapping.uuid} on {mapping.backing}, not LUKS2 "
                    f"{self.spec.uuid} on {self.spec.backing}. Close it (cryptsetup close {mapping.name}), or change "
                    "the volume's name, file, device or uuid in the inventory"
                )
            if ours:
                return mapping
            if mapping.uuid.startswith(self.spec.dm_uuid[: -len(self.spec.name)]):
                raise VolumeError(
                    f"the volume {self} is already open under another name, /dev/mapper/{mapping.name}. "
                    f"Unmount and close it first (cryptsetup close {mapping.name})"
                )
        return None

    def identify(self, now: Observation) -> None:
        """Refuse everything that is not this very volume. Nothing is opened or mounted before this has passed."""
        where, uuid = self.spec.backing, self.spec.uuid
        if now.state == "absent":
            raise VolumeError(
                f"{where} does not exist. Opening never creates. If this box is to get a new, empty volume, make it "
                "once, on purpose: state initialised, or site.yml with -e encrypted_volume_initialise=true"
            )
        if now.kind not in ("file", "block") or self.spec.is_file is not (now.kind == "file"):
            wanted = "regular file" if self.spec.is_file else "block device"
            raise VolumeError(f"{where} is a {now.kind}, not a {wanted}")
        if now.state == "foreign":
            raise VolumeError(
                f"{where} holds no LUKS volume. Nothing was changed. Opening never formats; if the header was lost, "
                "restore its backup (runbook lost-passphrase)"
            )
        if now.header.uuid != uuid:
            raise VolumeError(
                f"{where} holds the LUKS volume {now.header.uuid}, but {uuid} is expected. Nothing was changed. If the "
                "disk was replaced on purpose, set its uuid in the inventory (encrypted_volume_uuid)"
            )
        if now.state == INITIALISING:
            raise VolumeError(
                f"{where} was never completely initialised: a run of state initialised was interrupted, so there is no "
                "data in it yet. Run that once more"
            )

    def identify_mount(self, now: Observation) -> None:
        """The last line of defence: what is mounted has to be the expected LUKS volume, by the kernel's own word."""
        if now.mounted and (now.mapping is None or now.mounted != now.mapping.number):
            raise VolumeError(
                f"{self.spec.mount_point} has device {now.mounted} mounted, which is not CRYPT-LUKS2-"
                f"{self.spec.uuid.replace('-', '')}. Unmount it and look where it comes from (findmnt "
                f"{self.spec.mount_point}): patient data must not be written there"
            )

    def info(self, now: Observation) -> dict[str, t.Any]:
        """Everything that can be said without the passphrase."""
        found: dict[str, t.Any] = {
            "name": self.spec.name,
            "state": now.state,
            "backing": self.spec.backing,
            "kind": now.kind,
            "size": now.size,
            "mount_point": self.spec.mount_point,
            "mounted": now.state == "mounted",
            "device": self.spec.mapper if now.mapping and not now.interrupted else None,
            "unencrypted_swap": self.system.unencrypted_swap(),
        }
        if now.header:
            found.update(
                uuid=now.header.uuid,
                expected=now.header.uuid == self.spec.uuid,
                cipher=now.header.cipher,
                sector_size=now.header.sector_size,
                keyslots=now.header.keyslots,
                header_digest=now.header.digest,
            )
        if now.state == "mounted":
            found["free"], found["capacity"] = self.system.free_space(self.spec.mount_point)
        return found

    # -- commands that read the passphrase ----------------------------------------------------------------------

    def format_command(self) -> SecretCommand:
        """Sector size is cryptsetup's own choice: 4096 is wrong on a disk that promises 512-byte atomic writes only."""
        memory, iterations, lanes = pbkdf_cost(self.system.memory_total(), self.system.processors(), self.spec)
        argv = [self.system.tool("cryptsetup"), "luksFormat", "--batch-mode", "--type=luks2", "--key-file=-"]
        argv += ["--cipher=aes-xts-plain64", "--key-size=512", "--hash=sha256", "--pbkdf=argon2id"]
        argv += [f"--pbkdf-memory={memory}", f"--pbkdf-force-iterations={iterations}", f"--pbkdf-parallel={lanes}"]
        argv += [f"--uuid={self.spec.uuid}", f"--label={INITIALISING}", "--", self.spec.backing]
        return SecretCommand("format", argv)

    def open_command(self) -> SecretCommand:
        argv = [self.system.tool("cryptsetup"), "open", "--type=luks2", "--key-file=-", "--tries=1", "--"]
        return SecretCommand("open", [*argv, self.spec.backing, self.spec.name])

    def test_command(self) -> SecretCommand:
        argv = [self.system.tool("cryptsetup"), "open", "--test-passphrase", "--type=luks2", "--key-file=-"]
        return SecretCommand("test", [*argv, "--tries=1", "--", self.spec.backing])

    def resize_command(self) -> SecretCommand:
        argv = [self.system.tool("cryptsetup"), "resize", "--key-file=-", "--", self.spec.name]
        return SecretCommand("resize", argv)

    # -- initialising --------------------------------------------------------------------------------------------

    def refuse_to_initialise(self, now: Observation) -> None:
        """Format nothing that anybody could miss. Every doubt is a refusal."""
        where = self.spec.backing
        if now.kind == "absent" and not self.spec.is_file:
            raise VolumeError(f"the block device {where} does not exist; see ls -l /dev/disk/by-id")
        wanted = ("file", "absent") if self.spec.is_file else ("block",)
        if now.kind not in wanted:
            raise VolumeError(f"{where} is a {now.kind}; refusing to initialise anything but {' or '.join(wanted)}")
        if now.header is not None:
            raise VolumeError(
                f"{where} already holds the LUKS volume {now.header.uuid}, not {self.spec.uuid}; refusing to format it"
            )
        if now.kind == "absent":
            if self.spec.size is None:
                raise VolumeError(f"{where} does not exist and no size is given")
            return self._refuse_a_full_disk(self.spec.size)
        self._refuse_what_is_used(now)
        return self._refuse_what_holds_data()

    def _refuse_what_is_used(self, now: Observation) -> None:
        where = self.spec.backing
        if now.kind == "file" and os.path.realpath(where) in map(os.path.realpath, self.system.loops().values()):
            raise VolumeError(f"{where} is in use by a loop device (see losetup --list); refusing to format it")
        if now.kind == "block" and self.system.is_claimed(where):
            raise VolumeError(
                f"{where} is in use: mounted, swap, or part of a RAID, LVM or the running system's disk (see lsblk "
                f"{where}); refusing to format it"
            )

    def _refuse_what_holds_data(self) -> None:
        where = self.spec.backing
        found = self.system.run(["wipefs", "--no-act", "--noheadings", "--output=OFFSET,TYPE", "--", where])
        if found.rc != 0 or found.out.strip():
            what = ", ".join(" at ".join(reversed(line.split(None, 1))) for line in found.out.strip().splitlines())
            raise VolumeError(
                f"{where} holds data: {what or found.err.strip()}. Refusing to format it. If that data may be "
                f"destroyed, erase it yourself first: wipefs --all {where}; dd if=/dev/zero of={where} bs=1M count=4"
            )
        if any(self.system.first_bytes(where, 4 * MIB)):
            raise VolumeError(
                f"{where} has no known signature, but its first 4 MiB are not empty: an old encrypted disk, or a "
                f"database's. Refusing to format it. If it may be destroyed: dd if=/dev/zero of={where} bs=1M count=4"
                f"{' conv=notrunc' if self.spec.is_file else ''}"
            )

    def _refuse_a_full_disk(self, more: int) -> None:
        free, total = self.system.free_space(self.spec.backing)
        if more > free - total * RESERVE:
            raise VolumeError(
                f"size is {human(self.spec.size or 0)}, which takes {human(more)} more of the disk below "
                f"{Path(self.spec.backing).parent}; it has {human(free)} free and keeps {human(total * RESERVE)} "
                "for the system. Choose a smaller size (encrypted_volume_size)"
            )

    def allocate(self, now: Observation) -> None:
        if self.spec.size and self.spec.size > now.size:
            self.system.allocate(self.spec.backing, self.spec.size)

    def make_file_system(self) -> None:
        """Only ever called below a header labelled INITIALISING, which no data can be behind."""
        self._do(["mkfs.ext4", "-q", "-F", "-m", "1", "-E", "nodiscard", "-L", self.spec.name[:16], self.spec.mapper])
        self._do(["cryptsetup", "config", "--label", self.spec.name[:47], "--", self.spec.backing])

    # -- opening -------------------------------------------------------------------------------------------------

    def recover(self, now: Observation) -> Observation:
        """Take back the half of an opening, or finish the half of a growing, that a killed cryptsetup has left.

        A mapping without an active table has no device node, so cryptsetup neither opens nor closes it; yet the kernel
        holds the volume key with it. A suspended one blocks whoever reads or writes.
        """
        if now.mapping is None or not now.interrupted:
            return now
        if now.mapping.size:
            self._do(["dmsetup", "resume", "--", self.spec.name])
        else:
            self._do(["dmsetup", "remove", "--", self.spec.name])
            self._detach_loops()
        return self.observe()

    def check_file_system(self) -> None:
        """Safe repairs only (-p). What needs a decision is left to a person."""
        found = self.system.run(["e2fsck", "-p", self.spec.mapper], timeout=None)
        if found.rc & ~3:
            raise VolumeError(
                f"the file system on {self.spec.mapper} has errors that need a decision: {found.out.strip()} "
                f"{found.err.strip()}. It was not mounted. Copy {self.spec.backing} if you can, then: "
                f"e2fsck {self.spec.mapper}"
            )

    def mount(self) -> None:
        point = self.spec.mount_point
        self.system.make_directory(point, 0o755)
        beside = self.system.names(point)
        if beside:
            raise VolumeError(
                f"{point} holds {', '.join(beside[:5])} while nothing is mounted there: data was written beside the "
                "volume, in clear. Look at it, move it away, then run again"
            )
        # Whatever is started too early can then never write into the bare mount point, root included.
        self._do(["chattr", "+i", "--", point])
        self._do(["mount", "--types", "ext4", "--options", MOUNT_OPTIONS, "--", self.spec.mapper, point])

    def missing_directories(self) -> list[str]:
        paths = (f"{self.spec.mount_point}/{name}" for name in self.spec.directories)
        return [path for path in paths if self.system.kind(path) == "absent"]

    def make_directories(self) -> None:
        """They exist nowhere but inside the volume, so that what is given to a container cannot be the bare disk."""
        if self.observe().state != "mounted":
            raise VolumeError(f"{self} is not mounted at {self.spec.mount_point}: nothing is made there")
        for path in self.missing_directories():
            self.system.make_directory(path, 0o755)

    # -- growing -------------------------------------------------------------------------------------------------

    def refuse_to_shrink(self, now: Observation) -> None:
        if self.spec.size is None or not self.spec.is_file or now.kind != "file":
            return
        if self.spec.size < now.size:
            raise VolumeError(
                f"size is {human(self.spec.size)}, but {self.spec.backing} has {human(now.size)} already: a volume "
                "grows, it never shrinks. Set encrypted_volume_size to its present size or more"
            )
        if self.spec.size > now.size:
            self._refuse_a_full_disk(self.spec.size - now.size)

    def file_to_grow(self, now: Observation) -> bool:
        return bool(self.spec.is_file and self.spec.size and self.spec.size > now.size)

    def mapping_to_grow(self, now: Observation) -> bool:
        """Whether the open mapping ends before its file or device does."""
        if now.mapping is None or now.header is None:
            return False
        payload = now.size - now.header.payload_offset
        return now.mapping.size < payload - payload % now.header.sector_size

    def file_system_to_grow(self, now: Observation) -> bool:
        """Whether the file system ends well before its mapping: by more than the rest of a block group."""
        if now.mapping is None:
            return False
        block = self.system.first_bytes(self.spec.mapper, 1024, 1024)
        unit = 1024 << int.from_bytes(block[24:28], "little")
        count = int.from_bytes(block[4:8], "little") + (int.from_bytes(block[0x150:0x154], "little") << 32)
        return now.mapping.size - unit * count >= 8 * MIB

    def grow_loop(self) -> None:
        for loop in self._loops():
            self._do(["losetup", "--set-capacity", loop])

    def grow_file_system(self) -> None:
        self._do(["resize2fs", self.spec.mapper])

    # -- closing -------------------------------------------------------------------------------------------------

    def back_up_header(self, path: str) -> None:
        self._do(["cryptsetup", "luksHeaderBackup", f"--header-backup-file={path}", "--", self.spec.backing])

    def unmount(self, now: Observation) -> None:
        found = self.system.run(["umount", "--", self.spec.mount_point])
        if found.rc:
            raise VolumeError(self._busy(f"{self.spec.mount_point} is busy", now, found))

    def close(self, now: Observation) -> None:
        """cryptsetup's loop devices free themselves with the last user; those attached by hand are freed here."""
        found = self.system.run(["cryptsetup", "close", "--", self.spec.name])
        if found.rc:
            raise VolumeError(self._busy(f"{self.spec.mapper} is unmounted here, but still in use", now, found))
        self._detach_loops()

    def _loops(self) -> list[str]:
        backing = os.path.realpath(self.spec.backing)
        return [f"/dev/{loop}" for loop, path in self.system.loops().items() if os.path.realpath(path) == backing]

    def _detach_loops(self) -> None:
        for loop in self._loops():
            self._do(["losetup", "--detach", loop])

    def _busy(self, what: str, now: Observation, found: Result) -> str:
        users = self.system.users_of(now.mapping.number) if now.mapping else []
        return f"{what}: {'; '.join(users) or found.err.strip()}. Stop that, then run again"

    def _do(self, argv: list[str]) -> None:
        found = self.system.run(argv)
        if found.rc:
            raise VolumeError(f"{' '.join(argv)} failed (exit {found.rc}): {found.err.strip() or found.out.strip()}")
