# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running Ansible from a test, against the scenario's machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).parents[1]
VARIABLES = yaml.safe_load((SCENARIO / "group_vars/fileservers.yml").read_text())
PASSPHRASE = VARIABLES["encrypted_volume_passphrase"]


def ssh_command(lab) -> list[str]:
    """A connection that is there is used. One that this call opened would outlive it, and hold its output open."""
    machine = next(iter(lab.machines))
    return ["ssh", "-F", str(lab.directory / "ssh_config"), "-o", "ControlMaster=no", "-o", "LogLevel=ERROR", machine]


class Playbook:
    """Tasks for the file server, with the scenario's variables."""

    def __init__(self, inventory: Path, file: Path) -> None:
        self.file = file
        program = str(Path(sys.executable).parent / "ansible-playbook")
        variables = SCENARIO / "group_vars/fileservers.yml"
        self.command = [program, "-i", str(inventory), "-e", f"@{variables}", str(file)]

    def write(self, tasks: list) -> None:
        self.file.write_text(json.dumps([{"hosts": "fileservers", "gather_facts": False, "tasks": tasks}]))

    def run(self, tasks: list, *options: str, **environment: str) -> subprocess.CompletedProcess:
        self.write(tasks)
        return subprocess.run(
            [*self.command, *options],
            # sudo on an emulated, busy machine takes its time to ask.
            env={**os.environ, "ANSIBLE_TIMEOUT": "120", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    def results(self, tasks: list, *options: str) -> list[dict]:
        """What each task returned."""
        done = self.run(tasks, *options, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
        text = done.stdout.decode()
        plays = json.JSONDecoder().raw_decode(text[text.index("{\n") :])[0]["plays"]
        return [next(iter(task["hosts"].values())) for task in plays[0]["tasks"]]


@pytest.fixture(scope="session")
def playbook(lab, tmp_path_factory) -> Playbook:
    return Playbook(lab.directory / "inventory.yml", tmp_path_factory.mktemp("play") / "play.yml")


@pytest.fixture(scope="session")
def shell(lab) -> Callable[..., subprocess.CompletedProcess]:
    """A command on the machine that is given something on its standard input."""
    ssh = ssh_command(lab)

    def run(command: str, given: bytes = b"") -> subprocess.CompletedProcess:
        return subprocess.run([*ssh, command], input=given, capture_output=True, check=False)

    return run


@pytest.fixture(scope="session")
def securebox(shell) -> Callable[..., tuple[int, dict]]:
    """Run the command on the machine, as an administrator does, and read its JSON."""

    def run(*arguments: str, passphrase: str = "") -> tuple[int, dict]:
        done = shell(f"securebox {' '.join(arguments)} --json", passphrase.encode())
        return done.returncode, json.loads(done.stdout)

    return run


@pytest.fixture
def locked(securebox):
    assert securebox("lock")[0] == 0


@pytest.fixture
def unlocked(securebox):
    assert securebox("unlock", passphrase=PASSPHRASE)[0] == 0
