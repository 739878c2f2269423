# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LXD's API, as its modules need it: documents with their ETag, operations with a deadline, changes that merge."""

from __future__ import annotations

import copy
import os
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

try:
    import pylxd
except ImportError:
    pylxd = None

Document = dict[str, t.Any]

SOCKETS = ("/var/lib/lxd/unix.socket", "/var/snap/lxd/common/lxd/unix.socket")
WRITABLE = ("architecture", "config", "description", "devices", "ephemeral", "profiles")
RUNNING, SUCCESS = 103, 200

ARGUMENTS = {"project": {"type": "str"}, "wait_timeout": {"type": "int", "default": 300}}


class LxdError(Exception):
    """Something to tell the administrator."""


class NotFound(LxdError):
    pass


class Conflict(LxdError):
    """Somebody else changed the document since it was read."""


class Deadline:
    def __init__(self, seconds: float, clock: t.Callable[[], float] = time.monotonic) -> None:
        self.clock, self.seconds, self.end = clock, seconds, clock() + seconds

    def left(self, what: str) -> float:
        """Seconds left, or the end of it: what was being waited for is in the message."""
        left = self.end - self.clock()
        if left <= 0:
            raise LxdError(f"{what}: not done within {self.seconds:g} s (wait_timeout). Nothing was stopped by force")
        return left


class Lxd:
    """The daemon behind the local socket. Everything here can be had from any LXD from 5.0 on."""

    def __init__(self, api: t.Any, project: str | None, deadline: Deadline) -> None:
        self.api, self.project, self.deadline = api, project, deadline

    @classmethod
    def connect(cls, params: dict[str, t.Any], sockets: t.Sequence[str] = SOCKETS) -> Lxd:
        found = next((path for path in sockets if Path(path).exists()), None)
        if found is None:
            raise LxdError(f"LXD is not installed or its socket is elsewhere: looked for {' and '.join(sockets)}")
        # The one way to name a socket that every pylxd understands.
        os.environ["LXD_DIR"] = str(Path(found).parent)
        deadline = Deadline(params["wait_timeout"])
        try:
            client = pylxd.Client(timeout=params["wait_timeout"])
        except (pylxd.exceptions.ClientConnectionFailed, OSError) as error:
            raise LxdError(f"LXD does not answer at {found}: look at `systemctl status lxd` ({error})") from error
        return cls(client.api, params["project"], deadline)

    def request(self, method: str, path: str, body: t.Any = None, etag: str | None = None, **query: t.Any) -> t.Any:
        """One request. A name that can hold a slash comes quoted."""
        node = self.api
        for segment in path.split("/") if path else ():
            node = node[quote(segment, safe="%")]
        kwargs: dict[str, t.Any] = {"params": {**({"project": self.project} if self.project else {}), **query}}
        if body is not None:
            kwargs["json"] = body
        if etag:
            kwargs["headers"] = {"If-Match": etag}
        what = f"{method} {path}"
        try:
            return getattr(node, method.lower())(timeout=self.deadline.left(what) + 5, **kwargs)
        except pylxd.exceptions.LXDAPIException as error:
            kind = {404: NotFound, 412: Conflict}.get(error.response.status_code, LxdError)
            raise kind(f"{what}: {error}") from error
        except OSError as error:
            raise LxdError(f"{what}: {error}") from error

    def get(self, path: str, **query: t.Any) -> tuple[t.Any, str]:
        response = self.request("GET", path, **query)
        return response.json()["metadata"], response.headers.get("ETag", "")

    def send(self, method: str, path: str, body: t.Any, etag: str | None = None) -> str:
        """Begin a change. The answer is the operation to wait for, or nothing if it is done already."""
        return self.request(method, path, body, etag).json().get("operation", "").rpartition("/")[2]

    def wait(self, operation: str, what: str) -> Document:
        while operation:
            left = self.deadline.left(what)
            result = self.get(f"operations/{operation}/wait", timeout=max(1, int(left)))[0]
            if result["status_code"] == SUCCESS:
                return result.get("metadata") or {}
            if result["status_code"] != RUNNING:
                raise LxdError(f"{what}: {result.get('err') or result['status']}")
        return {}

    def wait_each(self, operations: dict[str, tuple[str, str]]) -> dict[str, Document]:
        """Wait for all at once (name: operation, what it does): LXD forgets an operation five seconds after its end."""
        with ThreadPoolExecutor(max_workers=max(1, len(operations))) as pool:
            waits = {name: pool.submit(self.wait, *operation) for name, operation in operations.items()}
        return {name: waited.result() for name, waited in waits.items()}

    def change(self, method: str, path: str, body: t.Any, what: str, etag: str | None = None) -> Document:
        return self.wait(self.send(method, path, body, etag), what)

    def update(self, name: str, merge: t.Callable[[Document], Document]) -> tuple[Document, Document]:
        """Write an instance back with what `merge` adds to it, and only if nobody else wrote it in between.

        A PUT drops whatever it does not name, so it always carries all that was read a moment ago.
        """
        while True:
            before, etag = self.get(f"instances/{name}")
            after = merge(copy.deepcopy(before))
            if after == before:
                return before, after
            try:
                body = {key: after[key] for key in WRITABLE if key in after}
                self.change("PUT", f"instances/{name}", body, f"Changing {name}", etag)
                return before, after
            except Conflict:
                self.pause(0.2)
                self.deadline.left(f"Changing {name}, which others keep changing")

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def run(self, argv: list[str], what: str, stdin: str | None = None) -> str:
        """LXD's own command line tools, for what they do better than the API: streams and the preseed's merging."""
        try:
            # Free of AnsibleModule and its run_command, so that it can be tested without one.
            done = subprocess.run(  # pylint: disable=ansible-bad-function,unknown-option-value
                argv, input=stdin or "", capture_output=True, text=True, check=False, timeout=self.deadline.left(what)
            )
        except subprocess.TimeoutExpired as error:
            raise LxdError(f"{what}: not done within {self.deadline.seconds:g} seconds (wait_timeout)") from error
        except OSError as error:
            raise LxdError(f"{what}: {error}") from error
        if done.returncode != 0:
            raise LxdError(f"{what}: {(done.stderr or done.stdout).strip()}")
        return done.stdout


def text(value: t.Any) -> str:
    """LXD keeps every setting as text; YAML's booleans and numbers are written its way."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def texts(settings: dict[str, t.Any] | None) -> dict[str, str]:
    return {key: text(value) for key, value in (settings or {}).items() if value is not None}
