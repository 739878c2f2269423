# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role wrote can be taken away, a rehearsal changes nothing and tells the truth, and a run repairs it."""

from __future__ import annotations

import re

import pytest

MACHINE = "takeover3"
UNDO = """
- hosts: takeover3
  gather_facts: false
  vars: {ansible_port: 822, ansible_user: alice, ansible_become: true}
  tasks:
    - ansible.builtin.include_role: {name: securebox.stack.hardening, tasks_from: undo}
      vars: {hardening_admins: [{name: alice, keys: ["{{ lab_public_key }}"]}]}
"""
OURS = [
    "/etc/sysctl.d/zzz-hardening.conf", "/etc/audit/rules.d/50-hardening.rules", "/etc/modprobe.d/hardening.conf",
    "/usr/share/pam-configs/hardening-unix", "/etc/systemd/system/aidecheck.timer", "/usr/local/sbin/hardening-scan",]
LOOK = ("find /etc /usr/local -xdev -type f -exec sha256sum {} + | sort -k 2;"
        " find /etc /usr/local -xdev -type l -printf '%p %l\\n' | sort")


@pytest.fixture(scope="module")
def machine(inside):
    return inside[MACHINE]


@pytest.fixture(scope="module")
def undone(play, machine, tmp_path_factory):
    book = tmp_path_factory.mktemp("undo") / "undo.yml"
    book.write_text(UNDO)
    done = play(book)
    assert done.returncode == 0, done.stdout[-3000:]
    return machine


def test_nothing_of_ours_is_left_and_what_was_there_is_back(undone, login):
    """PAM lets people in without our profiles, the daemons run, and the administrator still gets in."""
    for path in [*OURS, "/usr/local/share/hardening-content-ds.xml"]:
        assert not undone.file(path).exists, path
    assert "hardening" not in undone.file("/etc/systemd/journald.conf").content_string.lower()
    assert "pam_faillock" not in undone.check_output("cat /etc/pam.d/common-auth")
    assert "pam_unix.so" in undone.check_output("cat /etc/pam.d/common-auth")
    assert undone.run("systemctl is-active systemd-journald rsyslog").rc == 0
    assert login("sudo -n id -u", machine=MACHINE).stdout.strip() == "0"


@pytest.mark.control("REL-1")
def test_a_rehearsal_changes_nothing_and_tells_the_truth(undone, converge):
    """--check runs to its end on a machine that has nothing of it yet, and names the files that the run then writes."""
    before = undone.check_output(LOOK)
    rehearsed = converge(MACHINE, "--check")

    assert rehearsed.returncode == 0, rehearsed.stdout[-3000:]
    assert undone.check_output(LOOK) == before
    promised = set(re.findall(r"^\+\+\+ after: (\S+)", rehearsed.stdout, re.MULTILINE))
    assert set(OURS) - {"/etc/systemd/system/aidecheck.timer"} <= promised

    done = converge(MACHINE)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(rf"^{MACHINE} .* changed=[1-9]", done.stdout, re.MULTILINE)
    for path in OURS:
        assert undone.file(path).exists, path
    assert "changed=0" in converge(MACHINE).stdout
