# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of this scenario from inside, and its playbook with other variables."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import testinfra
from lab import paths

SCENARIO = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def inside(lab):
    return {name: testinfra.get_host(f"lxc://{paths.instance(lab.name, name)}") for name in lab.machines}


@pytest.fixture(scope="module")
def gate(inside):
    return inside["gate"]


@pytest.fixture(scope="module")
def stranger(inside):
    return inside["stranger"]


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request, lab):
    """The addresses of the gate and of the stranger, in one protocol."""
    name = "address" if request.param == "IPv4" else "address6"
    return {machine: getattr(lab.machines[machine], name) for machine in ("gate", "stranger")}


@pytest.fixture
def start(lab):
    """Begin a run of a playbook of this scenario, in a process group of its own."""
    def begin(playbook, *options, **variables) -> subprocess.Popen:
        command = ["ansible-playbook", "--inventory", str(lab.directory / "inventory.yml"), "--diff", *options,
                   "--extra-vars", json.dumps(variables), str(SCENARIO / playbook)]
        plain = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, **plain}, start_new_session=True)

    return begin


@pytest.fixture
def converge(start):
    def run(playbook="converge.yml", *options, **variables) -> subprocess.CompletedProcess:
        running = start(playbook, *options, **variables)
        output, _ = running.communicate(timeout=150)
        return subprocess.CompletedProcess(running.args, running.returncode, output)

    return run
