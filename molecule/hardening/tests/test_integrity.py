# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that changes without a reason is noticed, and named; what was changed on purpose is accepted, and named."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module", params=["shell", "next"])
def machine(inside, request):
    """What the tests before this one did to the machine is none of its business."""
    found = inside[request.param]
    found.check_output("systemctl stop hardening-integrity-accept.service; hardening-integrity accept")
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
        machine.check_output("mkdir -p /run/systemd/system/aidecheck.service.d && systemctl daemon-reload && printf"
                             " '[Service]\\nEnvironment=SECONDS_AFTER_START=0\\n'"
                             " > /run/systemd/system/aidecheck.service.d/now.conf && systemctl daemon-reload")
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


@pytest.mark.control("AUD-2")
def test_a_run_is_accepted_once_it_is_over(machine):
    """Ten minutes after its last change, and over a restart that comes before: the check after it takes the changes
    for right, and says so."""
    machine.check_output("hardening-integrity later; echo y > /usr/local/bin/of-a-run")
    # It is only asked to start; it then stays in this state for ten minutes.
    waiting = machine.check_output(
        "for n in $(seq 60); do"
        " state=$(systemctl show --property=ActiveState --value hardening-integrity-accept.service);"
        " test \"$state\" != activating || break; sleep 0.5; done; echo $state")
    machine.check_output("systemctl stop hardening-integrity-accept.service")
    try:
        checked = machine.run("hardening-integrity check")
        again = machine.run("hardening-integrity check")
    finally:
        machine.run("rm /usr/local/bin/of-a-run; hardening-integrity accept")

    assert waiting == "activating"
    assert checked.rc == 0, checked.stdout
    assert "/usr/local/bin/of-a-run" in checked.stdout
    assert "Nothing differs" in again.stdout
