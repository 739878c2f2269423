# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges look at the machine every week, by themselves, and what they say is kept."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

PROGRAM = "/usr/local/sbin/hardening-scan"
CONTENT = "/usr/local/share/hardening-content-ds.xml"
# Two rules, of which one holds: files/content-ds.xml.
JUDGED = {"profile": "cis_level2_server", "passed": 1, "percent": 50.0, "failed": ["lab_fails"]}


def row(machine: str, result: dict) -> dict:
    """What the report makes of it."""
    suite = str(Path(__file__).parents[3] / "tests/testinfra")
    sys.path.insert(0, suite)
    try:
        return importlib.import_module("report").scan(machine, result)
    finally:
        sys.path.remove(suite)


@pytest.mark.control("SCN-1")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_the_judges_opinion_is_kept(inside, name):
    """One run as the timer would start it. debsecan asks the internet, which a laboratory need not have."""
    machine = inside[name]
    # The worker has no content to judge by, and of that file it knows nothing.
    if name == "worker":
        machine.check_output(f"echo nonsense > {CONTENT}")
    machine.run(f"systemctl start hardening-scan.service; {'rm ' + CONTENT if name == 'worker' else 'true'}")
    result = json.loads(machine.check_output("cat /var/lib/hardening/scan/result.json"))

    assert result["lynis"]["index"] >= 70
    assert result["lynis"]["suggestions"]
    assert "fixed_but_not_installed" in result["debsecan"] or "could not ask" in result["debsecan"]["error"]
    assert result.get("openscap") == (None if name == "worker" else JUDGED)
    shown = row(name, result)
    assert shown["lynis_index"] == result["lynis"]["index"]
    assert (shown["cis_percent"], shown["cis_failed"]) == ((None, []) if name == "worker" else (50.0, ["lab_fails"]))
    assert machine.service("hardening-scan.timer").is_running
    assert machine.file("/var/lib/hardening/scan/result.json").mode == 0o600


@pytest.mark.control("SCN-1")
@pytest.mark.parametrize("content,reason", [
    (f"sed 's/selected=.true./selected=\"false\"/' {CONTENT}", "no rule that applies here"),
    (f"sed 's/cis_level2/cis_level3/' {CONTENT}", "No profile matching"),
    ("echo nonsense", "Unable to parse XML"),
])
def test_openscap_that_judges_nothing_is_an_error(inside, content, reason):
    """With content for another release, no rule would apply, and nothing would fail."""
    program = (f"import importlib.machinery as m, pathlib; s = m.SourceFileLoader('scan', '{PROGRAM}').load_module();"
               " s.CONTENT = pathlib.Path('/var/lib/hardening/other.xml'); s.openscap()")
    machine = inside["shell"]
    machine.check_output(f"{content} > /var/lib/hardening/other.xml")
    said = machine.run(f"python3 -W ignore -B -c \"{program}\"; rm /var/lib/hardening/other.xml")

    assert "RuntimeError" in said.stderr
    assert reason in said.stderr
