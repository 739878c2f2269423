# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges look at the machine every week, by themselves, and what they say is kept."""

from __future__ import annotations

import json

import pytest


@pytest.mark.control("SCN-1")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_the_judges_opinion_is_kept(inside, name):
    """One run as the timer would start it. debsecan asks the internet, which a laboratory need not have."""
    machine = inside[name]
    machine.run("systemctl start hardening-scan.service")
    result = json.loads(machine.check_output("cat /var/lib/hardening/scan/result.json"))

    assert result["lynis"]["index"] >= 70
    assert result["lynis"]["suggestions"]
    assert "fixed_but_not_installed" in result["debsecan"] or "could not ask" in result["debsecan"]["error"]
    assert machine.service("hardening-scan.timer").is_running
    assert machine.file("/var/lib/hardening/scan/result.json").mode == 0o600
