# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole files: what is there, what should be there, and the way from one to the other."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import tempfile
import typing as t
from pathlib import Path

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "link": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "unless": {"type": "str"},
}


class FileState(t.NamedTuple):
    """One path as it is or should be. The files of a server's configuration belong to root unless somebody is named."""

    content: bytes | None = None
    link: str | None = None
    mode: int | None = None
    owner: tuple[int, int] = (0, 0)

    def describe(self) -> str:
        """For people who read a diff."""
        if self.link is not None:
            return f"link to {self.link}\n"
        if self.content is None:
            return ""
        return self.content.decode("utf-8", "replace")


def account(name: str | None, default: int, find: t.Callable[[str], int], path: str) -> int:
    """The number of a user or group. ValueError when this machine has none of that name."""
    if name is None:
        return default
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        raise ValueError(f"{path}: this machine has no user or group {name}") from None


class ManagedFile:
    """A path together with the state that it should have."""

    def __init__(self, params: t.Mapping[str, t.Any], root: Path = Path("/"), owner: tuple[int, int] = (0, 0)) -> None:
        self.path = params["path"]
        self._real = root / self.path.lstrip("/")
        self._owner = (
            account(params.get("owner"), owner[0], lambda name: pwd.getpwnam(name).pw_uid, self.path),
            account(params.get("group"), owner[1], lambda name: grp.getgrnam(name).gr_gid, self.path),
        )
        self.before = self._observe()
        self.after = self._wanted(params)
        unless = params.get("unless")
        if unless and re.search(unless, (self.before.content or b"").decode("utf-8", "replace")):
            self.after = self.before

    def _wanted(self, params: t.Mapping[str, t.Any]) -> FileState:
        if params.get("state") == "absent":
            return FileState(owner=self._owner)
        if params.get("link"):
            return FileState(link=params["link"], owner=self._owner)
        if params.get("content") is None:
            raise ValueError(f"{self.path}: one of content and link is needed")
        return FileState(params["content"].encode(), None, int(params.get("mode") or "0644", 8), self._owner)

    def _observe(self) -> FileState:
        if self._real.is_symlink():
            # Only an absent file or another kind of file is a difference; who owns a link is of no consequence.
            return FileState(link=str(self._real.readlink()), owner=self._owner)
        if not self._real.exists():
            return FileState(owner=self._owner)
        status = self._real.stat()
        return FileState(self._real.read_bytes(), None, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def diff(self) -> dict[str, str]:
        before, after = self.before.describe(), self.after.describe()
        header = self.path
        if before == after:
            before, after = (
                f"mode {state.mode or 0:04o}, owner {state.owner[0]}:{state.owner[1]}\n"
                for state in (self.before, self.after)
            )
        return {"before_header": header, "after_header": header, "before": before, "after": after}

    def write(self) -> None:
        """Atomic: whoever reads the path sees the old state or the new one, whole."""
        if self.after.content is None and self.after.link is None:
            self._real.unlink()
            return
        make_directories(self._real.parent)
        handle, name = tempfile.mkstemp(dir=self._real.parent, prefix=f".{self._real.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(self.after.content or b"")
                os.fchmod(stream.fileno(), self.after.mode or 0o600)
                os.fchown(stream.fileno(), *self._owner)
                stream.flush()
                os.fsync(stream.fileno())
            if self.after.link is not None:
                temporary.unlink()
                temporary.symlink_to(self.after.link)
            temporary.replace(self._real)
        finally:
            temporary.unlink(missing_ok=True)


def make_directories(path: Path) -> None:
    """Those that are missing, for everybody to read: daemons are not root, and our umask may be private."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
