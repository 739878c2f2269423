# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every touch of the machine that the encrypted volume needs, in one place, so that tests can stand in another one.

Free of Ansible, like encrypted_volume.py, and installed beside it on the box.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

MIB = 1024 * 1024


class VolumeError(Exception):
    """Something that a person has to look at. The message says what, where, and what to do."""


@dataclasses.dataclass(frozen=True)
class Result:
    rc: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True)
class Header:
    """What a LUKS2 header says without the passphrase."""

    uuid: str
    label: str
    metadata: dict[str, t.Any]

    @property
    def digest(self) -> str:
        """Changes with every change of a key slot, and with nothing else: opening and growing leave it alone."""
        return hashlib.sha256(json.dumps(self.metadata, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def cipher(self) -> str:
        return self.metadata["segments"]["0"]["encryption"]

    @property
    def sector_size(self) -> int:
        return self.metadata["segments"]["0"]["sector_size"]

    @property
    def payload_offset(self) -> int:
        return int(self.metadata["segments"]["0"]["offset"])

    @property
    def keyslots(self) -> list[dict[str, t.Any]]:
        """One entry a key slot, with the cost of trying a passphrase on it. Memory in KiB, as cryptsetup has it."""
        slots = []
        for number, slot in sorted(self.metadata["keyslots"].items(), key=lambda item: int(item[0])):
            kdf = slot["kdf"]
            slots.append(
                {
                    "slot": int(number),
                    "key_size": slot["key_size"] * 8,
                    "pbkdf": kdf["type"],
                    "memory": kdf.get("memory"),
                    "iterations": kdf.get("time", kdf.get("iterations")),
                    "parallel": kdf.get("cpus"),
                }
            )
        return slots


@dataclasses.dataclass(frozen=True)
class Mapping:
    """An open volume, as the device-mapper shows it. Size in bytes: 0 as long as it has no active table."""

    name: str
    uuid: str
    number: str
    size: int
    backing: str
    suspended: bool = False

    @property
    def interrupted(self) -> bool:
        """Made by a cryptsetup that was killed between two requests to the device-mapper."""
        return self.suspended or self.size == 0


class System:
    """Every touch of the machine, in one place, so that tests can stand in another machine."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    # -- reading -------------------------------------------------------------------------------------------------

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8", errors="surrogateescape")

    def names(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self.root / path.lstrip("/")).iterdir())
        except FileNotFoundError:
            return []

    def memory_total(self) -> int:
        return int(re.search(r"^MemTotal:\s+(\d+) kB", self.read("/proc/meminfo"), re.M)[1]) * 1024

    def processors(self) -> int:
        return os.cpu_count() or 1

    def loops(self) -> dict[str, str]:
        """Loop devices and the files behind them."""
        found = {}
        for loop in self.names("/sys/class/block"):
            if loop.startswith("loop"):
                try:
                    found[loop] = self.read(f"/sys/class/block/{loop}/loop/backing_file").rstrip("\n")
                except OSError:
                    continue
        return found

    def mappings(self) -> list[Mapping]:
        """All open dm-crypt devices, with what lies behind each: a block device, or the file behind its loop device."""
        loops, found = self.loops(), []
        for block in self.names("/sys/class/block"):
            base = f"/sys/class/block/{block}"
            if not block.startswith("dm-"):
                continue
            uuid = self.read(f"{base}/dm/uuid").strip()
            slaves = self.names(f"{base}/slaves")
            if uuid.startswith("CRYPT-"):
                slave = slaves[0] if slaves else ""
                found.append(
                    Mapping(
                        name=self.read(f"{base}/dm/name").strip(),
                        uuid=uuid,
                        number=self.read(f"{base}/dev").strip(),
                        size=int(self.read(f"{base}/size")) * 512,
                        backing=loops.get(slave, f"/dev/{slave}"),
                        suspended=self.read(f"{base}/dm/suspended").strip() == "1",
                    )
                )
        return found + self._mappings_without_table({mapping.name for mapping in found})

    def _mappings_without_table(self, known: set[str]) -> list[Mapping]:
        """Those that were made, and never given a table: sysfs does not show them (since Linux 5.15)."""
        columns = ["--columns", "--noheadings", "--separator=/", "--options=name,uuid,major,minor"]
        found: list[Mapping] = []
        try:
            shown = self.run(["dmsetup", "info", *columns]).out
        except VolumeError:
            return found  # no dmsetup, no device-mapper: cryptsetup's own library brings it
        for line in shown.splitlines():
            name, uuid, major, minor = line.strip().split("/") if line.count("/") == 3 else [""] * 4
            if uuid.startswith("CRYPT-") and name not in known:
                found.append(Mapping(name=name, uuid=uuid, number=f"{major}:{minor}", size=0, backing=""))
        return found

    def mounts(self) -> list[tuple[str, str]]:
        """Mount points and the device number of what is mounted there, the newest last."""
        found = []
        for line in self.read("/proc/self/mountinfo").splitlines():
            fields = line.split(" ")
            found.append((re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]), fields[2]))
        return found

    def unencrypted_swap(self) -> list[str]:
        """Swap that would write the volume key's pages to disk in clear: neither on dm-crypt nor in memory."""
        crypt = {f"/dev/{block}" for block in self.names("/sys/class/block") if self._is_crypt(block)}
        areas = [line.split()[0] for line in self.read("/proc/swaps").splitlines()[1:]]
        return [area for area in areas if area not in crypt and not area.startswith("/dev/zram")]

    def _is_crypt(self, block: str) -> bool:
        try:
            return self.read(f"/sys/class/block/{block}/dm/uuid").startswith("CRYPT-")
        except OSError:
            return False

    def kind(self, path: str) -> str:
        """absent, file, block, directory, link or other."""
        try:
            mode = Path(path).lstat().st_mode
            if stat.S_ISLNK(mode):
                # Names below /dev/disk are links to block devices; any other link may be moved by someone else.
                mode = Path(path).stat().st_mode
                return "block" if stat.S_ISBLK(mode) else "link"
        except FileNotFoundError:
            return "absent"
        kinds = ((stat.S_ISREG, "file"), (stat.S_ISBLK, "block"), (stat.S_ISDIR, "directory"))
        return next((name for test, name in kinds if test(mode)), "other")

    def backing_size(self, path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.lseek(descriptor, 0, os.SEEK_END)
        finally:
            os.close(descriptor)

    def first_bytes(self, path: str, count: int, offset: int = 0) -> bytes:
        with Path(path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(count)

    def is_claimed(self, device: str) -> bool:
        """Whether the kernel uses it: mounted, swapped to, or part of a RAID, LVM or dm device; its partitions too."""
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            raise
        return False

    def free_space(self, path: str) -> tuple[int, int]:
        """Free bytes and all bytes of the file system that holds the path (or will)."""
        there = Path(path)
        while not there.exists():
            there = there.parent
        found = os.statvfs(there)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def users_of(self, number: str) -> list[str]:
        """Processes that keep a mounted device busy: by open files, or by a mount in a namespace of their own."""
        major, minor = (int(part) for part in number.split(":"))
        device, own, found = os.makedev(major, minor), Path("/proc/self/ns/mnt").readlink(), {}
        for pid in filter(str.isdigit, self.names("/proc")):
            try:
                reason = self._reason(Path("/proc") / pid, device, number, own)
                if reason:
                    found[int(pid)] = f"{Path('/proc', pid, 'comm').read_text().strip()} (pid {pid}, {reason})"
            except OSError:
                continue  # it ended while we looked
        return [found[pid] for pid in sorted(found)]

    def _reason(self, process: Path, device: int, number: str, own: Path) -> str | None:
        for link in [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]:
            try:
                if link.stat().st_dev == device:
                    return str(link.readlink())
            except OSError:
                continue
        if (process / "ns/mnt").readlink() != own:
            for line in (process / "mountinfo").read_text(errors="replace").splitlines():
                if line.split(" ")[2] == number:
                    return f"mounted in its own namespace at {line.split(' ')[4]}"
        return None

    # -- acting --------------------------------------------------------------------------------------------------

    def tool(self, name: str) -> str:
        """The absolute path of a program: an unprivileged login's PATH has no sbin."""
        found = shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin:/snap/bin")
        if not found:
            raise VolumeError(f"{name} is not installed (packages: cryptsetup-bin, e2fsprogs, mount, util-linux)")
        return found

    def run(self, argv: list[str], secret: bytes | None = None, timeout: float | None = 600) -> Result:
        """Run a program without a shell. A secret goes into its standard input, and nowhere else."""
        command = [self.tool(argv[0]), *argv[1:]]
        source: dict[str, t.Any] = {"stdin": subprocess.DEVNULL} if secret is None else {"input": secret}
        try:
            # Runs without Ansible too, in the command securebox on the box.
            done = subprocess.run(  # pylint: disable=ansible-bad-function,unknown-option-value
                command, capture_output=True, timeout=timeout, check=False, env={**os.environ, "LC_ALL": "C"}, **source
            )
        except subprocess.TimeoutExpired:
            return Result(124, "", f"{argv[0]} did not finish within {timeout:.0f} s")
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def allocate(self, path: str, size: int) -> None:
        """Blocks that are really there: a sparse file lets the volume's writes fail when the root disk is full."""
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            now = os.lseek(descriptor, 0, os.SEEK_END)
            os.posix_fallocate(descriptor, now, size - now)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, path: str, mode: int) -> None:
        Path(path).mkdir(mode=mode, parents=True, exist_ok=True)


def parse_header(read: t.Callable[[int, int], bytes], where: str) -> Header | None:
    """A LUKS2 header, or None where there is none. Both copies are tried, as cryptsetup does.

    Read here rather than through `cryptsetup luksDump`: its JSON has no UUID, its text is not made for programs.
    """
    first = read(0, 4096)
    if first[:6] != b"LUKS\xba\xbe":
        return None
    version = int.from_bytes(first[6:8], "big")
    if version != 2:
        raise VolumeError(f"{where} holds a LUKS{version} volume; this collection makes and opens LUKS2 only")
    size = int.from_bytes(first[8:16], "big")
    for offset in (0, size if 16384 <= size <= 4 * MIB else 16384):
        block = read(offset, size if 16384 <= size <= 4 * MIB else 16384)
        algorithm = block[72:104].rstrip(b"\0").decode("ascii", "replace")
        sealed = block[:448] + bytes(64) + block[512:]
        if algorithm in hashlib.algorithms_available:
            seal = hashlib.new(algorithm, sealed).digest()
            if block[448 : 448 + len(seal)] == seal:
                return Header(
                    uuid=block[168:208].rstrip(b"\0").decode("ascii"),
                    label=block[24:72].rstrip(b"\0").decode("utf-8", "replace"),
                    metadata=json.loads(block[4096:].split(b"\0", 1)[0]),
                )
    raise VolumeError(
        f"the LUKS header of {where} is damaged in both its copies. Do not write to it: restore the newest header "
        "backup (runbook lost-passphrase)"
    )
