# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the kernel's rules count as ufw's. The running ufw itself is in the scenario firewall."""

from __future__ import annotations

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.ufw import in_force

# As `iptables -S` prints it, shortened to what is asked for and some that is not.
LOADED = """-P INPUT DROP
-P FORWARD DROP
-P OUTPUT ACCEPT
-N f2b-sshd
-N ufw-before-input
-N ufw-user-input
-A INPUT -p tcp -j f2b-sshd
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A OUTPUT -j ufw-before-output
"""


def test_what_ufw_loads_is_in_force():
    assert in_force(LOADED, "", ["input", "forward"])
    assert in_force(LOADED.replace("ufw-", "ufw6-"), "6", ["input", "forward"])


@pytest.mark.parametrize("line", [
    "-P INPUT DROP", "-P FORWARD DROP", "-N ufw-user-input", "-A INPUT -j ufw-before-input",
    "-A FORWARD -j ufw-before-forward", "-A OUTPUT -j ufw-before-output",
])
def test_nothing_of_it_may_be_missing(line):
    """A chain with a longer name, or a policy of another chain, is not the one."""
    without = LOADED.replace(f"{line}\n", f"{line}-of-others\n")
    assert without != LOADED
    assert not in_force(without, "", ["input", "forward"])


def test_policies_that_ufw_leaves_open_are_not_asked_for():
    assert not in_force(LOADED, "", ["output"])
    assert in_force(LOADED.replace("-P FORWARD DROP", "-P FORWARD ACCEPT"), "", ["input"])


def test_switched_off_a_protocol_is_closed_and_has_no_chains():
    closed = "-P INPUT DROP\n-P FORWARD DROP\n-P OUTPUT DROP\n-A INPUT -i lo -j ACCEPT\n"
    assert in_force(closed, None, ["input", "forward", "output"])
    assert not in_force(closed, "6", ["input", "forward", "output"])


def test_nothing_told_is_nothing_in_force():
    """The command failed: there is no iptables, or another program's rules that it cannot read."""
    assert not in_force("", "", [])
