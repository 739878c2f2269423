# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused with a reason, a rehearsal tells the truth, and what was made can be taken away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import until

pytestmark = pytest.mark.control("IDS-1")

SENDER = {"name": "web", "at": "10.91.1.1", "addresses": ["10.91.1.10"], "logs": ["apache-error"]}
OWN = {"name": "mine", "kind": "own", "files": ["/var/log/mine.log"]}
UNDO = """
- hosts: gates
  gather_facts: false
  vars_files: [GROUPS/all/few.yml, GROUPS/gates/bans.yml]
  tasks:
    - ansible.builtin.include_role: {name: securebox.stack.hardening, tasks_from: undo}
""".replace("GROUPS", str(Path(__file__).parents[1] / "group_vars"))
LOOK = "find /etc /usr/local -xdev -type f -exec sha256sum {} + | sort -k 2"


@pytest.fixture
def converge(play):
    def run(variables, *options):
        return play("converge.yml", "--limit", "gate", *options, **variables)

    return run


@pytest.mark.parametrize(("variables", "says"), [
    ({"hardening_bans_jails": [OWN]}, "needs at least one"),
    ({"hardening_bans_jails": [{**OWN, "failregex": ["refused <ADDR>"]}]}, "begins with ^ and has <ADDR>"),
    ({"hardening_bans_jails": [{**OWN, "failregex": ["^.* refused <ADDR>$"]}]}, "behind fixed words"),
    ({"hardening_bans_jails": [{**OWN, "failregex": ["^a <ADDR>|.*<ADDR>"]}]}, "in parentheses"),
    ({"hardening_bans_open_udp": [0]}, "between 1 and 65535"),
    ({"hardening_bans_jails": [{**OWN, "kind": "web_login", "name": "sshd"}]}, "sshd is taken"),
    ({"hardening_bans_jails": [{**OWN, "kind": "web_login", "files": ["mine.log"]}]}, "by its whole path"),
    ({"hardening_bans_jails": [{**OWN, "kind": "web_login", "tries": 0}]}, "below 1"),
    ({"hardening_bans_never": ["office.example.org"]}, "only addresses and networks"),
    ({"hardening_received_from": [{**SENDER, "name": "../web"}]}, "names of machines and logs"),
    ({"hardening_received_from": [SENDER, {**SENDER, "name": "twin"}]}, "none of them twice"),
    ({"hardening_received_mib": 0}, "at least one MiB"),
    ({"hardening_handed_to": "10.91.1.1", "hardening_handed_logs": {"x": "login.log"}}, "logs as {name: path}"),
])
def test_what_cannot_work_is_refused_with_a_reason(converge, variables, says):
    """Before anything is changed; the message names the variable, its value, and where to change it."""
    refused = converge(variables)

    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0
    assert says in said
    assert next(iter(variables)) in said
    assert "where the inventory sets" in said
    assert re.search(r"gate .*changed=0", refused.stdout)


def test_a_filter_that_finds_no_log_changes_nothing(gate, converge):
    """fail2ban itself refuses it; all is as it was, and it goes on."""
    before = gate.check_output(LOOK)
    failed = converge({"hardening_bans_jails": [{**OWN, "failregex": ["^refused <ADDR>"]}]})

    assert failed.returncode != 0
    assert "Have not found any log file for mine jail" in failed.stdout
    assert gate.check_output(LOOK) == before
    assert until(lambda: "sshd" in gate.run("fail2ban-client status").stdout)


def test_it_can_be_taken_away_and_a_rehearsal_tells_what_comes_back(gate, play, converge, tmp_path, stranger):
    """The table is gone with it, and nobody is shut out any more."""
    banned = stranger()
    gate.check_output(f"fail2ban-client set login banip {banned.address}")
    assert banned.silence()
    book = tmp_path / "undo.yml"
    book.write_text(UNDO)

    undone = play(book)

    assert undone.returncode == 0, undone.stdout[-2000:]
    assert gate.run("nft list table inet hardening-bans").rc != 0
    assert gate.run("ss -Hltn sport = :601").stdout == ""
    assert gate.run("systemctl is-active hardening-received@10.91.1.1").rc != 0
    assert not gate.run("ls /etc/*/*/hardening-received* /etc/rsyslog.d/received/* /etc/fail2ban/*/*hardening*").stdout
    assert banned.served()

    before = gate.check_output(LOOK)
    rehearsed = converge({}, "--check", "--diff")
    assert rehearsed.returncode == 0, rehearsed.stdout[-2000:]
    assert gate.check_output(LOOK) == before
    promised = set(re.findall(r"^\+\+\+ after: (\S+)", rehearsed.stdout, re.MULTILINE))
    assert {"/etc/fail2ban/action.d/hardening-drop.conf", "/etc/rsyslog.d/received/10.91.1.1.conf",
            "/etc/systemd/system/hardening-received@.service"} <= promised

    for times in ("first", "second"):
        done = converge({})
        assert done.returncode == 0, done.stdout[-2000:]
        assert ("changed=0" in done.stdout) is (times == "second")
    assert "prerouting" in gate.check_output("nft list table inet hardening-bans")
    for path in promised:
        assert gate.file(path).exists, path
