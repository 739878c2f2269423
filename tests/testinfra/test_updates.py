# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Updates install themselves, on the box and in the containers."""

from __future__ import annotations

import re

import pytest

UPDATES = "apt-config dump"
TIMERS = "systemctl is-active apt-daily.timer apt-daily-upgrade.timer; dpkg-query -W -f '${Status}' unattended-upgrades"


def questions(site):
    return {host: {"updates": UPDATES, "timers": TIMERS} for host in site.machines}


@pytest.mark.control("UPD-1")
def test_security_updates_install_themselves_everywhere(site, said, evidence):
    """The host and every container install security updates on a timer: a machine that nobody updates is the way in."""
    for host in site.machines:
        text = said(host, "updates").text
        timers = said(host, "timers").text
        evidence(f"{host}: {' '.join(timers.split())}")
        assert re.search(r'^APT::Periodic::Unattended-Upgrade "[1-9]', text, re.M), (
            f"{host}: unattended upgrades are off"
        )
        assert re.search(r'^APT::Periodic::Update-Package-Lists "[1-9]', text, re.M), f"{host}: package lists get old"
        assert timers.split()[:2] == ["active", "active"], f"{host}: the timers do not run: {timers}"
        assert "install ok installed" in timers, f"{host}: unattended-upgrades is not installed"
        origins = [line for line in text.splitlines() if "Origins" in line and re.search(r"security", line, re.I)]
        assert origins, f"{host}: security updates are not among the origins"


@pytest.mark.control("UPD-1")
def test_the_result_of_updates_is_mailed(site, said, evidence, not_applicable):
    """Somebody hears of an update that did not work."""
    if not site.get(site.box, "hardening_updates_mail"):
        not_applicable("hardening_updates_mail is empty")
    for host in site.machines:
        found = re.search(r'^Unattended-Upgrade::Mail "(.+)";', said(host, "updates").text, re.M)
        assert found, f"{host} mails nobody"
        evidence(f"{host}: to {found.group(1)}")
