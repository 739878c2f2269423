# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs the volume: LXD instances and systemd units, each started, waited for, and stopped the same way."""

from __future__ import annotations

import json
import time
import typing as t

from .encrypted_volume_system import Result, System, VolumeError

# One try of a readiness check. One that hangs is one that failed.
TRY = 20
# An LXD before 5.14 may lose what a command says at its very end, if the machine is busy: the end comes a moment later.
LINGER = ["/bin/sh", "-c", '"$@"; rc=$?; sleep 0.05; exit "$rc"', "sh"]


class Dependent:
    """The common part. Subclasses say how their kind is asked, started, stopped, and entered."""

    kind = ""

    def __init__(self, options: dict[str, t.Any], system: System, clock: t.Any = time) -> None:
        self.name: str = options["name"]
        self.keep: bool = options.get("keep", False)
        self.ready: list[str] = options.get("ready") or []
        self.open: list[str] = options.get("open") or []
        self.close: list[str] = options.get("close") or []
        self.timeout: int = options.get("timeout", 120)
        self.stop_timeout: int = options.get("stop_timeout", self.timeout)
        self.system = system
        self.clock = clock

    def is_running(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def inside(self, argv: list[str], timeout: float) -> Result:
        raise NotImplementedError

    def hint(self) -> str:
        raise NotImplementedError

    def is_ready(self, timeout: float = TRY) -> bool:
        return not self.ready or self.inside(self.ready, timeout).rc == 0

    def wait_until_ready(self) -> None:
        """Try until the deadline, but not past the thing's own end: what has stopped will not answer."""
        end = self.clock.monotonic() + self.timeout
        while True:
            tried = self.inside(self.ready, min(TRY, max(1.0, end - self.clock.monotonic())))
            if tried.rc == 0:
                return
            said = (tried.err.strip() or tried.out.strip() or f"exit {tried.rc}")[-300:]
            if not self.is_running():
                raise VolumeError(f"{self.name} stopped while it was waited for ({said}). {self.hint()}")
            if self.clock.monotonic() >= end:
                raise VolumeError(f"{self.name} was not ready within {self.timeout} s: {said}. {self.hint()}")
            self.clock.sleep(1)

    def call(self, argv: list[str]) -> bool:
        """Run an `open` or `close` command. By convention it prints `changed` last when it changed something."""
        done = self.inside(argv, self.timeout)
        if done.rc != 0:
            raise VolumeError(f"{' '.join(argv)} in {self.name} failed (exit {done.rc}): {done.err.strip()}")
        return done.out.split()[-1:] == ["changed"]


class Instance(Dependent):
    """An LXD instance. It is stopped gracefully or not at all: a database that is killed has to be repaired."""

    kind = "instance"

    def __init__(self, options: dict[str, t.Any], system: System, clock: t.Any = time) -> None:
        super().__init__(options, system, clock)
        self.instance: str = options["instance"]

    def is_running(self) -> bool:
        found = self.system.run(["lxc", "query", f"/1.0/instances/{self.instance}"], timeout=60)
        if found.rc == 0:
            return json.loads(found.out)["status"] == "Running"
        if "not found" in found.err.lower():
            return False
        raise VolumeError(f"LXD does not answer about {self.instance}: {found.err.strip()}")

    def start(self) -> None:
        done = self.system.run(["lxc", "start", self.instance], timeout=self.timeout)
        if done.rc != 0 and not self.is_running():
            raise VolumeError(f"{self.instance} did not start: {done.err.strip()}. {self.hint()}")

    def stop(self) -> None:
        done = self.system.run(
            ["lxc", "stop", self.instance, f"--timeout={self.stop_timeout}"], timeout=self.stop_timeout + 30
        )
        if done.rc != 0 and self.is_running():
            raise VolumeError(
                f"{self.instance} did not stop within {self.stop_timeout} s and was not killed: {done.err.strip()}. "
                f"See what it waits for: sudo lxc exec {self.instance} -- systemctl list-jobs"
            )

    def inside(self, argv: list[str], timeout: float) -> Result:
        enter = ["lxc", "exec", self.instance, "--mode=non-interactive", "--"]
        return self.system.run([*enter, *LINGER, *argv], timeout=timeout)

    def hint(self) -> str:
        name = self.instance
        return f"Look at: sudo lxc info --show-log {name}; sudo lxc exec {name} -- journalctl --boot -n 50"


class Unit(Dependent):
    """A systemd unit of the host itself."""

    kind = "unit"

    def __init__(self, options: dict[str, t.Any], system: System, clock: t.Any = time) -> None:
        super().__init__(options, system, clock)
        self.unit: str = options["unit"]

    def is_running(self) -> bool:
        return self.system.run(["systemctl", "is-active", "--quiet", "--", self.unit], timeout=60).rc == 0

    def start(self) -> None:
        done = self.system.run(["systemctl", "start", "--", self.unit], timeout=self.timeout)
        # A unit whose conditions are not met is left alone with exit 0.
        if done.rc != 0 or not self.is_running():
            raise VolumeError(f"{self.unit} did not start: {done.err.strip() or 'it is not active'}. {self.hint()}")

    def stop(self) -> None:
        done = self.system.run(["systemctl", "stop", "--", self.unit], timeout=self.stop_timeout)
        if done.rc != 0 and self.is_running():
            raise VolumeError(
                f"{self.unit} did not stop within {self.stop_timeout} s: {done.err.strip()}. {self.hint()}"
            )

    def inside(self, argv: list[str], timeout: float) -> Result:
        return self.system.run(argv, timeout=timeout)

    def hint(self) -> str:
        return f"Look at: journalctl --boot -n 50 -u {self.unit}"


def build(options: dict[str, t.Any], system: System) -> Dependent:
    if bool(options.get("instance")) == bool(options.get("unit")):
        raise VolumeError(f"dependent {options.get('name')!r} needs exactly one of instance and unit")
    return (Instance if options.get("instance") else Unit)(options, system)
