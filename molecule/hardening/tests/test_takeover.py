# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that others had in hand before end like any other: our settings, ssh alive, and nothing left to change.

They are converged with all the rest; what they were before is in files/takeover*, and prepare.yml brought it there.
"""

from __future__ import annotations

import re

import pytest
import testinfra

ADMIN, PORT = "alice", 822
TAKEN = {
    "takeover1": "a whole sshd_config that includes nothing",
    "takeover2": "a port, groups and a private umask of another role",
    "takeover3": "a provider's image with its own account",
}
# Settings that give way when they come second, and those that add up with others of their name.
OURS = [
    "permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication no", "pubkeyauthentication yes",
    "authenticationmethods publickey", "maxsessions 10", "logingracetime 30", "maxauthtries 3",
    "authorizedkeysfile /etc/ssh/authorized_keys/%u",
]


@pytest.fixture(params=list(TAKEN), ids=list(TAKEN.values()))
def name(request) -> str:
    return request.param


@pytest.fixture
def taken(inside, name) -> testinfra.host.Host:
    return inside[name]


@pytest.mark.control("REL-1", "SSH-1")
def test_the_administrator_gets_in_and_becomes_root(login, name):
    """Also through what is left of the others: their PAM, their sudoers, their umask."""
    assert login("sudo -n id -u", machine=name).stdout.strip() == "0"


@pytest.mark.control("SSH-1")
def test_the_settings_in_force_are_ours(taken):
    """The effective ones: what others wrote comes second or is gone."""
    effective = taken.check_output(f"sshd -T -C user={ADMIN},host=client,addr=192.0.2.1").splitlines()

    assert not set(OURS) - set(effective)
    assert [line for line in effective if line.startswith(("port ", "allowusers ", "allowgroups ", "denyusers "))] == [
        f"port {PORT}", f"allowusers {ADMIN}"]
    assert re.search("^ciphers chacha20-poly1305@openssh.com,aes256", "\n".join(effective), re.MULTILINE)


@pytest.mark.control("SSH-1")
def test_the_doors_of_the_others_are_closed(taken, login, name, listening):
    """Neither their port nor their accounts open anything, with or without a password."""
    addresses = [line.split()[3] for line in listening(taken)]
    assert {"0.0.0.0:822", "[::]:822"} <= set(addresses)
    assert not [address for address in addresses if address.endswith((":22", ":2222"))]

    for user in ("root", "keeper", "debian"):
        assert "Permission denied (publickey)" in login("true", user, machine=name).stderr
    password = ["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password"]
    assert "Permission denied (publickey)" in login("true", ADMIN, PORT, *password, machine=name).stderr
    assert login("true", machine=name).returncode == 0


@pytest.mark.parametrize(("name", "path", "word"), [
    ("takeover1", "/etc/sysctl.d/99-sysctl.conf", "ip_forward"),
    ("takeover1", "/etc/pam.d/common-auth", "pam_faillock"),
    ("takeover2", "/etc/pam.d/common-account", "pam_faillock"),
    ("takeover2", "/etc/sudoers.d/011_use_pty", "use_pty"),
    ("takeover3", "/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes"),
    ("takeover3", "/root/.ssh/authorized_keys", "Please login as the user"),
])
def test_what_is_not_ours_is_still_there(inside, name, path, word):
    """So the servers were what they are said to have been, and nobody's work was thrown away."""
    assert word in inside[name].file(path).content_string


def test_systemd_still_listens_where_it_did(inside):
    """The socket of a cloud image moves to our port with all the rest."""
    assert inside["takeover3"].service("ssh.socket").is_running


def test_files_are_read_by_the_daemons_that_need_them(taken):
    """A private umask of others hides nothing: sshd reads keys as their owner, and resolved is not root either."""
    for path in ("/etc/ssh/authorized_keys", "/etc/systemd/resolved.conf.d", "/etc/systemd/timesyncd.conf.d"):
        assert taken.file(path).mode == 0o755


@pytest.mark.control("REL-1")
def test_a_second_run_finds_nothing_to_do(converge):
    """And the first login of each run goes by the inventory's way, not by the others'."""
    again = converge("settled")

    assert again.returncode == 0, again.stdout[-2000:]
    for name in TAKEN:
        assert re.search(rf"^{name} .* changed=0 .* failed=0", again.stdout, re.MULTILINE), again.stdout[-2000:]


@pytest.mark.control("REL-1")
def test_nothing_waits_to_undo_it(taken):
    assert "securebox-rollback" not in taken.check_output("systemctl list-timers")
