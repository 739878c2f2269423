# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Support that ends and restarts that are due, as every machine of the box itself says (hardening-support)."""

from __future__ import annotations

import json

import pytest

PROGRAM = "/usr/local/sbin/hardening-support --json"
UNIT = "systemctl is-enabled hardening-boot.service"


def questions(site):
    asked = {host: {"support": PROGRAM} for host in [site.box, *site.containers]}
    asked[site.box]["unit"] = UNIT
    return asked


def told(said, host):
    answer = said(host, "support")
    # 1: it has something to say, which is for the tests to judge.
    assert answer.code in (0, 1), f"{host}: hardening-support says nothing, run site.yml: {answer.text}"
    try:
        return answer.json
    except json.JSONDecodeError:
        pytest.fail(f"{host}: hardening-support said: {answer.text[:300]}", pytrace=False)


@pytest.mark.control("UPD-2")
def test_nothing_in_use_is_out_of_support(site, said, evidence):
    """The release, database, Java, Tomcat and PHP in use get security updates today; an end that is near is said."""
    # An end within the time of warning is no failure: updates still come, and the line says until when. What the dated
    # table does not know is one, since nobody would be warned of its end.
    lost = []
    for host in [site.box, *site.containers]:
        found = told(said, host)
        evidence(f"{host}: table of {found['table']}, warns {found['warn_days']} days before")
        for entry in found["support"]:
            soon = (entry.get("upstream") or {}).get("state") == "ends_soon"
            evidence(f"{host}: {'WARNING: ' if soon or entry['state'] != 'ok' else ''}{entry['text']}")
            if entry["state"] in ("ended", "unknown"):
                lost.append(f"{host}: {entry['text']}")
    assert not lost, "; ".join(lost)


@pytest.mark.control("UPD-3")
def test_no_update_waits_for_a_restart(site, said, evidence):
    """Every machine runs what was installed last: until the restart that an update needs, its hole stays open."""
    # So a machine that needs a restart fails, and says what asked for it. To pass would be to prove what is not so.
    waiting = []
    for host in [site.box, *site.containers]:
        restart = told(said, host)["restart"]
        kernel = f"kernel {restart['kernel']['running']}: " if restart["kernel"] else ""
        evidence(f"{host}: {kernel}{'needs restart: ' + '; '.join(restart['reasons']) if restart['needed'] else 'ok'}")
        if restart["needed"]:
            waiting.append(f"{host} needs restart: {'; '.join(restart['reasons'])}")
    assert not waiting, "; ".join(waiting)


@pytest.mark.control("UPD-3")
def test_the_last_boot_was_looked_at(site, said, evidence, not_applicable):
    """The first boot after a kernel update tests it: that boot was noted, came to its end, and left nothing failed."""
    # Units that failed in that boot and have been mended since are no failure.
    found = told(said, site.box)
    if found["container"]:
        not_applicable("the box is itself a container here, without a kernel of its own")
    assert said(site.box, "unit").text == "enabled", "nothing notes how a boot went (hardening-boot.service)"
    boot = found["boot"]
    assert boot["recorded"], "this boot was not noted; see journalctl -u hardening-boot.service"
    before = boot["previous_kernel"]
    what = f"kernel {boot['kernel']}" + (f", after {before}" if before not in (None, boot["kernel"]) else "")
    evidence(f"{boot['time']}: {what}: {boot['state']}; failed units: {', '.join(boot['failed']) or 'none'}")
    assert boot["completed"], f"the boot of {what} did not come to its end: {boot['state']}"
    assert not boot["still_failed"], f"the boot of {what} left failed: {', '.join(boot['still_failed'])}"
