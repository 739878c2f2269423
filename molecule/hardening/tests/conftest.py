# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: the machines from inside, new logins from outside, and runs of the play."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import testinfra
from lab import paths

SCENARIO = Path(__file__).parents[1]
ADMIN, PORT = "alice", 822
PLAIN = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}


@pytest.fixture(scope="session")
def inside(lab):
    """The machines from inside, whatever became of their sshd."""
    return {name: testinfra.get_host(f"lxc://{paths.instance(lab.name, name)}") for name in lab.machines}


@pytest.fixture(scope="session")
def server(inside):
    return inside["shell"]


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
        return subprocess.run(["ssh", *options, *given, "-p", str(port), f"{user}@{address}", command],
                              capture_output=True, text=True, timeout=30, check=False)

    return attempt


@pytest.fixture(scope="session")
def play(lab):
    """The command that runs the scenario's play on the server, or on those that match, with other variables."""

    def command(limit: str = "shell", **variables) -> list[str]:
        return ["ansible-playbook", "--inventory", str(lab.directory / "inventory.yml"), "--limit", limit,
                "--extra-vars", json.dumps(variables), str(SCENARIO / "converge.yml")]

    return command


@pytest.fixture(scope="session")
def few():
    """Variables for a run of what decides who gets in, without what only takes time."""
    return {f"hardening_{name}": False for name in (
        "services", "time", "updates", "logging", "audit", "integrity", "apparmor", "bans", "scan")}


@pytest.fixture(scope="session")
def converge(play):
    """Run it."""

    def run(*limit: str, **variables) -> subprocess.CompletedProcess:
        return subprocess.run(play(*limit, **variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=240, check=False, env={**os.environ, **PLAIN})

    return run
