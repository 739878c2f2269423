# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate, the stranger, and their addresses."""

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
def converge(lab):
    def run(**variables) -> subprocess.CompletedProcess:
        command = ["ansible-playbook", "--inventory", str(lab.directory / "inventory.yml"), "--diff",
                   "--extra-vars", json.dumps(variables), str(SCENARIO / "converge.yml")]
        plain = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
                              check=False, env={**os.environ, **plain})

    return run
