# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Updates, accounts and ssh, on the box and in the containers."""

from __future__ import annotations

import re
import subprocess
import time

import outside
import pytest

# How long the firewall remembers new connections of an address.
LIMIT_SECONDS = 31
UPDATES = "apt-config dump"
TIMERS = "systemctl is-active apt-daily.timer apt-daily-upgrade.timer; dpkg-query -W -f '${Status}' unattended-upgrades"
LISTENERS = "ss -lntuHp"
# A program that dies of a signal, in a directory of its own: does it leave its memory there?
CRASH = (
    "d=$(mktemp -d) && cd \"$d\" && (ulimit -c unlimited; sh -c 'kill -SEGV $$'; true) >/dev/null 2>&1; sleep 0.5; "
    'ls -A "$d"; cd / && rm -rf "$d"; '
    "test ! -d /var/lib/systemd/coredump || find /var/lib/systemd/coredump -type f -mmin -1"
)


def questions(site):
    every = {"updates": UPDATES, "timers": TIMERS, "listeners": LISTENERS, "crash": CRASH}
    admins = [admin["name"] for admin in site.get(site.box, "hardening_admins", [])]
    box = {
        **every,
        "sshd": "sshd -T",
        "swap": "swapon --show=NAME --noheadings; for a in $(swapon --show=NAME --noheadings); do "
        'lsblk -nso TYPE "$a"; done',
        "root": "passwd -S root",
        "uid0": "awk -F: '$3 == 0 {print $1}' /etc/passwd",
        "locked": "awk -F: 'NR == FNR {if ($2 !~ /^[!*]/) open[$1]; next} ($1 in open)' /etc/shadow /etc/passwd",
        "sudo": " ".join(f"sudo -l -U {name};" for name in admins),
        "client": 'echo "$SSH_CONNECTION"',
    }
    return {site.box: box, **{host: dict(every) for host in site.containers}}


@pytest.mark.control("UPD-1")
def test_security_updates_install_themselves_everywhere(site, said, evidence):
    """The host and every container install security updates on a timer: a machine that nobody updates is the way in."""
    for host in [site.box, *site.containers]:
        text = said(host, "updates").text
        timers = said(host, "timers").text
        evidence(f"{host}: {' '.join(timers.split())}")
        assert re.search(r'^APT::Periodic::Unattended-Upgrade "[1-9]', text, re.M), (
            f"{host}: unattended upgrades are off"
        )
        assert re.search(r'^APT::Periodic::Update-Package-Lists "[1-9]', text, re.M), f"{host}: package lists get old"
        assert timers.split()[:2] == ["active", "active"], f"{host}: the timers do not run: {timers}"
        assert "install ok installed" in timers, f"{host}: unattended-upgrades is not installed"
        origins = [line for line in text.splitlines() if "Origins" in line and re.search(r"security", line, re.I)]
        assert origins, f"{host}: security updates are not among the origins"


@pytest.mark.control("UPD-1")
def test_the_result_of_updates_is_mailed(site, said, evidence, not_applicable):
    """Somebody hears of an update that did not work."""
    if not site.get(site.box, "hardening_updates_mail"):
        not_applicable("hardening_updates_mail is empty")
    for host in [site.box, *site.containers]:
        found = re.search(r'^Unattended-Upgrade::Mail "(.+)";', said(host, "updates").text, re.M)
        assert found, f"{host} mails nobody"
        evidence(f"{host}: to {found.group(1)}")


@pytest.mark.control("SSH-1")
def test_sshd_runs_with_the_promised_settings(site, said, evidence):
    """What sshd itself says it does, not what a file says: a later line may win."""
    settings = dict(line.split(None, 1) for line in said(site.box, "sshd").lines if " " in line)
    evidence(
        ", ".join(
            f"{name} {settings.get(name)}"
            for name in (
                "port",
                "passwordauthentication",
                "permitrootlogin",
                "maxauthtries",
                "logingracetime",
                "x11forwarding",
            )
        )
    )
    assert settings["port"] == str(site.ssh_port)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitrootlogin"] == "no"
    assert settings["permitemptypasswords"] == "no"
    assert settings["x11forwarding"] == "no"
    assert int(settings["maxauthtries"]) <= 3
    assert 0 < int(settings["logingracetime"].rstrip("s")) <= 30
    assert settings.get("allowusers") or settings.get("allowgroups"), "every account may try to log in"


def refusal(box, *options, **more):
    """How ssh refuses a login of its own. The limit on new connections (NET-2) may come before; then it waits."""
    for _attempt in range(2):
        done = subprocess.run(
            [*box.ssh(*options, shared=False, **more), "true"], capture_output=True, text=True, timeout=60, check=False
        )
        said = (done.stderr.strip().splitlines() or [""])[-1]
        if done.returncode == 0 or "Permission denied" in said:
            break
        time.sleep(LIMIT_SECONDS)
    return done.returncode, said


@pytest.mark.control("SSH-1")
def test_only_keys_open_a_session(box, site, said, evidence):
    """A key lets the administrator in, this suite's own session shows that; a password is not even asked for."""
    assert said(site.box, "root").code == 0, "no session with the key: then a refusal would prove nothing"
    without_key = ("PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive")
    code, words = refusal(box, *(part for option in without_key for part in ("-o", option)))
    evidence(f"without a key: {words}")
    assert code == 255
    methods = re.search(r"Permission denied \((.*)\)", words)
    assert methods, f"ssh was refused for another reason: {words}"
    assert methods.group(1) == "publickey"


@pytest.mark.control("SSH-1", "USR-1")
def test_root_cannot_log_in(box, evidence):
    """Root is refused even with an administrator's key: who did something has a name."""
    code, words = refusal(box, user="root")
    evidence(f"as root: {words}")
    assert code == 255
    assert "Permission denied" in words


@pytest.mark.control("SSH-1")
def test_ssh_answers_at_its_own_port_only(site, front, evidence):
    """22 is closed once ssh has moved, and the new port answers as ssh."""
    own = outside.knock(front.address, front.port(site.ssh_port), site.is_forwarded)
    evidence(f"port {site.ssh_port}: {own}")
    assert own == "open"
    if site.ssh_port != 22 and (port := site.outside_port(22)):
        old = outside.knock(front.address, port, site.is_forwarded)
        evidence(f"port 22: {old}")
        assert old != "open"


@pytest.mark.control("USR-1")
def test_root_is_the_only_superuser_and_locked(site, said, evidence):
    """Nobody knows a password of root, and no second account is root by another name."""
    evidence(said(site.box, "root").text)
    assert said(site.box, "root").text.split()[1] in ("L", "LK"), "root has a password"
    assert said(site.box, "uid0").lines == ["root"]


@pytest.mark.control("USR-1")
def test_administrators_have_names_and_sudo(site, said, evidence):
    """Each administrator of the inventory is an account of the box, and may do what root may."""
    admins = [admin["name"] for admin in site.get(site.box, "hardening_admins", [])]
    text = said(site.box, "sudo").text
    for name in admins:
        assert f"User {name} may run the following commands" in text, f"{name} has no sudo: {text}"
    evidence(f"may use sudo: {', '.join(admins)}")


@pytest.mark.control("USR-1")
def test_no_other_account_has_a_password(site, said, evidence):
    """Delivered and service accounts are locked."""
    admins = {admin["name"] for admin in site.get(site.box, "hardening_admins", [])}
    others = [line.split(":")[0] for line in said(site.box, "locked").lines]
    evidence(f"accounts with a password: {', '.join(others) or 'none'}")
    assert set(others) <= admins


@pytest.mark.control("ENC-5")
def test_swap_cannot_take_a_key_to_the_disk(site, said, evidence):
    """There is no swap, or it is encrypted."""
    answer = said(site.box, "swap")
    evidence(answer.text or "no swap")
    if answer.lines:
        assert "crypt" in answer.text.split(), f"swap in clear: {answer.text}"


@pytest.mark.control("ENC-5")
def test_a_crash_leaves_no_memory_behind(site, said, evidence):
    """A program is made to crash on every machine, and no core file appears."""
    for host in [site.box, *site.containers]:
        left = said(host, "crash").text
        evidence(f"{host}: {left or 'nothing left'}")
        assert not left, f"{host}: a core dump was written: {left}"


def local(address: str) -> bool:
    # 0.0.0.0%br0 is bound to one interface: so LXD's own DHCP listens on its bridge.
    return address.startswith(("127.", "[::1]", "::1", "[fe80:", "fe80:")) or "%" in address


@pytest.mark.control("NET-7")
def test_services_listen_where_they_are_needed(site, said, evidence):
    """A service that listens on every address is one firewall mistake away from the world."""
    wanted = {site.box: {("tcp", site.ssh_port)}}
    # The proxy is for everybody, at the one address that its container has.
    wanted.update({host: {("tcp", 80), ("tcp", 443)} for host in site.groups.get("proxy", [])})
    for host in [site.box, *site.containers]:
        everywhere = []
        for line in said(host, "listeners").lines:
            words = line.split()
            address, _colon, port = words[4].rpartition(":")
            # 68 and 546 are the DHCP client's: answers to its own questions.
            if local(address) or (words[0] == "udp" and port in ("68", "546")):
                continue
            if address in ("0.0.0.0", "*", "[::]", "::") and (words[0], int(port)) not in wanted.get(host, set()):
                everywhere.append(" ".join([words[0], words[4], *words[6:]]))
        evidence(f"{host}: {'; '.join(everywhere) or 'nothing that is not meant for everybody'}")
        assert not everywhere, f"{host} listens on every address: {everywhere}"
