# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall is exactly what is described, and changed no more than needed."""

from __future__ import annotations

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.ufw import State, UfwError
from ansible_collections.securebox.stack.plugins.modules import ufw_ruleset

POLICIES = {"incoming": "deny", "outgoing": "allow", "routed": "deny"}


class FakeUfw:
    """A ufw that keeps its state in memory."""

    def __init__(self, **state):
        self.state = State(**{"enabled": True, "active": True, "logging": "low", "policies": POLICIES,
                              "rules": [], "rules6": [], **state})
        self.writes = []
        self.broken = False

    def read(self):
        return self.state

    def canonical(self, rules, ipv6):
        if "nonsense" in rules:
            raise UfwError("ufw nonsense: ufw does not understand this rule")
        return list(rules), list(rules) if ipv6 else []

    def write(self, before, after, rules, restart):
        assert before == self.state
        if self.broken:
            raise UfwError("iptables-restore failed")
        self.state = after
        self.writes.append((list(rules), restart))

    def files(self):
        return ["/etc/ufw/user.rules"]

    def undo_commands(self):
        return [["ufw-init", "stop"]]

    def restore_commands(self):
        return [["ufw-init", "start"]]


class FakeGuard:
    armed = complete = False

    def __init__(self):
        self.log = []

    def save(self, paths, restore, undo):
        self.armed = True
        self.log.append("save")

    def arm(self, seconds):
        self.log.append(f"arm {seconds}")

    def restore(self):
        self.armed = False
        self.log.append("restore")

    def declare_applying(self):
        pass

    def declare_complete(self):
        self.complete = True

    def discard(self):
        self.armed = False

    def confirm_command(self):
        return ["confirm"]

    def restore_command(self):
        return ["restore"]


def ensure(ufw, rules, guard=None, check_mode=False, succeeds=lambda command: True, **more):
    params = {"rules": rules, **POLICIES, "logging": "low", "ipv6": True, "hooks": [], "confirm": None, **more}
    return ufw_ruleset.ensure(params, lambda: ufw, guard or FakeGuard(), succeeds, check_mode)


def test_check_then_do_then_nothing():
    ufw = FakeUfw(enabled=False, active=False)

    told = ensure(ufw, ["limit 22/tcp"], check_mode=True)
    assert told["changed"]
    assert not ufw.writes

    assert ensure(ufw, ["limit 22/tcp"]) == told
    assert ufw.state.active
    assert not ensure(ufw, ["limit 22/tcp"])["changed"]
    assert len(ufw.writes) == 1


def test_a_rule_that_is_not_described_is_removed_and_shown():
    ufw = FakeUfw(rules=["limit 22/tcp", "allow 6000"], rules6=["limit 22/tcp"])

    result = ensure(ufw, ["limit 22/tcp"])

    assert "ufw allow 6000\n" in result["diff"][0]["before"]
    assert "6000" not in result["diff"][0]["after"]
    assert ufw.state.rules == ["limit 22/tcp"]


def test_the_order_is_part_of_the_description():
    """The first rule that matches wins."""
    ufw = FakeUfw(rules=["allow 1", "deny 2"], rules6=["allow 1", "deny 2"])

    assert ensure(ufw, ["deny 2", "allow 1"])["changed"]


def test_rules_alone_restart_nothing():
    ufw = FakeUfw()
    ensure(ufw, ["limit 22/tcp"])
    assert ufw.writes == [(["limit 22/tcp"], False)]


def test_a_hook_that_has_lost_its_work_is_started_again():
    """Somebody flushed the table that the hook had loaded."""
    hook = {"path": "/etc/ufw/test-only.init", "state": "absent", "mode": "0750"}
    ufw = FakeUfw()
    assert not ensure(ufw, [], hooks=[hook])["changed"]

    executable = {**hook, "state": "present", "link": None, "content": None}
    assert ufw_ruleset.executable(executable)


def test_nonsense_is_refused_before_anything_is_saved():
    guard = FakeGuard()
    with pytest.raises(UfwError, match="nonsense"):
        ensure(FakeUfw(), ["nonsense"], guard)
    assert guard.log == []


def test_a_change_that_fails_is_put_back():
    ufw, guard = FakeUfw(), FakeGuard()
    ufw.broken = True

    with pytest.raises(UfwError, match="iptables-restore"):
        ensure(ufw, ["limit 22/tcp"], guard)

    assert guard.log == ["save", "restore"]


def test_a_change_that_waits_says_how_to_confirm_it():
    guard = FakeGuard()
    result = ensure(FakeUfw(), ["limit 22/tcp"], guard, confirm={"name": "firewall", "seconds": 60})

    assert guard.log == ["save", "arm 60"]
    assert result["rollback"] == {"confirm": ["confirm"], "restore": ["restore"]}


def test_check_mode_confirms_nothing():
    guard = FakeGuard()
    guard.armed = guard.complete = True
    confirm = {"name": "firewall", "seconds": 300}

    assert "rollback" not in ensure(FakeUfw(), [], guard, check_mode=True, confirm=confirm)
    assert "rollback" in ensure(FakeUfw(), [], guard, confirm=confirm)


def test_an_unfinished_change_is_put_back_first():
    ufw, guard = FakeUfw(), FakeGuard()
    guard.armed = True

    ensure(ufw, ["limit 22/tcp"], guard)

    assert guard.log == ["restore", "save"]


def test_without_ipv6_there_are_no_rules_for_it():
    """ufw drops all of it then; and switched on again, it has the same rules as before."""
    ufw = FakeUfw(rules=["limit 22/tcp"], rules6=["limit 22/tcp"])

    off = ensure(ufw, ["limit 22/tcp"], ipv6=False)
    assert off["rules6"] == []
    assert "IPv6: off" in off["diff"][0]["after"]
    assert not ensure(ufw, ["limit 22/tcp"], ipv6=False)["changed"]

    assert ensure(ufw, ["limit 22/tcp"])["rules6"] == ["limit 22/tcp"]
