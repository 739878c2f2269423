# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened stays known: here, within limits, and on the log server if there is one."""

from __future__ import annotations

import re

import pytest

# A word said now is looked for where it would outlive a restart; one that nobody said is not there. --sync: journald
# has written what it was told.
SAY = (
    'word=verify-$$-$(date +%s); logger --tag securebox-verify "$word"; journalctl --sync; '
    "look() { journalctl --quiet --directory=/var/log/journal --since=-5min --output=cat -t securebox-verify; }; "
    'echo "said $(look | grep -c "$word")"; echo "unsaid $(look | grep -c "$word-not")"'
)
# journald's own words on how much it keeps.
USAGE = "journalctl --disk-usage; journalctl --quiet -n 1 --output=cat MESSAGE_ID=ec387f577b844b8fa948f33cad9a75e6"
BOX = (
    "systemctl is-active rsyslog.service logrotate.timer; "
    "systemctl show --property=Result,ExecMainExitTimestamp logrotate.service; "
    "sleep 1; tail -n 500 /var/log/syslog | grep -c securebox-verify"
)


def questions(site):
    every = {"say": SAY, "usage": USAGE}
    asked = {host: dict(every) for host in site.machines}
    asked[site.box]["rotation"] = BOX
    port = int(site.get(site.box, "hardening_log_server_port", 6514))
    asked[site.box]["sent"] = f"ss --tcp --processes --numeric --no-header state established dport = :{port}"
    return asked


def size(text):
    number, unit = re.fullmatch(r"(\d+(?:\.\d+)?)([BKMGT]?)(?:i?B)?", str(text).strip(), re.I).groups()
    return float(number) * 1024 ** " KMGT".index(unit.upper().replace("B", " ") or " ")


@pytest.mark.control("LOG-1")
def test_the_journal_outlives_a_restart(said, evidence, having):
    """On every machine: something is said, and stands on the disk a moment later."""
    for host in having("hardening_logging"):
        found = dict(line.split() for line in said(host, "say").lines if re.fullmatch(r"(un)?said \d+", line))
        evidence(f"{host}: {' '.join(said(host, 'usage').lines)}")
        assert found.get("said") == "1", f"{host}: what was said is not in /var/log/journal: {said(host, 'say').text}"
        assert found.get("unsaid") == "0", f"{host}: the search finds what nobody said"


@pytest.mark.control("LOG-1")
def test_the_journal_does_not_fill_the_disk(site, said, evidence, having):
    """It takes no more room than it may."""
    for host in having("hardening_logging"):
        used = re.search(r"take up ([\d.]+[BKMGT]?)", said(host, "usage").text)
        assert used, f"{host}: journald does not tell its size: {said(host, 'usage').text}"
        limit = site.get(host, "hardening_journal_size", "1G")
        evidence(f"{host}: {used.group(1)} of {limit}")
        # The file that is being written may be a little over.
        assert size(used.group(1)) <= size(limit) * 1.1, f"{host}: the journal takes {used.group(1)}"


@pytest.mark.control("LOG-1")
def test_files_are_written_and_rotated(site, said, evidence, having):
    """rsyslog writes down what was said a moment ago, and a timer rotates the files."""
    having("hardening_logging", site.box)
    lines = said(site.box, "rotation").lines
    evidence("; ".join(lines))
    assert lines[:2] == ["active", "active"], f"rsyslog.service, logrotate.timer: {lines[:2]}"
    assert "Result=success" in lines, "the last rotation failed (logrotate.service)"
    assert int(lines[-1]) > 0, "what was said is not in /var/log/syslog"


@pytest.mark.control("LOG-1")
def test_logs_are_sent_on_over_tls(site, said, evidence, having, not_applicable):
    """There is a connection to the log server's TLS port, and rsyslog holds it."""
    having("hardening_logging", site.box)
    server = site.get(site.box, "hardening_log_server", "")
    if not server:
        not_applicable("hardening_log_server is empty: logs stay on the box")
    lines = [line for line in said(site.box, "sent").lines if "rsyslog" in line]
    evidence("\n".join(lines) or f"no connection to {server}")
    assert lines, f"rsyslog has no connection to {server}"
