# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pytest did becomes an outcome, whatever it was: a test that never ran is `not run`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
TESTS = '''
import pytest

@pytest.mark.control("A-1")
def test_good(evidence):
    """It is good."""
    evidence("I saw it")

@pytest.mark.control("A-2")
def test_bad():
    """It is good too."""
    assert 1 == 2, "it is not"

@pytest.mark.control("A-3")
def test_skipped():
    pytest.skip("no time")

@pytest.mark.control("A-4")
def test_without_a_subject(not_applicable):
    not_applicable("there is none")

@pytest.fixture
def broken():
    raise RuntimeError("no box")

@pytest.mark.control("A-5")
def test_that_could_not_begin(broken):
    pass

@pytest.mark.last
@pytest.mark.control("A-6")
def test_that_never_ran():
    pass

@pytest.mark.control("A-7")
def test_that_ends_everything():
    pytest.exit("power cut", 3)
'''


@pytest.fixture
def outcomes(tmp_path):
    for name in ("conftest.py", "machine.py", "outside.py"):
        shutil.copy(SUITE / name, tmp_path)
    (tmp_path / "test_sample.py").write_text(TESTS, encoding="utf-8")
    path = tmp_path / "outcomes.json"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            f"--rootdir={tmp_path}",
            f"--outcomes={path}",
            str(tmp_path),
        ],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return {item["controls"][0]: item for item in json.loads(path.read_text(encoding="utf-8"))}


def test_outcomes(outcomes):
    assert {name: item["outcome"] for name, item in outcomes.items()} == {
        "A-1": "passed",
        "A-2": "failed",
        "A-3": "not run",
        "A-4": "not applicable",
        "A-5": "failed",
        "A-6": "not run",
        "A-7": "not run",
    }
    assert outcomes["A-1"]["evidence"] == ["I saw it"]
    assert outcomes["A-1"]["promise"] == "It is good."
    assert "it is not" in outcomes["A-2"]["reason"]
    assert outcomes["A-3"]["reason"] == "no time"
    assert outcomes["A-4"]["reason"] == "there is none"
    assert "no box" in outcomes["A-5"]["reason"]
