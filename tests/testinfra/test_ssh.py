# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who gets in by ssh, how, and with which cryptography: tried from outside, and asked of sshd itself."""

from __future__ import annotations

import re
import shlex

import outside
import pytest

# What is good enough, said here once more: that a machine does what its role wrote proves nothing about the role.
AFTER_QUANTUM = {"mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"}
STRONG = {
    "KEX algorithms": AFTER_QUANTUM
    | {"curve25519-sha256", "curve25519-sha256@libssh.org"}
    | {"diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512"}
    # Not algorithms: what else the two sides know.
    | {"ext-info-s", "kex-strict-s-v00@openssh.com"},
    "host key algorithms": {"ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", "rsa-sha2-512", "rsa-sha2-256"},
    "ciphers": {"chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"}
    | {"aes256-ctr", "aes192-ctr", "aes128-ctr"},
    "MACs": {"hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"},
}
# Broken or nearly so; clients still know them when asked by name.
WEAK = ("KexAlgorithms=diffie-hellman-group14-sha1", "MACs=hmac-sha1", "Ciphers=aes128-cbc")
HOST_KEYS = "sshd -T | sed -n 's/^hostkey //p' | while read -r key; do ssh-keygen -lf \"$key.pub\"; done"


def second_factors(site):
    """The administrators who have to give more than a key: {name: kind}."""
    admins = site.get(site.box, "hardening_admins", [])
    found = {admin["name"]: str(admin.get("second_factor") or "none") for admin in admins}
    return {name: kind for name, kind in found.items() if kind != "none"}


def questions(site):
    settings = "sshd -T -C host=verify,addr=192.0.2.1,user="
    asked = {f"sshd_{number}": settings + shlex.quote(name) for number, name in enumerate(second_factors(site))}
    # Names only: what stands behind them is secret.
    codes = "awk '{print $2}' /etc/security/users.oath; grep -h pam_oath /etc/pam.d/sshd"
    return {site.box: {"sshd": "sshd -T", "host_keys": HOST_KEYS, "codes": codes, "id": "id -u", **asked}}


def settings_of(answer):
    """sshd's settings, by their names."""
    return dict(line.split(None, 1) for line in answer.lines if " " in line)


@pytest.mark.control("SSH-1")
def test_sshd_runs_with_the_promised_settings(site, said, evidence):
    """What sshd itself says it does, not what a file says: a later line may win."""
    settings = settings_of(said(site.box, "sshd"))
    evidence(
        ", ".join(
            f"{name} {settings.get(name)}"
            for name in (
                "port",
                "passwordauthentication",
                "permitrootlogin",
                "authenticationmethods",
                "maxauthtries",
                "logingracetime",
                "x11forwarding",
                "disableforwarding",
            )
        )
    )
    assert settings["port"] == str(site.ssh_port)
    assert settings["passwordauthentication"] == "no"
    # Codes of a second factor are typed that way; then nobody is asked anything before the key.
    codes = "totp" in second_factors(site).values()
    assert settings["kbdinteractiveauthentication"] == ("yes" if codes else "no")
    assert not codes or settings["authenticationmethods"] == "publickey"
    assert settings["permitrootlogin"] == "no"
    assert settings["permitemptypasswords"] == "no"
    assert settings["x11forwarding"] == "no"
    assert int(settings["maxauthtries"]) <= 3
    assert 0 < int(settings["logingracetime"].rstrip("s")) <= 30
    assert settings.get("allowusers") or settings.get("allowgroups"), "every account may try to log in"


def last_line(answer):
    return (answer.errors.splitlines() or [""])[-1]


@pytest.mark.control("SSH-1")
def test_only_keys_open_a_session(site, said, stranger, evidence):
    """A key lets the administrator in, this suite's own session shows that; a password is not even asked for."""
    assert said(site.box, "id").text == "0", "no session with the key: then a refusal would prove nothing"
    words = last_line(stranger)
    evidence(f"without a key: {words}")
    assert stranger.code == 255
    methods = re.search(r"Permission denied \((.*)\)", words)
    assert methods, f"ssh was refused for another reason: {words}"
    assert methods.group(1) == "publickey"


@pytest.mark.control("SSH-1", "USR-1")
def test_root_cannot_log_in(box, evidence):
    """Root is refused even with an administrator's key: who did something has a name."""
    answer = box.attempt(user="root")
    evidence(f"as root: {last_line(answer)}")
    assert answer.code == 255
    assert "Permission denied" in last_line(answer)


@pytest.mark.control("SSH-1")
def test_ssh_answers_at_its_own_port_only(site, front, evidence):
    """22 is closed once ssh has moved, and the new port answers as ssh."""
    # Inside a tunnel, or to some networks only: that this suite logs in shows that it answers there.
    if site.public_ssh:
        own = outside.knock(front.address, front.port(site.ssh_port), site.is_forwarded)
        evidence(f"port {site.ssh_port}: {own}")
        assert own == "open"
    if site.ssh_port != 22 and (port := site.outside_port(22)):
        old = outside.knock(front.address, port, site.is_forwarded)
        evidence(f"port 22: {old}")
        assert old != "open"


def offered(text):
    """What the server's side offers of each kind, as `ssh -vv` writes it down, in the server's order."""
    _before, _mark, server = text.partition("peer server KEXINIT proposal")
    found = {}
    for kind in STRONG:
        lines = re.findall(rf"debug2: {kind}(?: ctos| stoc)?: (\S+)", server)
        found[kind] = list(dict.fromkeys(name for line in lines[:2] for name in line.split(",")))
    return found


@pytest.mark.control("SSH-2")
def test_ssh_offers_nothing_weak(stranger, evidence):
    """Everything that sshd offers to a stranger is on a short list of what is strong."""
    offer = offered(stranger.errors)
    for kind, names in offer.items():
        evidence(f"{kind}: {', '.join(names)}")
    assert all(offer.values()), f"ssh did not say what was offered: {stranger.errors[-300:]}"
    weak = [f"{name} ({kind})" for kind, names in offer.items() for name in names if name not in STRONG[kind]]
    assert not weak, f"sshd offers {', '.join(weak)}"
    # Without it, some of these ciphers let somebody between the two leave out the beginning of a session.
    assert "kex-strict-s-v00@openssh.com" in offer["KEX algorithms"], "no strict key exchange: update openssh-server"


@pytest.mark.control("SSH-2")
def test_what_is_recorded_today_stays_secret(stranger, evidence):
    """The key exchange that sshd offers first withstands a quantum computer too, should somebody have one later."""
    first = (offered(stranger.errors)["KEX algorithms"] or ["nothing"])[0]
    used = re.search(r"debug1: kex: algorithm: (\S+)", stranger.errors)
    evidence(f"first offer: {first}; negotiated with this client: {used.group(1) if used else 'nothing'}")
    assert first in AFTER_QUANTUM, f"sshd offers {first} first"


@pytest.mark.control("SSH-2")
def test_weak_cryptography_is_refused(box, site, said, evidence):
    """A client that knows nothing but broken algorithms gets no session; this suite, with good ones, has one."""
    assert said(site.box, "id").code == 0
    answer = box.attempt(*(part for option in WEAK for part in ("-o", option)))
    words = last_line(answer)
    evidence(f"with {', '.join(WEAK)}: {words or 'let in'}")
    if "command-line" in answer.errors:
        pytest.skip(f"the ssh of this workstation does not know weak algorithms any more: {words}")
    assert answer.code != 0, f"let in with {', '.join(WEAK)}"
    assert "Unable to negotiate" in answer.errors, f"ssh was refused for another reason: {words}"


@pytest.mark.control("SSH-2")
def test_host_keys_are_strong(site, said, evidence):
    """The keys that prove that the box is the box: Ed25519, or RSA of 3072 bits at least."""
    lines = said(site.box, "host_keys").lines
    evidence("\n".join(lines))
    assert lines, "sshd tells of no host key"
    for line in lines:
        bits, kind = int(line.split()[0]), line.split()[-1].strip("()")
        assert kind == "ED25519" or (kind == "RSA" and bits >= 3072), f"a weak host key: {line}"


@pytest.mark.control("SYS-3")
def test_who_comes_is_told_what_this_is(site, said, stranger, evidence, not_applicable):
    """Before any login, sshd says that access is restricted, and does not say which system this is."""
    banner = str(site.get(site.box, "hardening_banner", ""))
    if not banner.strip():
        not_applicable("hardening_banner is empty")
    name = re.search(r"remote software version (.*)", stranger.errors)
    evidence(f"{banner.strip()}\nsshd calls itself: {name.group(1).strip() if name else '?'}")
    missing = [line for line in banner.strip().splitlines() if line.strip() not in stranger.errors]
    assert not missing, f"not said before the login: {missing}"
    assert name and not re.search(r"debian|ubuntu", name.group(1), re.I), "sshd tells strangers which system this is"


@pytest.mark.control("USR-5")
def test_a_key_alone_is_not_enough(site, said, evidence, not_applicable):
    """sshd asks those who have a second factor for it, whatever key they have. Who has none is named."""
    factors = second_factors(site)
    if not factors:
        not_applicable("nobody in hardening_admins has a second_factor")
    admins = [admin["name"] for admin in site.get(site.box, "hardening_admins", [])]
    for number, (name, kind) in enumerate(factors.items()):
        settings = settings_of(said(site.box, f"sshd_{number}"))
        methods = settings.get("authenticationmethods", "any")
        keys = settings.get("pubkeyacceptedalgorithms", "").split(",")
        options = settings.get("pubkeyauthoptions", "none")
        if kind == "totp":
            codes = said(site.box, "codes").lines
            evidence(f"{name}: a key, then a code ({methods})")
            assert methods.startswith("publickey,keyboard-interactive"), f"{name} gets in with {methods}"
            assert any("pam_oath" in line for line in codes), "nothing asks for the code (/etc/pam.d/sshd)"
            assert name in codes, f"{name} has no secret on the box that codes could be compared with"
        else:
            evidence(f"{name}: a key in hardware that asks for a PIN or a finger ({', '.join(keys)}; {options})")
            assert keys and all(key.startswith("sk-") for key in keys), f"{name} gets in with a key in a file: {keys}"
            assert "verify-required" in options, f"whoever holds {name}'s key needs no PIN"
    alone = [name for name in admins if name not in factors]
    evidence(f"with a key alone: {', '.join(alone) or 'nobody'}")
