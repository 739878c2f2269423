# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second factor beside the key, for those who have one. Ansible's own account has none: see the role's checks."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

SECRET = "3132333435363738393031323334353637383930"
# OpenSSH's own tests have a token made of software, which does what a real one does where nobody can touch anything.
TOKEN = r"""
set -eu
mkdir -p /opt/token; cd /opt/token
fetch() { apt-get -qq -o Acquire::Retries=5 "$@" >&2; }
fetch download openssh-tests 2>/dev/null || { fetch update; fetch download openssh-tests; }
dpkg-deb --fsys-tarfile openssh-tests_*.deb | tar -xO ./usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so > token.so
key() { name=$1; shift; ssh-keygen -q -t ed25519-sk -w /opt/token/token.so -N '' -C $name -f $name "$@"; }
key verified -O verify-required
key touched
key untouched -O verify-required -O no-touch-required
cat *.pub
"""


@pytest.fixture(scope="module")
def token(inside):
    """A person's machine, with a token and three keys in it. Their public halves."""
    machine = inside["worker"]
    try:
        yield machine.check_output(TOKEN).splitlines()
    finally:
        machine.run("rm -rf /opt/token")


@pytest.fixture(scope="module")
def carol(converge, server, lab, token):
    """An administrator with a code, and dave, whose keys have to live in a token."""
    key = lab.key.with_suffix(".pub").read_text().strip()
    admins = [{"name": "alice", "keys": [key]},
              {"name": "carol", "keys": [key], "second_factor": "totp", "totp_secret": SECRET},
              {"name": "dave", "keys": [key, *token], "second_factor": "fido2"}]
    done = converge(hardening_admins=admins)
    assert done.returncode == 0, done.stdout
    assert SECRET not in done.stdout
    again = converge(hardening_admins=admins)
    yield server, again, admins
    assert converge().returncode == 0
    server.run("userdel --remove carol; userdel --remove dave; rm -f /etc/security/users.oath")


def log_in(lab, user: str, answer: str, directory) -> subprocess.CompletedProcess:
    """As a person would, who types this answer when asked."""
    helper = directory / "askpass"
    helper.write_text(f"#!/bin/sh\necho {answer}\n")
    helper.chmod(0o700)
    return subprocess.run(
        ["ssh", "-p", "822", "-i", str(lab.key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
         "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "NumberOfPasswordPrompts=1",
         "-o", "ControlPath=none", f"{user}@{lab.machines['shell'].address}", "sudo -n id -u"],
        capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"})


def code(server) -> str:
    """The code of this half minute: computed as RFC 6238 says."""
    import hashlib
    import hmac
    import struct

    digest = hmac.new(bytes.fromhex(SECRET), struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset:offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


@pytest.mark.control("USR-5")
def test_the_key_and_the_code_together_open_a_session(carol, lab, tmp_path):
    """Neither alone does, and a code works once: whoever looked over a shoulder has nothing."""
    server, _, _ = carol
    wrong = log_in(lab, "carol", "000000", tmp_path)
    now = code(server)
    right = log_in(lab, "carol", now, tmp_path)
    again = log_in(lab, "carol", now, tmp_path)

    assert wrong.returncode == 255
    assert right.stdout.strip() == "0", right.stderr
    assert again.returncode == 255


@pytest.mark.control("USR-5")
def test_the_code_alone_opens_nothing(carol, lab, tmp_path):
    """Without the key, sshd does not even ask."""
    assert carol
    refused = subprocess.run(
        ["ssh", "-p", "822", "-o", "PubkeyAuthentication=no", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes",
         "-o", "UserKnownHostsFile=/dev/null", f"carol@{lab.machines['shell'].address}", "true"],
        capture_output=True, text=True, timeout=30, check=False)

    assert "Permission denied (publickey)" in refused.stderr


@pytest.mark.control("USR-5")
def test_who_has_a_token_cannot_use_a_key_in_a_file(carol, lab, tmp_path, login):
    """The key is in dave's list, but a file can be copied and a token cannot."""
    server, _, _ = carol

    assert log_in(lab, "dave", "", tmp_path).returncode == 255
    effective = server.check_output("sshd -T -C user=dave,host=lab,addr=192.0.2.1")
    assert "pubkeyacceptedalgorithms sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com" in effective
    assert login("true").returncode == 0


@pytest.mark.control("USR-5")
def test_the_token_opens_a_session_once_its_owner_was_there(carol, lab, inside):
    """Touched, and with the PIN. A stolen token without the PIN, and one that malware uses unseen, open nothing."""
    assert carol

    def use(key: str):
        return inside["worker"].run(
            "ssh -p 822 -o BatchMode=yes -o SecurityKeyProvider=/opt/token/token.so -o IdentitiesOnly=yes"
            f" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /opt/token/{key}"
            f" dave@{lab.machines['shell'].address} sudo -n id -u")

    opened = use("verified")
    assert opened.stdout.strip() == "0", opened.stderr
    for key in ("touched", "untouched"):
        assert "Permission denied (publickey)" in use(key).stderr, key


@pytest.mark.control("USR-5")
def test_used_codes_are_no_change(carol, converge, lab, tmp_path):
    """pam_oath writes down which code was used last; the role leaves that alone."""
    _, again, admins = carol

    assert "changed=0" in again.stdout
    assert "changed=0" in converge(hardening_admins=admins).stdout


@pytest.mark.control("REL-1")
@pytest.mark.parametrize("name", ["carol", "dave"])
def test_ansible_itself_is_never_asked_for_a_second_factor(carol, converge, name):
    """Nobody could answer: such a run is refused before it changes anything, and says what to do."""
    _, _, admins = carol
    refused = converge(hardening_admins=admins, hardening_login_user=name)

    assert refused.returncode != 0
    assert "Ansible cannot type codes" in refused.stdout


@pytest.mark.control("REL-1")
def test_who_has_to_have_a_token_but_has_none_is_named(carol, converge, lab):
    """The run would shut dave out, and only dave would notice."""
    _, _, admins = carol
    key = lab.key.with_suffix(".pub").read_text().strip()
    refused = converge(hardening_admins=[*admins[:2], {"name": "dave", "keys": [key], "second_factor": "fido2"}])

    assert refused.returncode != 0
    assert "a key in a token only" in refused.stdout
    assert "dave" in refused.stdout
