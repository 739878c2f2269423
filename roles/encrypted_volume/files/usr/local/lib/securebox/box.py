# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of unlocking and locking, and its checks. They exist here and nowhere else.

Each step looks first and acts only if it has to, so a run that failed or was killed is repaired by running again.
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from . import dependents
from .encrypted_volume import Spec, Volume, explain
from .encrypted_volume_system import System, VolumeError

# What a mistyped passphrase on a terminal may cost. From a pipe there is one try.
TRIES = 3


class StepFailed(Exception):
    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


class Passphrase(t.Protocol):
    """Where the passphrase comes from; asked only when it is needed."""

    can_retry: bool

    def read(self) -> bytes:
        """Without the line end."""


class Report(t.Protocol):
    """Where progress goes."""

    def begin(self, step: str) -> None:
        """A step begins."""

    def end(self, step: str, seconds: float, note: str) -> None:
        """It is over."""


class Box:
    def __init__(self, volume: Volume, needs: list[dependents.Dependent], report: Report, check: bool = False) -> None:
        self.volume = volume
        self.dependents = needs
        self.report = report
        self.check = check
        self.steps: list[dict[str, t.Any]] = []
        self.current = ""

    @property
    def changed(self) -> bool:
        return any(step["changed"] for step in self.steps)

    def _step(
        self,
        name: str,
        act: t.Callable[[], bool | None],
        needed: bool | t.Callable[[], bool] = True,
        in_check: bool = False,
    ) -> None:
        """Run one step and note it. An act may return False for "I looked, and changed nothing"."""
        start, self.current = time.monotonic(), name
        self.report.begin(name)
        try:
            needed = needed() if callable(needed) else needed
            changed = needed
            if needed and (in_check or not self.check):
                changed = act() is not False
        except VolumeError as error:
            raise StepFailed(name, str(error)) from error
        seconds = round(time.monotonic() - start, 1)
        self.steps.append({"name": name, "seconds": seconds, "changed": changed})
        self.report.end(name, seconds, "" if needed else "already done")

    # -- unlock --------------------------------------------------------------------------------------------------

    def unlock(self, passphrase: Passphrase, volume_only: bool = False) -> None:
        self._step("identify", self._identify, in_check=True)
        now = self._recovered()
        self._step("open", lambda: self._open(passphrase), needed=now.mapping is None, in_check=True)
        self._step("check", self._checked, needed=now.state != "mounted")
        self._step("mount", self._mount, needed=now.state != "mounted")
        for dependent in [] if volume_only else self.dependents:
            self._start(dependent)

    def _recovered(self) -> t.Any:
        """What is there, when the halves that an interrupted run has left are out of the way."""
        now = self.volume.observe()
        if now.interrupted:
            self._step("recover", lambda: bool(self.volume.recover(now)))
            return self.volume.observe()
        return now

    def _identify(self) -> bool:
        now = self.volume.observe()
        self.volume.identify(now)
        self.volume.identify_mount(now)
        return False

    def _open(self, passphrase: Passphrase) -> None:
        command = self.volume.test_command() if self.check else self.volume.open_command()
        for tried in range(1, TRIES + 1):
            done = self.volume.system.run(command.argv, secret=passphrase.read())
            if done.rc == 0:
                return
            if done.rc != 2 or not passphrase.can_retry or tried == TRIES:
                break
        raise VolumeError(
            explain("open", done.rc, done.err, f"volume {self.volume}, LUKS UUID {self.volume.spec.uuid}")
        )

    def _checked(self) -> bool:
        self.volume.check_file_system()
        return False

    def _mount(self) -> None:
        self.volume.mount()
        now = self.volume.observe()
        self.volume.identify_mount(now)
        if now.state != "mounted":
            raise VolumeError(f"{self.volume} was mounted, but is not to be seen at {self.volume.spec.mount_point}")

    def _start(self, dependent: dependents.Dependent) -> None:
        self._step(f"start {dependent.name}", dependent.start, needed=lambda: not dependent.is_running())
        if dependent.ready and not self.check:
            self._step(f"ready {dependent.name}", lambda: bool(dependent.wait_until_ready()))
        if dependent.open and not self.check:
            self._step(f"open {dependent.name}", lambda: dependent.call(dependent.open))

    # -- lock ----------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        self._recovered()
        for dependent in reversed(self.dependents):
            self._stop(dependent)
        now = self.volume.observe()
        self._step("unmount", lambda: self._unmount(now), needed=now.mounted is not None)
        self._step("close", lambda: self.volume.close(now), needed=now.mapping is not None)

    def _stop(self, dependent: dependents.Dependent) -> None:
        if dependent.close and not self.check:
            self._step(f"close {dependent.name}", lambda: dependent.call(dependent.close), needed=dependent.is_running)
        if not dependent.keep:
            self._step(f"stop {dependent.name}", dependent.stop, needed=dependent.is_running)

    def _unmount(self, now: t.Any) -> None:
        self.volume.identify_mount(now)
        self.volume.unmount(now)

    # -- status --------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, t.Any]:
        """What is, without the passphrase, and what is wrong with it."""
        problems, volume, state = [], {}, ""
        try:
            now = self.volume.observe()
            volume, state = self.volume.info(now), now.state
            self.volume.identify(now)
            self.volume.identify_mount(now)
        except VolumeError as error:
            problems.append(str(error))
        found = [self._look_at(dependent, problems) for dependent in self.dependents]
        needing = [entry for entry in found if not entry["keep"]]
        opened = state in ("open", "mounted", "interrupted") or bool(volume.get("device"))
        if not opened:
            problems += [f"{entry['name']} is running without the volume" for entry in needing if entry["running"]]
        else:
            if state == "interrupted":
                problems.append(f"{self.volume} is half open: an unlock was killed. Unlock or lock it")
            elif state != "mounted":
                problems.append(f"{self.volume} is open, but not mounted at {self.volume.spec.mount_point}")
            problems += [f"{entry['name']} is not running" for entry in found if entry["running"] is False]
            problems += [f"{entry['name']} is running, but not ready" for entry in found if entry["ready"] is False]
        verdict = "degraded" if problems else "unlocked" if opened else "locked"
        return {"state": verdict, "problems": problems, "volume": volume, "dependents": found}

    def _look_at(self, dependent: dependents.Dependent, problems: list[str]) -> dict[str, t.Any]:
        running = ready = None
        try:
            running = dependent.is_running()
            ready = dependent.is_ready() if running and dependent.ready else None
        except VolumeError as error:
            problems.append(str(error))
        return {
            "name": dependent.name,
            "kind": dependent.kind,
            "keep": dependent.keep,
            "running": running,
            "ready": ready,
        }


def load(path: str, report: Report, check: bool = False, system: System | None = None) -> Box:
    """The box that the role described in box.json."""
    system = system or System()
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
        volume = Volume(Spec.build(config["volume"]), system)
        return Box(volume, [dependents.build(entry, system) for entry in config["dependents"]], report, check)
    except FileNotFoundError as error:
        raise VolumeError(f"{path} does not exist: the role encrypted_volume writes it") from error
    except (KeyError, ValueError) as error:
        raise VolumeError(f"{path} is not what the role encrypted_volume writes: {error}") from error
