# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the suite that `verify` runs, without a box."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"


@pytest.fixture
def load(monkeypatch):
    """A module of the suite by its name. What these import is imported anew for each test, and forgotten after it."""
    monkeypatch.syspath_prepend(str(SUITE))
    names = {path.stem for path in SUITE.glob("*.py")}

    def forget():
        for name in names & set(sys.modules) - {"conftest"}:
            del sys.modules[name]

    def module(name):
        spec = importlib.util.spec_from_file_location(f"suite_{name}", SUITE / f"test_{name}.py")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    forget()
    yield module
    forget()
