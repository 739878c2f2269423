# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scenario's tests share: `host` is the scenario's (first) machine, `on("db")` the one of that name, reached
by plain ssh with one shared connection (a check takes hundredths of a second), and `inside["db"]` the same past its
network and its sshd, where these are what is tested. `play()` runs the scenario's playbook again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import typing as t
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest
import testinfra
from testinfra.backend.base import CommandResult
from testinfra.backend.lxc import LxcBackend
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent / "resources"))

from lab import paths
from lab.run import kill_all
from lab.state import Lab

# However the tests were called: messages whole, and without colours between their words.
PLAIN = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}


# Written when the command has ended. Its shell ends only when both have arrived: on a busy machine an LXD before 5.14
# loses what is written just before the end (canonical/lxd issue 11422), and says nothing of it.
END = b"\nsaid all\n"
WAIT = f"/bin/sh -c \"$1\" </dev/null; rc=$?; printf '{END.decode()}'; printf '{END.decode()}' >&2; read -r _; exit $rc"


class Inside(LxcBackend):
    """testinfra's own backend, but that nothing of the output is lost."""

    def run(self, command: str, *args: str, **kwargs: t.Any) -> CommandResult:
        line = self.get_command(command, *args)
        words = ["lxc", "exec", self.name, "--mode=non-interactive", "--", "/bin/sh", "-c", WAIT, "sh", line]
        heard: dict[t.IO[bytes], bytes] = {}

        def listen(stream: t.IO[bytes]) -> None:
            heard[stream] = b""
            while END not in heard[stream] and (more := stream.read1(1 << 16)):
                heard[stream] += more

        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            streams = [process.stdout, process.stderr]
            threads = [threading.Thread(target=listen, args=[stream]) for stream in streams]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rest = process.communicate()
        assert process.returncode or all(END in heard[stream] for stream in streams), f"not all was heard of: {line}"
        out, err = (heard[stream].replace(END, b"", 1) + late for stream, late in zip(streams, rest, strict=True))
        return self.result(process.returncode, self.encode(line), out, err)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of the scenario under test."""
    found = Lab(os.environ["MOLECULE_SCENARIO_NAME"])
    if not found.machines:
        pytest.exit(f"the lab {found.name} is not up: molecule create -s {found.name}", returncode=1)
    return found


@pytest.fixture(scope="session")
def on(lab: Lab) -> Callable[[str], Host]:
    """Connect to a machine by its name."""

    @cache
    def connect(name: str) -> Host:
        return testinfra.get_host(f"ssh://{name}", ssh_config=str(lab.directory / "ssh_config"))

    return connect


@pytest.fixture(scope="session")
def host(lab: Lab, on: Callable[[str], Host]) -> Host:
    """The scenario's machine, or the first of several."""
    return on(next(iter(lab.machines)))


@pytest.fixture(scope="session")
def inside(lab: Lab) -> dict[str, Host]:
    """Every container from inside, whatever became of its network and its sshd."""
    return {name: Host(Inside(paths.instance(lab.name, name))) for name in lab.machines}


@pytest.fixture(scope="session")
def start(lab: Lab) -> Callable[..., subprocess.Popen[str]]:
    """Begin a run of one of the scenario's playbooks (or of any, by its whole path)."""
    scenario = Path(__file__).parent / os.environ["MOLECULE_SCENARIO_NAME"]

    def begin(
        book: str | Path = "converge.yml",
        *options: str,
        inventories: Iterable[Path] = (),
        environment: Mapping[str, str] | None = None,
        **variables: object,
    ) -> subprocess.Popen[str]:
        known = [lab.directory / "inventory.yml", *inventories]
        command = ["ansible-playbook", *(f"--inventory={path}" for path in known), "--diff", *options]
        command += ["--extra-vars", json.dumps(variables), str(scenario / book)]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **PLAIN, **(environment or {})},
        )

    return begin


@pytest.fixture(scope="session")
def play(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same to its end; all that it said is its `stdout`."""

    def run(*words: str | Path, timeout: float = 600, **named: t.Any) -> subprocess.CompletedProcess[str]:
        running = start(*words, **named)
        try:
            output, _ = running.communicate(timeout=timeout)
        except BaseException:
            # Nothing of it may go on changing the machines under the next test.
            kill_all(running.pid)
            running.wait()
            raise
        return subprocess.CompletedProcess(running.args, running.returncode, output, "")

    return run
