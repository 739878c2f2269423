# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewall-names: each address of a name is a rule of ufw, and what a name no longer has gets closed."""

from __future__ import annotations

import importlib.util
import json
import shlex
import threading
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "roles/firewall/files/usr/local/sbin/firewall_names.py"
MAIL = {
    "name": "mail.example.org",
    "rule": "route allow in on sbapp out on eth0 to ADDRESS port 587 proto tcp",
    "why": "mail",
    "version": "",
}
HAND = "ufw allow 9100/tcp comment 'by hand'"


@pytest.fixture
def program(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("firewall_names", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CONFIGURATION", tmp_path / "names.json")
    monkeypatch.setattr(module, "SEEN", tmp_path / "state/seen.json")
    return module


class World:
    """DNS, a clock, and an ufw that keeps its rules as `ufw show added` prints them."""

    def __init__(self, program, monkeypatch):
        self.program, self.names, self.now = program, {}, 1_000_000.0
        self.added = [HAND]
        self.calls, self.refused = 0, ()
        monkeypatch.setattr(program, "resolve", lambda name: self.names.get(name, []))
        monkeypatch.setattr(program, "ufw", self.ufw)
        monkeypatch.setattr(program.time, "time", lambda: self.now)

    def describe(self, *rules, keep=3600):
        self.program.CONFIGURATION.write_text(json.dumps({"keep_seconds": keep, "rules": rules}))

    def ufw(self, *words):
        if words == ("show", "added"):
            return "Added user rules:\n" + "".join(f"{line}\n" for line in self.added)
        self.calls += 1
        if "delete" in words:
            rest = [word for word in words if word != "delete"]
            found = [line for line in self.added if shlex.split(line)[1:-2] == rest]
            assert len(found) == 1, f"could not delete a non-existent rule: {words}"
            self.added.remove(found[0])
        elif any(word in self.refused for word in words):
            raise self.program.UfwError("ufw: ERROR: refused")
        else:
            # What differs in its comment only replaces the one that is there.
            self.added = [line for line in self.added if shlex.split(line)[1:-1] != list(words[:-1])]
            self.added.append(f"ufw {shlex.join(words[:-1])} '{words[-1]}'")
        return ""

    def run(self):
        return self.program.main([])

    @property
    def open(self):
        return [line.split(" to ")[1].split()[0] for line in self.added[1:]]


@pytest.fixture
def world(program, monkeypatch):
    return World(program, monkeypatch)


def test_each_address_is_a_rule_with_the_names_reason(world):
    world.describe(MAIL)
    world.names = {"mail.example.org": ["2001:db8::1", "203.0.113.5"]}
    assert world.run() == 0
    assert world.added == [
        HAND,
        "ufw route allow in on sbapp out on eth0 to 2001:db8::1 port 587 proto tcp comment "
        "'by name mail.example.org: mail'",
        "ufw route allow in on sbapp out on eth0 to 203.0.113.5 port 587 proto tcp comment "
        "'by name mail.example.org: mail'",
    ]


def test_what_is_there_is_left_alone(world):
    """Also in another order of words: ufw has an order of its own."""
    world.describe(MAIL)
    world.names = {"mail.example.org": ["203.0.113.5"]}
    world.run()
    world.added[1] = ("ufw route allow in on sbapp out on eth0 to 203.0.113.5 proto tcp port 587 "
                      "comment 'by name mail.example.org: mail'")
    before = world.calls
    world.run()
    assert world.calls == before


def test_a_former_address_is_kept_for_a_while_and_then_closed(world):
    world.describe(MAIL, keep=3600)
    world.names = {"mail.example.org": ["203.0.113.5"]}
    world.run()
    world.names = {"mail.example.org": ["203.0.113.6"]}
    world.now += 3600
    assert world.run() == 0
    assert sorted(world.open) == ["203.0.113.5", "203.0.113.6"]
    world.now += 1
    world.run()
    assert world.open == ["203.0.113.6"]
    assert world.added[0] == HAND


def test_a_name_that_nobody_knows_any_more_is_closed_and_said(world, capsys):
    world.describe(MAIL, keep=3600)
    world.names = {"mail.example.org": ["203.0.113.5"]}
    assert world.run() == 0
    world.names = {}
    world.now += 600
    assert world.run() == 0
    assert "<4>mail.example.org has no address at present: closed in 50 minutes" in capsys.readouterr().err
    world.now += 3600
    assert world.run() == 1
    assert world.open == []
    assert "<3>mail.example.org has no address: it is closed" in capsys.readouterr().err


def test_a_clock_that_was_wrong_keeps_nothing_open(world):
    world.describe(MAIL)
    world.names = {"mail.example.org": ["203.0.113.5"]}
    world.now += 10**9
    world.run()
    world.now -= 10**9
    world.names = {}
    assert world.run() == 1
    assert world.open == []


def test_a_flow_that_is_gone_takes_its_rules_with_it(world):
    world.describe(MAIL, {**MAIL, "name": "b.example.org"})
    world.names = {"mail.example.org": ["203.0.113.5"], "b.example.org": ["203.0.113.6"]}
    world.run()
    world.describe(MAIL)
    world.run()
    assert world.open == ["203.0.113.5"]
    assert set(json.loads(world.program.SEEN.read_text())) == {"mail.example.org"}


def test_a_caller_with_one_address_gets_that_family_only(world):
    world.describe({**MAIL, "version": "4", "rule": "route allow out on eth0 from 10.80.2.10 to ADDRESS port 25"})
    world.names = {"mail.example.org": ["2001:db8::1", "203.0.113.5"]}
    assert world.run() == 0
    assert world.open == ["203.0.113.5"]


def test_who_is_master_of_a_name_does_not_fill_the_firewall(world):
    world.describe(MAIL)
    for day in range(5):
        world.names = {"mail.example.org": [f"203.0.{day}.{number}" for number in range(40)]}
        world.now += 60
        world.run()
    assert len(world.open) == world.program.MOST
    assert sum(address.startswith("203.0.4.") for address in world.open) == 40


def test_status_says_what_is_open_and_changes_nothing(world, capsys):
    world.describe(MAIL, {**MAIL, "name": "b.example.org"})
    world.names = {"mail.example.org": ["203.0.113.5"]}
    world.run()
    calls, world.now = world.calls, world.now + 120
    capsys.readouterr()
    assert world.program.main(["status"]) == 0
    assert capsys.readouterr().out == (
        "mail.example.org:\n  203.0.113.5  seen 2 min ago\nb.example.org: closed, it has no address\n"
    )
    assert world.calls == calls


def test_a_rule_that_ufw_refuses_is_shown(program, monkeypatch, tmp_path):
    fake = tmp_path / "ufw"
    fake.write_text("#!/bin/sh\necho 'ERROR: Bad port' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(program.subprocess, "run", lambda command, run=program.subprocess.run, **options: run(
        [str(fake), *command[1:]], **options))
    with pytest.raises(program.UfwError, match="ufw route allow x: ERROR: Bad port"):
        program.ufw("route", "allow", "x")


def test_a_name_with_a_bad_label_is_a_name_without_address(program):
    assert program.resolve("a" * 70 + ".example.org") == []
    assert program.resolve("127.0.0.1") == ["127.0.0.1"]


def test_two_names_with_one_address_share_a_rule_that_names_both(world):
    """ufw has one comment for a rule: taking turns would write all rules anew every few minutes."""
    world.describe(MAIL, {**MAIL, "name": "smtp.example.org"})
    world.names = {"mail.example.org": ["203.0.113.5"], "smtp.example.org": ["203.0.113.5"]}
    world.run()
    assert len(world.open) == 1
    assert "'by name mail.example.org: mail, smtp.example.org: mail'" in world.added[1]
    calls = world.calls
    world.run()
    assert world.calls == calls
    world.describe(MAIL)
    world.run()
    assert world.added[1].endswith("'by name mail.example.org: mail'")


def test_a_reason_of_several_lines_is_one(world):
    """YAML's folded text ends with a line break, and a rule of two lines could not be read again."""
    world.describe({**MAIL, "why": "mail to\nthe world\n"})
    world.names = {"mail.example.org": ["203.0.113.5"]}
    assert world.run() == world.run() == 0
    assert "by name mail.example.org: mail to the world'" in world.added[1]


def test_a_rule_of_several_lines_can_be_deleted(world):
    world.describe(MAIL)
    world.added.append("ufw route allow out on eth0 to 203.0.113.9 port 25 proto tcp comment 'by name x: a\nb'")
    world.run()
    assert world.added == [HAND]


def test_one_rule_that_ufw_does_not_take_leaves_the_others(world, capsys):
    world.describe(MAIL)
    world.names, world.refused = {"mail.example.org": ["2001:db8::1", "203.0.113.5"]}, ("2001:db8::1",)
    assert world.run() == 1
    assert world.open == ["203.0.113.5"]
    assert "<3>ufw: ERROR: refused" in capsys.readouterr().err


def test_a_kernel_without_ipv6_is_asked_for_no_rule_of_it(world, tmp_path):
    world.program.KERNEL_IPV6 = tmp_path / "ipv6"
    world.describe(MAIL)
    world.names = {"mail.example.org": ["2001:db8::1", "203.0.113.5"]}
    assert world.run() == 0
    assert world.open == ["203.0.113.5"]


def test_what_a_power_failure_left_of_the_memory_is_no_reason_to_stop(world):
    world.describe(MAIL)
    world.names = {"mail.example.org": ["203.0.113.5"]}
    world.run()
    world.program.SEEN.write_text('{"mail.exam')
    assert world.run() == 0
    assert world.open == ["203.0.113.5"]


def test_what_is_too_old_is_closed_although_nobody_answers(world, monkeypatch):
    """Before anybody is asked, and who asks waits a minute at most."""
    world.describe(MAIL, {**MAIL, "name": "b.example.org"}, keep=3600)
    world.names = {"mail.example.org": ["203.0.113.5"], "b.example.org": ["203.0.113.6"]}
    world.run()
    world.now += 4000
    open_then = []

    def silent(name):
        if name == "b.example.org":
            open_then.extend(world.open)
            threading.Event().wait(30)
        return ["203.0.113.5"]

    monkeypatch.setattr(world.program, "resolve", silent)
    monkeypatch.setattr(world.program, "LOOK_UP_SECONDS", 0.3)
    assert world.run() == 1
    assert open_then == []
    assert world.open == ["203.0.113.5"]
