# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the tests import the collection by its full name, wherever the working copy lies."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    if importlib.util.find_spec("ansible_collections") and importlib.util.find_spec("ansible_collections.securebox"):
        return
    place = Path(tempfile.mkdtemp(prefix="securebox-tests-"))
    # A link and three directories: gone with the run.
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "ansible_collections" / "securebox").mkdir(parents=True)
    (place / "ansible_collections" / "securebox" / "stack").symlink_to(ROOT)
    sys.path.insert(0, str(place))
