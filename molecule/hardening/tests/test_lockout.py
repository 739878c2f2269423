# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""No run locks the administrator out: real harmful changes on the running server, each undone.

Every case ends in the same four questions: did the run fail and say why (so the change was harmful, or caught on its
way), does a new login become root, is everything as it was down to modes and left-over files, and does no timer wait.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import pytest
from lab import lxd, paths
from lab.run import kill_all

pytestmark = pytest.mark.control("REL-1")

ADMIN, PORT = "alice", 822
SETTINGS = "/etc/ssh/sshd_config"
SOMEBODY = "/etc/ssh/sshd_config.d/zz-somebody.conf"
BACK = "The old settings are back"
KEPT = "Nothing was kept"
# How long the host waits, where nobody but the host can put anything back. Until its timer fires, the whole change has
# to be made, and the run has to be refused and to fail in putting it back.
SHORT = 25

# What the role itself says about ssh and sudo.
CHECK = [["install", "-d", "-m", "0755", "/run/sshd"], ["/usr/sbin/sshd", "-t"], ["/usr/sbin/visudo", "-c"]]
RESTART = [["systemctl", "daemon-reload"], ["systemctl", "restart", "ssh.service"]]

# All that decides who gets in. Modes, owners and contents; also what a change leaves lying about.
DECIDING = "/etc/ssh /etc/sudoers /etc/sudoers.d /etc/pam.d /etc/security /etc/systemd/system /etc/bash.bashrc " \
    "/etc/passwd /etc/shadow /etc/group $(ls -d /etc/nologin 2>/dev/null)"
LOOK = (f"find {DECIDING} -printf '%p %y %m %u %l\\n' | sort; find {DECIDING} -type f -exec sha256sum {{}} + | sort; "
        "sshd -T")
# The host's script removes both at its very end, after its daemons were restarted.
PENDING = "ls -A /var/lib/securebox/rollback | grep -q . || systemctl list-timers | grep -q securebox-rollback"


def said(run: subprocess.CompletedProcess) -> str:
    """What a person would read: one line, without the escapes of JSON."""
    return " ".join((run.stdout + (run.stderr or "")).replace('\\"', '"').replace("\\n", " ").split())


@pytest.fixture(scope="module")
def command(lab):
    """The command line of one run of the module, as the administrator."""

    def build(files=(), apply=RESTART, seconds=60, **confirm) -> list[str]:
        module = {
            "subjects": [{"name": "harm", "files": list(files), "check": CHECK, "apply": apply}],
            "confirm": {"name": "harm", "seconds": seconds, **confirm},
        }
        return ["ansible", "shell", "--inventory", str(lab.directory / "inventory.yml"), "--become",
                "-m", "securebox.stack.file_set", "-a", json.dumps(module),
                "-e", f"ansible_port={PORT} ansible_user={ADMIN}"]

    return build


@pytest.fixture(scope="module")
def change(command):
    """One run of the module, as the administrator, over a connection that may have been there before."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        return subprocess.run(command(*arguments, **options), capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_NOCOLOR": "true"})

    return run


@pytest.fixture
def altered(server):
    """The server's own settings with one of them replaced, as a file for the module."""

    def build(pattern: str = r"\Z", replacement: str = "", path: str = SETTINGS, mode: str = "0600") -> dict:
        before = server.file(path).content_string
        content = re.sub(pattern, replacement, before, count=1, flags=re.MULTILINE)
        return {"path": path, "content": content, "mode": mode}

    return build


@pytest.fixture
def becomes_root_again(login, server):
    """Where only the host itself can put things back: wait until it has done all of it, and somebody gets in."""

    def wait(seconds: int) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            settled = server.run(f"{PENDING} || echo settled").stdout.strip() == "settled"
            if settled and login("sudo -n id -u").stdout.strip() == "0":
                return True
            time.sleep(0.5)
        return False

    return wait


@pytest.fixture(autouse=True)
def unharmed(server, becomes_root_again):
    """Before and after every case: the administrator gets in, and all that decides it is the same."""
    assert becomes_root_again(60), "locked out, or something still to be put back, before the case began"
    before = server.check_output(LOOK)

    yield

    assert becomes_root_again(60), "locked out, or something is still to be put back"
    assert server.check_output(LOOK) == before
    assert "securebox-rollback" not in server.check_output("systemctl list-timers")
    assert not server.check_output("ls -A /var/lib/securebox/rollback")
    assert server.service("ssh").is_running


@pytest.fixture
def somebody(server):
    """A file of somebody else, there for the time of a case; sshd has not read it yet."""
    written = []

    def write(path: str, content: str, mode: str = "0600") -> None:
        written.append(path)
        server.check_output("printf %%s %s > %s && chmod %s %s", content, path, mode, path)

    yield write
    for path in written:
        server.check_output("rm %s", path)


def refused(run: subprocess.CompletedProcess, *reasons: str) -> None:
    assert run.returncode != 0, "the change was not harmful: this case proves nothing"
    for reason in reasons:
        assert re.search(reason, said(run)), f"{reason!r} is not in: {said(run)[-1500:]}"


# The whole play with variables that somebody could have typed.

@pytest.mark.parametrize(("variables", "why"), [
    ({"hardening_ssh_allow_users": ["nobody"]}, "sshd would refuse alice .* `AllowUsers nobody`"),
    ({"hardening_ssh_port": 8222}, f"at port 822 .*Connection refused.*{BACK}"),
    ({"hardening_ssh_max_auth_tries": "many"}, "hardening_ssh_max_auth_tries"),
    ({"hardening_admins": [{"name": ADMIN, "keys": ["ssh-ed25519 "
      "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody"]}]},
     f"Permission denied .publickey.*{BACK}"),
], ids=["allow-list without the administrator", "a port nobody connects to", "not a number", "another's key"])
def test_a_wrong_variable_is_undone(converge, variables, why):
    refused(converge(**variables), why)


def test_a_password_that_nobody_has_for_sudo_is_undone_by_the_host(converge, becomes_root_again):
    """Ansible gets in, but can neither confirm nor put back: both take root."""
    admins = [{"name": ADMIN, "keys": ["{{ lab_public_key }}"], "sudo_nopasswd": False}]
    refused(converge(hardening_admins=admins, hardening_login_seconds=SHORT), "password",
            f"within {SHORT} seconds")

    assert becomes_root_again(120)


# Settings of sshd that are no good: it says so itself, before it is touched.

@pytest.mark.parametrize(("setting", "why"), [
    ("Ciphers rot13", "Bad SSH2 cipher spec 'rot13'"),
    ("KexAlgorithms handshake", "Bad SSH2 KexAlgorithms 'handshake'|Unsupported KEX algorithm"),
    ("HostKey /etc/ssh/nowhere", "no hostkeys available"),
])
def test_settings_that_sshd_refuses_never_reach_it(change, altered, server, setting, why):
    running = server.check_output("systemctl show --property=MainPID ssh.service")

    refused(change([altered(rf"^{setting.split()[0]} .*\n", f"{setting}\n")]), why, KEPT)

    assert server.check_output("systemctl show --property=MainPID ssh.service") == running


def test_host_keys_are_not_lost(change, server):
    keys = server.check_output("ls /etc/ssh/ssh_host_*_key").split()
    refused(change([{"path": key, "state": "absent"} for key in keys]), "no hostkeys available", KEPT)


def test_host_keys_that_everybody_reads_are_no_host_keys(change, altered, server):
    keys = server.check_output("ls /etc/ssh/ssh_host_*_key").split()
    refused(change([altered(path=key, mode="0644") for key in keys]), "no hostkeys available", KEPT)


def test_a_broken_file_of_somebody_else_is_named(change, altered, somebody):
    """sshd -t judges everything together. Their file stays theirs."""
    somebody(SOMEBODY, "Nonsense yes\n")
    refused(change([altered("^MaxSessions .*", "MaxSessions 9")]), "Bad configuration option: Nonsense", KEPT)


def test_a_broken_sudoers_file_of_somebody_else_is_named(change, altered, somebody):
    somebody("/etc/sudoers.d/zz-somebody", "alice ALL=(ALL NOPASSWD ALL\n", "0440")
    refused(change([altered("^MaxSessions .*", "MaxSessions 9")]), "visudo.*zz-somebody", KEPT)


@pytest.mark.parametrize(("content", "why"), [
    (f"Match User {ADMIN}\n  AuthenticationMethods publickey,password\n", "AuthenticationMethods publickey,password"),
    (f"DenyUsers {ADMIN}\n", f"DenyUsers {ADMIN}"),
    ("Match Address 0.0.0.0/0\n  ForceCommand /usr/bin/menu\n", "ForceCommand /usr/bin/menu"),
], ids=["Match block", "DenyUsers", "forced command"])
def test_a_trap_of_somebody_else_is_not_sprung(change, altered, somebody, server, content, why):
    """It waits for sshd to be restarted: putting our own files back afterwards would be too late."""
    running = server.check_output("systemctl show --property=MainPID ssh.service")
    somebody(SOMEBODY, content)

    refused(change([altered("^MaxSessions .*", "MaxSessions 9")]), f"would refuse alice .*`{re.escape(why)}`", KEPT)

    assert server.check_output("systemctl show --property=MainPID ssh.service") == running


def test_a_port_of_somebody_else_is_named(converge, somebody, server, listening):
    """sshd would listen at both. Without the file, the same run is a success below."""
    somebody(SOMEBODY, "# the old door\nPort 2222\n")
    failed = converge(hardening_ssh_max_sessions=9)

    refused(failed, rf"sshd would listen at another port .*{SOMEBODY}:2:Port 2222", KEPT)

    assert not [line for line in listening(server) if ":2222" in line]


# Settings that sshd likes, and that leave nobody a way in: only a login finds out.

@pytest.mark.parametrize(("pattern", "replacement", "why"), [
    ("^Ciphers .*", "Ciphers 3des-cbc", "no matching cipher"),
    ("^AuthorizedKeysFile .*", "AuthorizedKeysFile /etc/ssh/nowhere/%u", "Permission denied"),
    ("^(AuthenticationMethods|PubkeyAuthentication) .*\n(AuthenticationMethods|PubkeyAuthentication) .*",
     "AuthenticationMethods hostbased\nHostbasedAuthentication yes", "Permission denied"),
    ("^Port .*", "Port 9", "Connection refused"),
], ids=["a cipher of the last century", "keys elsewhere", "hosts instead of keys", "another port"])
def test_settings_that_let_nobody_in_are_undone(change, altered, pattern, replacement, why):
    refused(change([altered(pattern, replacement)]), why, BACK)


def test_an_address_that_the_machine_does_not_have_is_undone(change, altered):
    refused(change([altered("^Port .*", "Port 822\nListenAddress 192.0.2.1")]),
            "Cannot bind any address|Cannot assign requested address", KEPT)


@pytest.mark.parametrize("family", ["both protocols", "one protocol"])
def test_a_port_of_another_program_is_left_to_it(change, altered, server, family):
    """sshd does not start where it gets no address; where it gets one of two, the other program answers."""
    listen = "socket.create_server(('', 8822), family=socket.AF_INET6, dualstack_ipv6=True)" \
        if family == "both protocols" else "socket.create_server(('0.0.0.0', 8822))"
    server.check_output("systemd-run --unit=other-program python3 -c %s",
                        f"import socket, time; s = {listen}; c = s.accept(); c[0].close(); time.sleep(600)"
                        if family == "one protocol" else f"import socket, time; s = {listen}; time.sleep(600)")
    try:
        failed = change([altered("^Port .*", "Port 8822")], port=8822)
    finally:
        server.check_output("systemctl stop other-program")

    refused(failed, "Address already in use", KEPT if family == "both protocols" else BACK)


def test_another_host_key_is_undone(change, altered, tmp_path):
    """Whoever knows the server by its key takes the new one for somebody in between."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    files = [altered(path="/etc/ssh/ssh_host_ed25519_key")]
    files[0]["content"] = (tmp_path / "key").read_text()

    refused(change(files), "HOST IDENTIFICATION HAS CHANGED|Host key verification failed", BACK)


@pytest.mark.parametrize(("path", "pattern", "replacement", "mode", "why"), [
    (f"/etc/ssh/authorized_keys/{ADMIN}", r"\Z", "", "0666", "bad ownership or modes"),
    ("/etc/passwd", f"^({ADMIN}:.*:)[^:]*$", r"\g<1>/usr/sbin/nologin", "0644", "not available"),
    ("/etc/pam.d/sshd", r"\A", "account required pam_deny.so\n", "0644", "PAM|Access denied|Connection closed"),
], ids=["everybody may write the keys", "no shell", "PAM denies"])
def test_what_lies_beside_sshd_is_undone(change, altered, path, pattern, replacement, mode, why):
    """Key, account, PAM and shell decide too, and sshd -t knows nothing of them."""
    refused(change([altered(pattern, replacement, path, mode)]), why, BACK)


def test_rules_of_access_are_undone(change, altered):
    files = [altered(r"\A", "account required pam_access.so\n", "/etc/pam.d/sshd", "0644"),
             altered(r"\A", f"-:{ADMIN}:ALL\n", "/etc/security/access.conf", "0644")]
    refused(change(files), "access denied for user", BACK)


def test_a_closed_machine_opens_again(change):
    refused(change([{"path": "/etc/nologin", "content": "Closed for maintenance.\n"}]), "Closed for maintenance", BACK)


def test_a_login_that_never_ends_is_given_up(change, altered, server, monkeypatch):
    """Somebody's profile waits for something. The run does not wait for ever, and neither does the host."""
    # By itself Ansible would give up sooner, for want of sudo's prompt.
    monkeypatch.setenv("ANSIBLE_TIMEOUT", str(SHORT + 15))
    try:
        refused(change([altered(r"\A", "sleep 300\n", "/etc/bash.bashrc", "0644")], seconds=SHORT),
                f"did not come to an end within {SHORT} seconds")
    finally:
        server.run(f"pkill -x -u {ADMIN} sleep")


@pytest.mark.parametrize(("path", "pattern", "replacement", "mode", "why"), [
    ("/etc/sudoers.d/hardening", f"^{ADMIN} .*", "", "0440", "password"),
    ("/etc/shadow", f"^({ADMIN}:([^:]*:){{6}})[^:]*", r"\g<1>1", "0640", "account has expired"),
    ("/etc/bash.bashrc", r"\A", "exit 0\n", "0644", "ran something else than what it was asked to"),
], ids=["sudo no longer names the administrator", "an account that has expired",
        "a shell that does nothing and calls it success"])
def test_what_the_old_connection_cannot_undo_is_undone_by_the_host(
    change, altered, becomes_root_again, path, pattern, replacement, mode, why
):
    """There sudo or the shell refuses too, so it is left to the timer."""
    refused(change([altered(pattern, replacement, path, mode)], seconds=SHORT),
            why, "put back from here", f"within {SHORT} seconds")

    assert becomes_root_again(120)


# sshd goes away in the middle.

def test_a_masked_sshd_comes_back(change):
    """Stopped, and its unit gone: the change itself cannot start it again."""
    apply = [["systemctl", "stop", "ssh.service"], *RESTART]
    refused(change([{"path": "/etc/systemd/system/ssh.service", "link": "/dev/null"}], apply), "masked", KEPT)


def test_a_killed_sshd_comes_back(change, server):
    """Killed, and systemd is told to leave it so."""
    unit = "/etc/systemd/system/ssh.service"
    content = server.file("/lib/systemd/system/ssh.service").content_string.replace("Restart=on-failure", "Restart=no")
    kill = ("systemctl daemon-reload; systemctl restart ssh; "
            f"test ! -e {unit} || systemctl kill -s KILL --kill-whom=main ssh")
    refused(change([{"path": unit, "content": content}], [["sh", "-c", kill]]), "Connection refused", BACK)


# The disk is full.

@pytest.fixture
def small_disk(server):
    """A file system of its own, with what was there before, and a way to fill it."""
    mounted = []

    def mount(path: str) -> str:
        server.check_output("mkdir -p %s && cp -a %s /run/kept && mount -t tmpfs -o size=1m,mode=0755 none %s"
                            " && cp -a /run/kept/. %s && rm -r /run/kept", path, path, path, path)
        mounted.append(path)
        return f"head -c 2M /dev/zero > {path}/.filler || true"

    yield mount
    for path in mounted:
        server.check_output("umount %s", path)


@pytest.mark.parametrize("path", ["/var/lib/securebox/rollback", "/etc/systemd/system", "/etc/ssh"],
                         ids=["nothing can be saved", "no timer", "nothing can be written"])
def test_a_full_disk_leaves_nothing_half_written(change, altered, server, small_disk, path):
    server.check_output(small_disk(path))
    before = server.check_output(f"{LOOK}; find {path} | sort")

    failed = change([altered("^MaxSessions .*", "MaxSessions 9\n" + "# more than fits\n" * 1000)])

    refused(failed, "No space left on device", KEPT)
    assert server.check_output(f"{LOOK}; find {path} | sort") == before


def test_a_disk_that_fills_up_meanwhile_does_not_keep_the_old_settings_away(change, altered, server, small_disk):
    """Putting back takes no room: the copies are on the same disk, and are renamed."""
    fill = small_disk("/etc/ssh")
    before = server.check_output("ls -A /etc/ssh; cat /etc/ssh/sshd_config")

    refused(change([altered("^Port .*", "Port 9")], [*RESTART, ["sh", "-c", fill]]), "Connection refused", BACK)

    server.check_output("rm /etc/ssh/.filler")
    assert server.check_output("ls -A /etc/ssh; cat /etc/ssh/sshd_config") == before


# Nobody is left to put anything back but the host.

def test_the_host_helps_itself_when_the_session_is_cut(change, login, becomes_root_again):
    """The change also ends the session it came by."""
    cut = ["pkill", "-f", f"sshd: {ADMIN}"]

    lost = change([{"path": SETTINGS, "content": "Port 9\n", "mode": "0600"}], [*RESTART, cut], seconds=SHORT)

    refused(lost, f"the host itself puts the old settings back within {SHORT} seconds")
    assert login("true").returncode != 0, "the change was not harmful: this test proves nothing"
    assert becomes_root_again(120)


def waits(server) -> bool:
    return server.file("/var/lib/securebox/rollback/harm/armed/complete").exists


@pytest.fixture
def abandoned(command, altered, server, login):
    """A harmful change, made to its end, whose run was killed before it could log in."""

    def make(seconds: int) -> None:
        pause = ["sh", "-c", "test ! -e /var/lib/securebox/rollback/harm/armed || sleep 10"]
        with subprocess.Popen(command([altered("^Port .*", "Port 9")], [*RESTART, pause], seconds), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            while not server.run("sshd -T | grep -qx 'port 9' && ss -Hltn sport = :9 | grep -q LISTEN").succeeded:
                assert run.poll() is None, run.stdout.read()
            kill_all(run.pid)
        assert login("true").returncode != 0, "the change was not harmful: this test proves nothing"

    return make


def test_the_host_helps_itself_when_ansible_is_killed(abandoned, server, becomes_root_again):
    abandoned(40)

    assert becomes_root_again(180)
    assert "putting the old settings back" in server.check_output("journalctl --unit securebox-rollback-harm.service")


def test_the_host_helps_itself_after_a_reset(abandoned, login, lab, server, becomes_root_again):
    """The timer is a file: who resets the machine from the provider's panel finds the old settings."""
    abandoned(40)
    lxd.lxc("restart", "--force", paths.instance(lab.name, "shell"))

    assert becomes_root_again(180)
    # A quarter of an hour after a start it compares all files, and fails because of what other tests change meanwhile.
    server.check_output("systemctl stop aidecheck.service")
    assert "putting the old settings back" in server.check_output("journalctl --boot --unit securebox-rollback-harm")


# What was wrong before the run is not the run's to mend.

def test_an_account_that_had_expired_before_is_left_alone(converge, server):
    """The run does not begin, and says what it tried."""
    server.check_output(f"chage -E 1 {ADMIN}; pkill -f '^sshd: {ADMIN}' || true")
    before = server.check_output(LOOK)
    try:
        failed = converge(hardening_ssh_max_sessions=9)
        after = server.check_output(LOOK)
    finally:
        server.check_output(f"chage -E -1 {ADMIN}")

    refused(failed, "No login at .* works", "expired|Connection closed|refuses")
    assert after == before


def test_a_harmless_change_is_kept(converge, change, altered, server):
    """The success that all the failures above are compared with."""
    kept = change([altered("^MaxSessions .*", "MaxSessions 9")])
    assert kept.returncode == 0, said(kept)
    assert '"confirmed": true' in kept.stdout
    assert "maxsessions 9" in server.check_output("sshd -T").splitlines()

    again = converge()
    assert again.returncode == 0, said(again)
    assert "maxsessions 10" in server.check_output("sshd -T").splitlines()
