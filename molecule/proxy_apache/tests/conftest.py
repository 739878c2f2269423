# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of the scenario by what they are. How they are reached stands in molecule/conftest.py."""

import pytest
from web import Browser


@pytest.fixture(scope="session")
def gate(on):
    """The machine of the proxy."""
    return on("gate")


@pytest.fixture(scope="session")
def wiki(on):
    """The machine of the application."""
    return on("wiki1")


@pytest.fixture(scope="session")
def browser(lab):
    return Browser(lab.machines["gate"].address)


@pytest.fixture
def opened(gate):
    """The site is not in maintenance."""
    gate.check_output("/usr/local/sbin/securebox-maintenance off")
