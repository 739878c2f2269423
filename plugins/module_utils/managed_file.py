# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: what is there, what should be there, and the way from one to the other."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import tempfile
import typing as t
from pathlib import Path

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "secret_content": {"type": "str", "no_log": True},
    "secret_lines": {"type": "str", "no_log": False},
    "link": {"type": "path"},
    "lines": {
        "type": "list",
        "elements": "dict",
        "options": {
            "line": {"type": "str", "default": ""},
            "match": {"type": "str", "required": True},
            "secret": {"type": "str", "no_log": True},
            "prefix": {"type": "bool", "default": False},
        },
    },
    "create": {"type": "bool", "default": False},
    "original": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
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


def account(
    name: str | None, default: int, find: t.Callable[[str], int], path: str, rehearsal: bool = False
) -> int:
    """The number of a user or group. ValueError when this machine has none of that name.

    A rehearsal does not know which accounts packages would have brought by then.
    """
    if name is None:
        return default
    if name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError:
        if rehearsal:
            return default
        raise ValueError(f"{path}: this machine has no user or group {name}") from None


def with_lines(text: str, edits: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The text with one line in the place of all that match; at its end if none does. ValueError for a bad pattern."""
    lines = text.splitlines()
    for edit in edits:
        try:
            match = re.compile(edit["match"])
        except re.error as error:
            raise ValueError(f"{edit['match']!r} is no regular expression: {error}") from None
        wanted = (edit.get("line") or "") + (edit.get("secret") or "")
        found = [number for number, line in enumerate(lines) if match.search(line)]
        if edit.get("prefix"):
            wanted = next((lines[number] for number in found if lines[number].startswith(wanted)), wanted)
        place = found[0] if found else len(lines)
        lines = [
            *(line for number, line in enumerate(lines[:place]) if number not in found),
            *([wanted] if wanted else []),
            *(line for number, line in enumerate(lines[place:], place) if number not in found),
        ]
    return "".join(f"{line}\n" for line in lines)


class ManagedFile:
    """A path together with the state that it should have."""

    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        root: Path = Path("/"),
        owner: tuple[int, int] = (0, 0),
        rehearsal: bool = False,
    ) -> None:
        self.path = params["path"]
        self._keep = params.get("original") or ""
        self._original = root / self._keep.lstrip("/") if self._keep else None
        self._secret = params.get("secret_content") is not None or any(
            line.get("secret") is not None for line in params.get("lines") or []
        )
        self._secret_lines = params.get("secret_lines") or ""
        self._real = root / self.path.lstrip("/")
        self._owner = (
            account(params.get("owner"), owner[0], lambda name: pwd.getpwnam(name).pw_uid, self.path, rehearsal),
            account(params.get("group"), owner[1], lambda name: grp.getgrnam(name).gr_gid, self.path, rehearsal),
        )
        self.before = self._observe()
        self.after = self._wanted(params)

    def _wanted(self, params: t.Mapping[str, t.Any]) -> FileState:
        if params.get("state") == "absent":
            return FileState(owner=self._owner)
        if params.get("link"):
            return FileState(link=params["link"], owner=self._owner)
        content = params.get("content")
        if params.get("secret_content") is not None:
            content = params["secret_content"]
        if params.get("lines"):
            return self._adjusted(params)
        if content is None:
            raise ValueError(f"{self.path}: one of content, link and lines is needed")
        return FileState(content.encode(), None, int(params.get("mode") or "0644", 8), self._owner)

    def _adjusted(self, params: t.Mapping[str, t.Any]) -> FileState:
        """Somebody else's file keeps its mode, its owner and all other lines. One that is not there is not missed."""
        before = self.before
        if before.content is None:
            if not params.get("create") or before.link is not None:
                return before
            before = FileState(b"", None, int(params.get("mode") or "0644", 8), self._owner)
        text = with_lines(before.content.decode("utf-8", "surrogateescape"), params["lines"])
        return before._replace(content=text.encode("utf-8", "surrogateescape"))

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

    @property
    def written(self) -> list[str]:
        """All that the change makes or alters; what was kept of somebody else's once is never written again."""
        keeps = self._original and self.before.content is not None and not self._original.exists()
        return [self.path, *([self._keep] if keeps else [])]

    def diff(self) -> dict[str, str]:
        before, after = self.before.describe(), self.after.describe()
        header = self.path
        if self._secret_lines:
            before, after = self._hidden(before), self._hidden(after)
            if before == after and self.before.content != self.after.content:
                before, after = before + "other secrets\n", after + "secrets\n"
        elif self._secret and self.before.content != self.after.content:
            before, after = "other secret content\n" if self.before.content is not None else "", "secret content\n"
        if before == after:
            before, after = (
                f"mode {state.mode or 0:04o}, owner {state.owner[0]}:{state.owner[1]}\n"
                for state in (self.before, self.after)
            )
        return {"before_header": header, "after_header": header, "before": before, "after": after}

    def _hidden(self, text: str) -> str:
        return re.sub(f"(?m)({self._secret_lines}).*$", r"\1(secret)", text)

    def write(self) -> None:
        """Atomic: whoever reads the path sees the old state or the new one, whole."""
        if self.after.content is None and self.after.link is None:
            self._real.unlink()
            return
        make_directories(self._real.parent)
        if self._original and self.before.content is not None and not self._original.exists():
            shutil.copy2(self._real, self._original)
        handle, name = tempfile.mkstemp(dir=self._real.parent, prefix=f".{self._real.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(self.after.content or b"")
                os.fchmod(stream.fileno(), self.after.mode or 0o600)
                os.fchown(stream.fileno(), *self.after.owner)
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
