# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened server lets its administrators in, and nobody else."""

from __future__ import annotations

import pytest

ADMIN, PORT = "alice", 822


@pytest.mark.control("SSH-1", "USR-1")
def test_an_administrator_gets_in_with_a_key_and_becomes_root(login):
    """The success that all refusals below are compared with."""
    assert login("sudo -n id -u").stdout.strip() == "0"


@pytest.mark.control("SSH-1")
def test_root_is_refused(login):
    """Root has no name: what it did, nobody did."""
    refused = login("true", "root")

    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    assert login("true").returncode == 0


@pytest.mark.control("SSH-1")
def test_passwords_are_not_even_asked_for(login, server):
    """A password that can be guessed will be. Alice has one here, and still it opens nothing."""
    server.check_output("echo alice:Drei-Gnus_wandern5 | chpasswd")
    try:
        refused = login("true", ADMIN, PORT, "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
    finally:
        server.check_output("passwd --lock alice")

    assert "Permission denied (publickey)" in refused.stderr
    assert login("true").returncode == 0


@pytest.mark.control("SSH-1")
def test_a_key_in_the_home_directory_opens_nothing(login, server):
    """A session that was taken over cannot leave a door open behind it."""
    server.check_output("install -d -o alice /home/alice/.ssh && mv /etc/ssh/authorized_keys/alice /root/kept"
                        " && cp /root/kept /home/alice/.ssh/authorized_keys && chown alice /home/alice/.ssh/*")
    try:
        refused = login("true")
    finally:
        server.check_output("mv /root/kept /etc/ssh/authorized_keys/alice")

    assert "Permission denied" in refused.stderr
    assert login("true").returncode == 0


@pytest.mark.control("SSH-1")
def test_sshd_listens_at_its_own_port_only(server, listening):
    """The port that every scanner tries first is closed, in both protocols."""
    addresses = [line.split()[3] for line in listening(server)]

    assert {"0.0.0.0:822", "[::]:822"} <= set(addresses)
    assert not [address for address in addresses if address.endswith(":22")]


@pytest.mark.control("SSH-1")
@pytest.mark.parametrize("setting", [
    "passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no", "permitemptypasswords no",
    "maxauthtries 3", "maxsessions 10", "logingracetime 30", "x11forwarding no", "allowtcpforwarding no",
    "allowusers alice",
])
def test_sshd_itself_says_so(server, setting):
    """The effective configuration, not the file: somebody else's file may come first."""
    assert setting in server.check_output("sshd -T").splitlines()


@pytest.mark.control("USR-1")
def test_nobody_logs_in_with_roots_password(server):
    assert server.check_output("passwd --status root").split()[1] == "L"


@pytest.mark.control("SYS-1")
@pytest.mark.parametrize(("name", "value"), [
    ("net.ipv4.conf.all.rp_filter", 1), ("net.ipv4.conf.all.accept_redirects", 0),
    ("net.ipv4.conf.all.accept_source_route", 0), ("net.ipv4.conf.all.send_redirects", 0),
    ("net.ipv4.tcp_syncookies", 1), ("net.ipv6.conf.all.accept_redirects", 0),
])
def test_the_kernel_has_the_parameters(server, name, value):
    """Those that a container may set; the others are proved on the real kernel of the demo."""
    assert server.sysctl(name) == value


@pytest.mark.control("SYS-3")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_no_core_dumps_and_private_files(inside, name):
    assert inside[name].check_output("su -s /bin/bash -l nobody -c 'ulimit -c; umask'").split() == ["0", "0027"]


@pytest.mark.control("UPD-1")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_security_updates_install_by_themselves(inside, name):
    """On the host and in every container, of the release's own archives from the one for security only."""
    machine = inside[name]
    said = machine.check_output("unattended-upgrade --dry-run --debug 2>&1")
    allowed = next(line for line in said.splitlines() if line.startswith("Allowed origins are"))

    assert "-security" in allowed
    assert allowed.count("origin=Debian,") == 1
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert machine.service(timer).is_enabled
        assert machine.service(timer).is_running
    assert 'APT::Periodic::Unattended-Upgrade "1";' in machine.check_output("apt-config dump")


@pytest.mark.control("NET-7")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_names_are_not_taken_from_whoever_answers(inside, name, listening):
    """The resolver still resolves, but neither asks the local network nor answers it."""
    machine = inside[name]
    addresses = [line.split()[3] for options in ("-Hltn", "-Hlun") for line in listening(machine, options)]

    assert not [address for address in addresses if address.endswith((":5355", ":5353"))]
    assert machine.check_output("resolvectl query localhost")


def test_a_container_knows_its_neighbours(inside):
    assert inside["worker"].check_output("getent hosts database").split()[0] == "192.0.2.20"


def test_a_container_gets_no_settings_of_a_host(inside):
    assert not inside["worker"].file("/etc/modprobe.d/hardening.conf").exists
    assert not inside["worker"].file("/etc/ssh/sshd_config.before-hardening").exists
