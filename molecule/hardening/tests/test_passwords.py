# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords open consoles and sudo: they are good ones, they are not guessed for long, and none of it stops a key."""

from __future__ import annotations

import pytest

GOOD, OTHER = "Vier-Zebras_grasen7", "Acht~Kamele/dosen3"


@pytest.fixture(scope="module")
def bob(machine):
    """Somebody with a password, who may run one command by sudo: see converge.yml."""
    # What an earlier bob has used is not forgotten with him.
    machine.check_output("touch /etc/security/opasswd; sed -i '/^bob:/d' /etc/security/opasswd;"
                         " useradd --create-home --shell /bin/bash bob")
    machine.check_output(f"echo bob:{GOOD} | chpasswd")
    yield machine
    machine.run("pkill -KILL -u bob; sleep 1; userdel --remove bob; faillock --user bob --reset")


def sudo(machine, password: str, command: str = "/usr/bin/id -u"):
    """What sudo answers bob, who is asked for his password each time. (su would forgive him his failures.)"""
    return machine.run(f"runuser -u bob -- sh -c 'echo {password} | sudo -S -k -p \"\" {command}'")


@pytest.mark.control("USR-3")
@pytest.mark.parametrize(("password", "why"), [
    ("Kurz7_x", "shorter"), ("nurkleinbuchstabenhier", "digits"), ("Aaaa-Bbbb_cccc9999", "same consecutive"),
    ("Password-12345678", "dictionary"),
], ids=["short", "one class", "repeated", "well known"])
def test_a_weak_password_is_refused(bob, password, why):
    """Also to root, who sets the passwords of others. A good one is taken by the same command."""
    refused = bob.run(f"echo bob:{password} | chpasswd")
    taken = bob.run(f"echo bob:{GOOD} | chpasswd")

    assert refused.rc != 0
    assert "BAD PASSWORD" in refused.stderr or why in refused.stderr
    assert taken.rc == 0 or "already used" in taken.stderr


@pytest.mark.control("USR-3")
def test_a_password_is_not_used_again(bob):
    """Who has to change it would change it back."""
    assert bob.run(f"echo bob:{OTHER} | chpasswd").rc == 0
    refused = bob.run(f"echo bob:{GOOD} | chpasswd")

    assert refused.rc != 0
    assert "already used" in refused.stderr
    # The password is still the other one.
    assert sudo(bob, OTHER).stdout.strip() == "0"


@pytest.mark.control("USR-3")
def test_guessing_locks_the_account_out(bob):
    """After four wrong passwords the right one does not help either, until root says so or time has passed."""
    right = OTHER if sudo(bob, OTHER).rc == 0 else GOOD
    assert sudo(bob, right).stdout.strip() == "0"
    for _ in range(4):
        assert sudo(bob, "falsch").rc != 0

    assert sudo(bob, right).rc != 0, "the right password opened an account that is locked out"
    bob.check_output("faillock --user bob --reset")
    assert sudo(bob, right).stdout.strip() == "0"


@pytest.mark.control("USR-3")
def test_new_passwords_grow_old(bob):
    fields = bob.check_output("getent shadow bob").split(":")

    assert fields[3:6] == ["1", "90", "7"], "days: at least, at most, warning"


@pytest.mark.control("USR-2")
def test_sudo_lets_others_run_what_is_named_and_nothing_else(bob):
    """The whole command with its arguments; a rule for /usr/bin/id is none for a shell."""
    right = OTHER if sudo(bob, OTHER).rc == 0 else GOOD

    assert sudo(bob, right).stdout.strip() == "0"
    refused = sudo(bob, right, "/bin/sh -c id")
    assert refused.rc != 0
    assert "not allowed" in refused.stderr


@pytest.mark.control("USR-1")
def test_su_is_for_nobody(bob):
    """There is sudo, which asks who somebody is and writes it down. Root itself may still become others."""
    refused = bob.run(f"su -s /bin/sh bob -c 'echo {GOOD} | su -c id bob'")

    assert refused.rc != 0
    assert "Permission denied" in refused.stderr
    assert bob.run("su -s /bin/sh -c id bob").rc == 0


@pytest.mark.control("USR-3", "REL-1")
def test_an_administrator_without_a_password_never_expires(server, login):
    """A password that is too old closes the door to keys as well, and one that does not exist cannot be changed."""
    server.check_output("chage --lastday 2020-01-01 alice")

    assert login("sudo -n id -u").stdout.strip() == "0"


@pytest.mark.control("USR-3")
def test_an_empty_password_opens_nothing(bob):
    """Neither locally. The account itself works: root becomes it."""
    bob.check_output("passwd --delete bob >/dev/null")
    try:
        assert sudo(bob, "").rc != 0
        assert bob.run("su -s /bin/sh -c id bob").rc == 0
    finally:
        bob.run(f"usermod -p '*' bob; echo bob:{GOOD}{OTHER} | chpasswd")


@pytest.mark.control("USR-1")
def test_no_service_has_a_shell(machine):
    """Accounts that nobody logs in to end at nologin."""
    shells = machine.check_output(
        "awk -F: '$3 > 0 && $3 < 1000 {print $1, $7}' /etc/passwd").splitlines()

    assert shells
    assert not [line for line in shells if not line.endswith(("nologin", "/bin/sync"))]
