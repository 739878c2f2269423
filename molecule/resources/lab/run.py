# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs and waiting, always with a deadline, always saying what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

T = t.TypeVar("T")


class LabError(Exception):
    """Something a person has to read: printed without a traceback."""


def run(
    command: Sequence[object], *, stdin: str | bytes | Path | None = None, timeout: float = 120, check: bool = True
) -> str:
    """Run a program, return what it wrote. Its standard input is a text, a file, or empty: lxc would read ours."""
    words = [str(word) for word in command]
    if isinstance(stdin, Path):
        with stdin.open("rb") as source:
            return _run(words, {"stdin": source}, timeout, check)
    if stdin is None:
        return _run(words, {"stdin": subprocess.DEVNULL}, timeout, check)
    return _run(words, {"input": stdin.encode() if isinstance(stdin, str) else stdin}, timeout, check)


def _run(words: list[str], source: dict[str, t.Any], timeout: float, check: bool) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout, check=False, **source)
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed; `lab.py doctor` says how to get what is missing") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout:.0f} s: {' '.join(words)}") from error
    if check and done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"failed ({done.returncode}): {' '.join(words)}\n{text[-2000:]}")
    return done.stdout.decode(errors="replace")


def succeeds(command: Sequence[object], timeout: float = 60) -> bool:
    """Whether the program exists and ends with 0 in time."""
    try:
        run(command, timeout=timeout)
    except LabError:
        return False
    return True


def kill_all(pid: int) -> None:
    """Kill a process and all that it has started, also in sessions of their own, as Ansible's workers are."""
    with suppress(ProcessLookupError):
        # It starts no more meanwhile.
        os.kill(pid, signal.SIGSTOP)
    children = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may have ended meanwhile.
        with suppress(OSError):
            children += file.read_text().split()
    for child in children:
        kill_all(int(child))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(what: str, probe: Callable[[], T | None], timeout: float, pause: float = 0.25) -> T:
    """Ask until there is an answer; past the deadline say what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)


def say(text: str) -> None:
    """Progress goes to standard error; standard output is for results.

    Below Ansible nobody sees our standard error, so `make` names a file or a descriptor of its own to write to as well.
    """
    print(text, file=sys.stderr, flush=True)
    elsewhere = os.environ.get("SECUREBOX_LAB_PROGRESS")
    if elsewhere:
        with suppress(OSError), Path(elsewhere).open("a") as output:
            output.write(text + "\n")


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Print a stage's begin, end and duration."""
    say(f"[{time.strftime('%H:%M:%S')}] {name} ...")
    begin = time.monotonic()
    outcome = "failed after"
    try:
        yield
        outcome = "took"
    finally:
        say(f"[{time.strftime('%H:%M:%S')}] {name}: {outcome} {time.monotonic() - begin:.1f} s")
