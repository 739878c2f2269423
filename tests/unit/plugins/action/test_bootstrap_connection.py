# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ways in are tried, and what a person is told when none works."""

from __future__ import annotations

import pytest
from ansible_collections.securebox.stack.plugins.action import bootstrap_connection as subject

HOST = "203.0.113.10"


def test_the_hardened_server_is_tried_first():
    assert subject.candidates(HOST, 822, "admin", {"port": "22", "user": "root"}) == [
        (HOST, 822, "admin"), (HOST, 22, "root")]


def test_an_address_in_a_tunnel_is_tried_first_and_the_public_one_next():
    """The tunnel is not there yet on a bare server; nor on one whose firewall was put back."""
    found = subject.candidates("10.99.0.1", 822, "admin", {"host": HOST, "port": 22, "user": "root"})
    assert found == [("10.99.0.1", 822, "admin"), (HOST, 822, "admin"), (HOST, 22, "root")]


def test_the_same_way_is_tried_once():
    assert subject.candidates(HOST, 22, "root", {"host": ""}) == [(HOST, 22, "root")]


def test_no_port_in_the_inventory_means_ssh_own():
    assert subject.candidates(HOST, None, "debian", {})[0] == (HOST, 22, "debian")


@pytest.mark.parametrize(("error", "says"), [
    ("@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@\nHost key verification failed.", "ssh-keygen -R '[203.0"),
    ("Host key verification failed.", "ssh -p 822 admin@203.0.113.10"),
    ("admin@203.0.113.10: Permission denied (publickey).", "ssh-add -l"),
    ("ssh: connect to host 203.0.113.10 port 822: Connection refused", "nothing listens"),
    ("ssh: connect to host 203.0.113.10 port 822: Connection timed out", "no answer in time"),
    ("ssh: Could not resolve hostname nowhere", "ansible_host"),
    ("first line\nsomething new", "something new"),
    ("", "no reason given"),
])
def test_each_failure_says_what_to_do(error, says):
    assert says in subject.explain(error, subject.Candidate(HOST, 822, "admin"))


@pytest.mark.parametrize(("answers", "has_password", "says"), [
    ({"uid": "0", "python": "/usr/bin/python3"}, False, None),
    ({"uid": "1000", "python": "/usr/bin/python3", "sudo": "yes"}, False, None),
    ({"uid": "1000", "python": "/usr/bin/python3", "sudo": ""}, True, None),
    ({"uid": "1000", "python": "/usr/bin/python3", "sudo": ""}, False, "--ask-become-pass"),
    ({"uid": "0", "python": ""}, False, "apt-get install -y python3"),
])
def test_a_login_alone_is_not_enough(answers, has_password, says):
    found = subject.shortcoming(answers, has_password)

    assert found is None if says is None else says in found
