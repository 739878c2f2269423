# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges look at every machine on a timer; what they found is shown."""

from __future__ import annotations

import datetime
import json

import pytest

# Every week; a machine that was off makes up for it.
FIRST_DAYS, LATE_DAYS, WEAK_INDEX = 8, 21, 80
# When it was switched on: that link is never written anew.
STATE = (
    "date +%s; stat -c %Y /etc/systemd/system/timers.target.wants/hardening-scan.timer || echo 0; "
    "systemctl is-active hardening-scan.timer; cat /var/lib/hardening/scan/result.json 2>/dev/null"
)


def questions(site):
    return {host: {"scan": STATE} for host in site.machines}


def told(said, host):
    """(now, since when, state of the timer, the result or nothing)."""
    lines = said(host, "scan").text.splitlines()
    assert len(lines) >= 3 and lines[0].isdigit(), f"{host}: {said(host, 'scan').text[:300]}"
    rest = "\n".join(lines[3:]).strip()
    since = next((int(line) for line in lines[1:3] if line.isdigit()), 0)
    return int(lines[0]), since, lines[2], json.loads(rest) if rest.startswith("{") else {}


@pytest.mark.control("SCN-1")
def test_machines_are_scanned_every_week(said, evidence, having):
    """The timer runs on every machine, and its last result is not older than three weeks."""
    late = []
    for host in having("hardening_scan"):
        now, since, timer, result = told(said, host)
        if timer != "active":
            late.append(f"{host}: nothing starts the scan (hardening-scan.timer is {timer})")
        elif result:
            time = datetime.datetime.fromisoformat(result["time"].replace("Z", "+00:00"))
            days = (now - time.timestamp()) / 86400
            evidence(f"{host}: scanned at {result['time']}")
            late += [f"{host} was scanned {days:.0f} days ago for the last time"] if days > LATE_DAYS else []
        else:
            days = (now - since) / 86400
            evidence(f"{host}: no scan yet; the timer is there for {days:.0f} days, and runs every week")
            late += [f"{host} was never scanned in {days:.0f} days"] if days > FIRST_DAYS else []
    assert not late, "; ".join(late)


@pytest.mark.control("SCN-1")
def test_what_the_judges_found(said, evidence, scanned, having):
    """Lynis, OpenSCAP and debsecan gave their opinion wherever a scan has run. What they found is shown, not judged."""
    silent = []
    for host in having("hardening_scan"):
        result = told(said, host)[3]
        if not result:
            evidence(f"{host}: no scan yet")
            continue
        lynis, openscap, debsecan = (result.get(name) or {} for name in ("lynis", "openscap", "debsecan"))
        scanned(host, result)
        if "index" in lynis:
            weak = lynis["index"] < WEAK_INDEX
            names = [" ".join(item) for item in lynis.get("warnings", [])]
            evidence(
                f"{host}: {'WARNING: ' if weak else ''}Lynis {lynis.get('version', '')}: index {lynis['index']} of "
                f"100, {len(names)} warnings{': ' + '; '.join(names) if names else ''}"
            )
        else:
            silent.append(f"{host}: Lynis gave no opinion ({lynis.get('error', 'not installed')})")
        if "percent" in openscap:
            evidence(f"{host}: OpenSCAP {openscap['profile']}: {openscap['percent']} % of the rules hold")
        due = debsecan.get("fixed_but_not_installed")
        if due is not None:
            evidence(f"{host}: {'WARNING: ' if due else ''}{len(due)} known weaknesses whose update waits")
        for name, found in (("OpenSCAP", openscap), ("debsecan", debsecan)):
            if "error" in found:
                evidence(f"{host}: WARNING: {name} could not work: {' '.join(found['error'].split())[:300]}")
    assert not silent, "; ".join(silent)
