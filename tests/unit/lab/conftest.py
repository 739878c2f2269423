# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab is imported from where it lies; what it keeps goes into a directory of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "molecule" / "resources"))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No test reads or writes the real state or cache."""
    monkeypatch.setenv("SECUREBOX_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SECUREBOX_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path
