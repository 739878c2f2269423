# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: arguments, the prompt, progress, and one object of JSON for programs."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import resource
import signal
import sys
import termios
import time
import typing as t
from pathlib import Path

from . import attention
from .box import Box, StepFailed, load
from .encrypted_volume import human
from .encrypted_volume_system import VolumeError

CONFIG = "/etc/securebox/box.json"
LOCK = "/run/securebox.lock"

WELL, FAILED, LOCKED = 0, 1, 3


class Passphrase:
    """From the terminal without echo if there is one, otherwise all of standard input. Bytes, whatever the locale."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.can_retry = sys.stdin.isatty()

    def read(self) -> bytes:
        found = self._from_terminal() if self.can_retry else sys.stdin.buffer.read()
        # One newline at the end is the terminal's or the shell's, not the person's.
        found = found.removesuffix(b"\n")
        if not found:
            raise VolumeError("no passphrase was given")
        return found

    def _from_terminal(self) -> bytes:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        before = termios.tcgetattr(terminal)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        try:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
            os.write(terminal, f"\nPassphrase of volume {self.what}: ".encode())
            found = b""
            while not found.endswith(b"\n"):
                more = os.read(terminal, 4096)
                if not more:
                    break
                found += more
            return found
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
            os.close(terminal)


class Progress:
    """A line a step. Whoever reads may go away (a lost connection) without stopping the work."""

    def __init__(self, stream: t.TextIO) -> None:
        self.stream = stream

    def begin(self, step: str) -> None:
        if self.stream.isatty():
            self.say(f"  {step} ...\r", end="")

    def end(self, step: str, seconds: float, note: str) -> None:
        self.say(f"  {step:<24}{seconds:6.1f} s   {note}".rstrip())

    def say(self, text: str, end: str = "\n") -> None:
        with contextlib.suppress(OSError):
            print(text, end=end, file=self.stream, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="securebox", description="Unlock, lock, or look at this box.")
    parser.add_argument("--config", default=CONFIG, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("unlock", "open and mount the encrypted volume, then start in order what needs it"),
        ("lock", "stop in reverse order what needs the volume, then unmount and close it"),
        ("status", "say what is open and running; asks no passphrase; exit 0 unlocked, 3 locked, 1 something is wrong"),
    ):
        sub = verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
        sub.add_argument("--json", action="store_true", help="one JSON object on standard output; progress on stderr")
        if verb != "status":
            sub.add_argument("--check", action="store_true", help="try the passphrase and say what would be done")
        if verb == "unlock":
            sub.add_argument("--volume-only", action="store_true", help="open and mount, start nothing")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def alone() -> t.Iterator[None]:
    """One unlock or lock at a time."""
    with Path(LOCK).open("a+", encoding="ascii") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise VolumeError(
                f"another securebox is at work (pid {stream.read().strip() or 'unknown'}); wait for it, or look: "
                "sudo securebox status"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def words(status: dict[str, t.Any]) -> str:
    """The status for a person."""
    volume, lines = status["volume"], [f"The box is {status['state']}."]
    if volume:
        use = ""
        if volume["mounted"]:
            use = f" at {volume['mount_point']}, {human(volume['free'])} of {human(volume['capacity'])} free"
        lines.append(f"  {volume['name']:<12}{volume['state']}{use} ({volume['backing']})")
    for entry in status["dependents"]:
        state = {True: "running", False: "stopped", None: "unknown"}[entry["running"]]
        ready = {True: ", ready", False: ", not ready", None: ""}[entry["ready"]]
        lines.append(f"  {entry['name']:<12}{state}{ready}")
    lines += [f"  wrong: {problem}" for problem in status["problems"]]
    if volume.get("unencrypted_swap"):
        lines.append(f"  warning: swap in clear on {', '.join(volume['unencrypted_swap'])}")
    lines += [f"  attention: {text}" for text in status.get("attention", [])]
    if status["state"] == "locked":
        lines.append("To unlock it: sudo securebox unlock")
    return "\n".join(lines)


def run(box: Box, options: argparse.Namespace, progress: Progress) -> int:
    result: dict[str, t.Any] = {"failed_step": None, "message": None}
    begun, code = time.monotonic(), WELL
    try:
        with alone():
            if options.verb == "unlock":
                box.unlock(Passphrase(str(box.volume)), options.volume_only)
            else:
                box.lock()
    except StepFailed as error:
        result.update(failed_step=error.step, message=str(error))
        code = FAILED
        progress.say(f"\nFAILED at step {error.step}: {error}.")
        progress.say(f"What is done stays done. When that is solved, sudo securebox {options.verb} goes on from here.")
    except KeyboardInterrupt:
        step = box.current or "the beginning"
        result.update(failed_step=step, message="interrupted")
        code = FAILED
        progress.say(f"\nInterrupted at step {step}. sudo securebox {options.verb} goes on from here.")
    else:
        done = f"{options.verb}ed" if not options.check else f"{options.verb} would succeed as far as can be told"
        progress.say(f"{done} in {time.monotonic() - begun:.1f} s")
    if options.json:
        status = box.status()
        result.update(changed=box.changed, steps=box.steps, **status)
        emit(result)
    return code


def emit(result: dict[str, t.Any]) -> None:
    with contextlib.suppress(OSError):
        print(json.dumps(result), flush=True)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    # The passphrase is in this process's memory for a moment; no core file may have it [ENC-5].
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A lost ssh connection does not leave the box half unlocked.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    progress = Progress(sys.stderr if options.json else sys.stdout)
    try:
        if os.geteuid() != 0:
            raise VolumeError(f"only root may do that: sudo securebox {options.verb}")
        box = load(options.config, progress, getattr(options, "check", False))
        if options.verb != "status":
            return run(box, options, progress)
        status = box.status()
        status["attention"] = attention.look(box.volume.system, box.dependents, status["dependents"])
    except VolumeError as error:
        if options.json:
            emit({"changed": False, "failed_step": "begin", "message": str(error), "steps": []})
        print(f"securebox: {error}", file=sys.stderr)
        return FAILED
    if options.json:
        emit(status)
    else:
        progress.say(words(status))
    return {"unlocked": WELL, "locked": LOCKED}.get(status["state"], FAILED)
