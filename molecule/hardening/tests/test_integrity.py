# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that changes without a reason is noticed, and named; what was changed on purpose is accepted, and named."""

from __future__ import annotations

import json
import time

import pytest


@pytest.fixture(scope="module", params=["shell", "next"])
def machine(inside, request):
    """Once its first database is made, which nobody waited for."""
    found = inside[request.param]
    deadline = time.monotonic() + 120
    while not found.file("/var/lib/hardening/integrity-accept.json").exists:
        assert time.monotonic() < deadline, "there is no database after two minutes"
        time.sleep(1)
    # What the tests before this one did to the machine is none of its business.
    found.check_output("hardening-integrity accept")
    return found


def state(machine, act: str) -> dict:
    return json.loads(machine.check_output(f"cat /var/lib/hardening/integrity-{act}.json"))


@pytest.mark.control("AUD-2")
def test_an_untouched_system_is_quiet(machine):
    """A report every night is a report that nobody reads."""
    checked = machine.run("hardening-integrity check")

    assert checked.rc == 0, checked.stdout
    assert "Nothing differs" in checked.stdout
    assert state(machine, "check")["changed"] == 0


@pytest.mark.control("AUD-2")
def test_a_changed_file_is_named_and_fails_the_check(machine):
    """A new program, a changed setting, a program that anybody may replace. After they are accepted, it is quiet."""
    machine.check_output("echo x > /usr/local/bin/surprise; chmod 0755 /usr/local/bin/surprise;"
                         " echo '# x' >> /etc/hosts.deny; chmod 0777 /usr/bin/less")
    try:
        found = machine.run("hardening-integrity check")
        service = machine.run("systemctl restart aidecheck.service; sleep 1;"
                              " while systemctl is-active --quiet aidecheck.service; do sleep 1; done;"
                              " systemctl is-failed aidecheck.service")
        accepted = machine.run("hardening-integrity accept")
        after = machine.run("hardening-integrity check")
    finally:
        machine.run("rm /usr/local/bin/surprise; sed -i '$d' /etc/hosts.deny; chmod 0755 /usr/bin/less;"
                    " hardening-integrity accept; systemctl reset-failed aidecheck.service")

    assert found.rc != 0
    for path in ("/usr/local/bin/surprise", "/etc/hosts.deny", "/usr/bin/less"):
        assert path in found.stdout
        assert path in accepted.stdout, "what is accepted is reported"
    assert service.stdout.strip() == "failed", "whoever watches units sees it"
    assert accepted.rc == 0
    assert after.rc == 0


@pytest.mark.control("AUD-2")
def test_it_is_checked_every_night(machine):
    assert machine.service("aidecheck.timer").is_enabled
    assert machine.service("aidecheck.timer").is_running
