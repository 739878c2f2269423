# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the machines from inside, new logins from outside, and runs of the play."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[1]
ADMIN, PORT = "alice", 822


@pytest.fixture(scope="session")
def server(inside):
    return inside["shell"]


@pytest.fixture(scope="session", autouse=True)
def no_rush(inside):
    """Ten minutes after their first run all servers would read all of their files at the same moment, in the middle of
    the tests. Where one needs a database, it makes it; the server itself is left to its own ways."""
    for name, machine in inside.items():
        if name != "shell":
            machine.run("systemctl stop hardening-integrity-accept.service")


@pytest.fixture(scope="module", params=["shell", "next"])
def machine(inside, request):
    """A server of each release."""
    return inside[request.param]


@pytest.fixture(scope="session")
def scripts():
    """Run one of this scenario's scripts on a machine."""

    def run(machine, name: str) -> str:
        return machine.check_output("sh -c %s", (SCENARIO / "files" / name).read_text())

    return run


@pytest.fixture(scope="session")
def login(lab):
    """Try to log in to the server, never over a connection that is there already."""

    def attempt(
        command: str, user: str = ADMIN, port: int = PORT, *options: str, machine: str = "shell"
    ) -> subprocess.CompletedProcess:
        address = lab.machines[machine].address
        given = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ControlPath=none", "-i", str(lab.key)]
        words = ["ssh", *options, *given, "-p", str(port), f"{user}@{address}", command]
        try:
            return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            # A shell that never answers lets nobody in either.
            return subprocess.CompletedProcess(words, 255, "", "timed out")

    return attempt


@pytest.fixture(scope="session")
def listening():
    """The lines of `ss`, which says nothing where it was interrupted, and is asked again then. Something always
    listens, by TCP and by UDP: ask for one of them at a time."""

    def ask(machine, options: str = "-Hltn") -> list[str]:
        for _ in range(20):
            lines = machine.check_output(f"ss {options}").splitlines()
            if lines:
                return lines
            time.sleep(0.5)
        raise AssertionError("ss says nothing")

    return ask


@pytest.fixture(scope="session")
def few():
    """Variables for a run of what decides who gets in, without what only takes time."""
    return {f"hardening_{name}": False for name in (
        "services", "time", "updates", "logging", "audit", "integrity", "apparmor", "bans", "scan")}


@pytest.fixture(scope="session")
def converge(play):
    """The scenario's play on the server, or on those that match."""

    def run(limit: str = "shell", *options: str, **variables) -> subprocess.CompletedProcess:
        return play("converge.yml", "--limit", limit, *options, **variables)

    return run
