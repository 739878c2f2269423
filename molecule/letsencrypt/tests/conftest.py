# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of this scenario: those of proxy_apache's, and the certificate authority."""

import sys
from pathlib import Path

import pytest

PROXY_TESTS = Path(__file__).parents[2] / "proxy_apache" / "tests"
sys.path.insert(0, str(PROXY_TESTS))

from web import Browser  # noqa: E402


@pytest.fixture(scope="session")
def gate(on):
    """The machine of the proxy."""
    return on("gate")


@pytest.fixture(scope="session")
def authority(on):
    """The machine of the certificate authority."""
    return on("authority")


@pytest.fixture(scope="session")
def browser(lab):
    return Browser(lab.machines["gate"].address)


@pytest.fixture
def issued(authority):
    """How many certificates the authority has issued, and how many orders it has seen."""

    def count():
        lines = authority.check_output("journalctl --sync && journalctl --unit pebble --output cat")
        return lines.count("Issued certificate serial"), lines.count("Added order")

    return count
