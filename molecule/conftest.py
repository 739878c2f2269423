# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every scenario's tests share: `host` is the scenario's (first) machine, `on("db")` the one of that name.

Plain ssh with one shared connection: a check takes hundredths of a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

sys.path.insert(0, str(Path(__file__).parent / "resources"))

from lab.state import Lab


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
