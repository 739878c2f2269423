# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hardened server lets its administrators in, and nobody else; and no change takes that away."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import testinfra
from lab import paths

SCENARIO = Path(__file__).parents[1]
ADMIN, PORT = "alice", 822


@pytest.fixture(scope="module")
def inside(lab):
    """The machines from inside, whatever became of their sshd."""
    return {name: testinfra.get_host(f"lxc://{paths.instance(lab.name, name)}") for name in lab.machines}


@pytest.fixture(scope="module")
def server(inside):
    return inside["shell"]


@pytest.fixture
def login(lab):
    """Try to log in to the server, never over a connection that is there already."""

    def attempt(command: str, user: str = ADMIN, port: int = PORT, *options: str) -> subprocess.CompletedProcess:
        address = lab.machines["shell"].address
        given = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-o", "ControlPath=none", "-i", str(lab.key)]
        return subprocess.run(["ssh", *options, *given, "-p", str(port), f"{user}@{address}", command],
                              capture_output=True, text=True, timeout=30, check=False)

    return attempt


@pytest.fixture
def converge(lab):
    """Run the scenario's play on the server with other variables."""

    def run(**variables) -> subprocess.CompletedProcess:
        command = ["ansible-playbook", "--inventory", str(lab.directory / "inventory.yml"), "--limit", "servers",
                   "--extra-vars", json.dumps(variables), str(SCENARIO / "converge.yml")]
        plain = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
                              check=False, env={**os.environ, **plain})

    return run


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
    server.check_output("echo alice:alice | chpasswd")
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
def test_sshd_listens_at_its_own_port_only(server):
    """The port that every scanner tries first is closed, in both protocols."""
    listening = server.check_output("ss -Hltn | awk '{print $4}'").split()

    assert {"0.0.0.0:822", "[::]:822"} <= set(listening)
    assert not [address for address in listening if address.endswith(":22")]


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
    """On the host and in every container, from the security archive and nothing else."""
    machine = inside[name]
    said = machine.check_output("unattended-upgrade --dry-run --debug 2>&1")
    allowed = next(line for line in said.splitlines() if line.startswith("Allowed origins are"))

    assert "-security" in allowed
    assert allowed.count("origin=") == 1
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert machine.service(timer).is_enabled
        assert machine.service(timer).is_running
    assert 'APT::Periodic::Unattended-Upgrade "1";' in machine.check_output("apt-config dump")


@pytest.mark.control("NET-7")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_names_are_not_taken_from_whoever_answers(inside, name):
    """The resolver still resolves, but neither asks the local network nor answers it."""
    machine = inside[name]
    assert not machine.check_output("ss -Hlntu sport = :5355 or sport = :5353")
    assert machine.check_output("resolvectl query localhost")


def test_a_container_knows_its_neighbours(inside):
    assert inside["worker"].check_output("getent hosts database").split()[0] == "192.0.2.20"


def test_a_container_gets_no_settings_of_a_host(inside):
    assert not inside["worker"].file("/etc/sysctl.d/99-hardening.conf").exists
    assert not inside["worker"].file("/etc/ssh/sshd_config.d/00-hardening.conf").exists


@pytest.mark.control("REL-1")
@pytest.mark.parametrize(("variables", "why"), [
    ({"hardening_ssh_allow_users": ["nobody"]}, "Permission denied"),
    ({"hardening_ssh_port": 8222}, "Connection refused"),
    ({"hardening_ssh_max_auth_tries": "many"}, "hardening_ssh_max_auth_tries"),
], ids=["allow-list without the administrator", "a port nobody connects to", "not a number"])
def test_a_change_that_locks_out_is_undone(converge, login, server, variables, why):
    """The run fails and says why; the administrator logs in as before, and nothing waits to change it again."""
    before = server.check_output("cat /etc/ssh/sshd_config.d/*")

    failed = converge(**variables)

    assert failed.returncode != 0
    assert why in failed.stdout
    assert login("sudo -n id -u").stdout.strip() == "0"
    assert server.check_output("cat /etc/ssh/sshd_config.d/*") == before
    assert "securebox-rollback" not in server.check_output("systemctl list-timers")


@pytest.mark.control("REL-1")
def test_a_broken_file_of_somebody_else_changes_nothing(converge, login, server):
    """sshd -t judges everything together before sshd is touched."""
    server.check_output("echo Nonsense yes > /etc/ssh/sshd_config.d/zz-other.conf")
    try:
        failed = converge(hardening_ssh_max_sessions=9)
    finally:
        server.check_output("rm /etc/ssh/sshd_config.d/zz-other.conf")

    assert "Bad configuration option: Nonsense" in failed.stdout
    assert "MaxSessions 10" in server.check_output("cat /etc/ssh/sshd_config.d/00-hardening.conf")
    assert login("true").returncode == 0


@pytest.mark.control("REL-1")
def test_the_host_helps_itself_when_ansible_is_gone(server, login, lab):
    """The change also cuts the session it came by: nobody is left to put anything back but the timer on the host."""
    module = {
        "subjects": [{"name": "ssh", "files": [{"path": "/etc/ssh/sshd_config.d/00-hardening.conf",
                                                "content": "Port 9\n", "mode": "0600"}],
                      "apply": [["systemctl", "restart", "ssh.service"], ["pkill", "-f", f"sshd: {ADMIN}"]]}],
        "confirm": {"name": "cut-off", "seconds": 10},
    }
    sent = subprocess.run(
        ["ansible", "shell", "--inventory", str(lab.directory / "inventory.yml"), "--become",
         "-m", "securebox.stack.file_set", "-a", json.dumps(module), "-e", f"ansible_port={PORT} ansible_user={ADMIN}"],
        capture_output=True, text=True, timeout=120, check=False)
    assert sent.returncode != 0
    assert login("true").returncode != 0, "the change was not harmful: this test proves nothing"

    deadline = time.monotonic() + 40
    while login("true").returncode != 0 and time.monotonic() < deadline:
        time.sleep(1)

    assert login("sudo -n id -u").stdout.strip() == "0"
    assert server.file("/").mode == 0o755
    journal = server.check_output("journalctl --unit securebox-rollback-cut-off.service")
    assert "putting the old settings back" in journal
