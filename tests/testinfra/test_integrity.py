# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that change without a reason are found."""

from __future__ import annotations

import datetime
import json

import pytest

# Every night, and a night that the machine was off is made up for.
LATE_DAYS = 3
STATE = (
    "date +%s; systemctl is-active hardening-integrity-accept.service; systemctl is-active aidecheck.timer; "
    "sha256sum /var/lib/aide/aide.db 2>/dev/null | cut -d' ' -f1; "
    "cat /var/lib/hardening/integrity-accept.json /var/lib/hardening/integrity-check.json 2>/dev/null"
)


def questions(site):
    return {site.box: {"state": STATE, "next": "systemctl show --property=NextElapseUSecRealtime aidecheck.timer"}}


def acts(lines):
    """What was done, the newest last."""
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return sorted(found, key=lambda act: act["time"])


def age(act, now):
    return (now - datetime.datetime.fromisoformat(act["time"].replace("Z", "+00:00")).timestamp()) / 86400


@pytest.mark.control("AUD-2")
def test_files_are_compared_every_night(site, said, evidence, having):
    """The timer runs, and the last comparison is not older than a few days."""
    having("hardening_integrity", site.box)
    lines = said(site.box, "state").lines
    now, making, timer = int(lines[0]), lines[1], lines[2]
    evidence(said(site.box, "next").text)
    assert timer == "active", "nothing starts the comparison (aidecheck.timer)"
    done = acts(lines)
    if not done and making in ("activating", "active"):
        pytest.skip("the first database of all files is about to be made: verify again in some minutes")
    assert done, "the files were never compared: there is no database (systemctl start hardening-integrity-accept)"
    for act in done:
        evidence(f"{act['time']} {act['act']}: {act['changed']} changed, {act['added']} new, {act['removed']} gone")
    days = age(done[-1], now)
    assert days <= LATE_DAYS, f"the files were compared {days:.0f} days ago for the last time"


@pytest.mark.control("AUD-2")
def test_no_change_waits_for_an_explanation(site, said, evidence, having):
    """What the last comparison found is nothing, or was accepted by somebody since."""
    having("hardening_integrity", site.box)
    done = acts(said(site.box, "state").lines)
    if not done:
        pytest.skip("the files have not been compared yet")
    last = done[-1]
    found = last["changed"] + last["added"] + last["removed"]
    evidence(f"{last['time']} {last['act']}: {found} differences{' accepted' if last['act'] == 'accept' else ''}")
    assert last["act"] == "accept" or not found, (
        f"{last['changed']} files changed, {last['added']} are new and {last['removed']} gone without a reason: see "
        "/var/log/aide/check.log on the box; if they are as they should be, run 'hardening-integrity accept' there"
    )


@pytest.mark.control("AUD-2")
def test_the_database_is_the_one_that_was_made(site, said, evidence, having):
    """Nobody has put another list of files in the place of the one that the last comparison used."""
    having("hardening_integrity", site.box)
    lines = said(site.box, "state").lines
    done = acts(lines)
    if not done or lines[1] in ("activating", "active"):
        pytest.skip("the database is being made, or was never made")
    actual = next((line for line in lines if len(line) == 64 and " " not in line), "none")
    evidence(f"sha256 of the database: {actual}")
    assert actual == done[-1]["database"], f"at the last comparison it was {done[-1]['database']}"
