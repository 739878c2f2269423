# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords open consoles and sudo: only good ones, not after many guesses, and not for ever.

PAM is asked, with the machine's own modules, settings and order of them. Only the step that compares a password with
/etc/shadow, or writes it there, is replaced by a yes or a no, and guesses are counted in a directory of the suite's
own: so everything is tried, and no account changes.
"""

from __future__ import annotations

import json
import re

import pytest
from machine import python

# Everybody's favourites: too short, of one kind, with a word that everybody knows.
WEAK = {"Ku7_x": "short", "nurkleinbuchstabenhier": "lower-case letters only", "Password-12345678": "well known"}
GOOD = "Vier-Zebras_grasen7~Acht+Kamele/dosen3=Neun%Igel|rudern5"

PAM = r"""
import ctypes, os, re, shutil, tempfile
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p
lib, libc = ctypes.CDLL("libpam.so.0"), ctypes.CDLL(None)
libc.calloc.restype = libc.strdup.restype = c_void_p
class Message(ctypes.Structure): _fields_ = [("style", c_int), ("text", c_char_p)]
class Response(ctypes.Structure): _fields_ = [("text", c_void_p), ("code", c_int)]
TALK = ctypes.CFUNCTYPE(c_int, c_int, POINTER(POINTER(Message)), POINTER(POINTER(Response)), c_void_p)
DELAY = ctypes.CFUNCTYPE(None, c_int, ctypes.c_uint, c_void_p)
class Conversation(ctypes.Structure): _fields_ = [("talk", TALK), ("data", c_void_p)]
# Wrong passwords are answered late. That is right, and would take long here.
at_once = DELAY(lambda *_: None)
KEPT = ("pam_faillock.so", "pam_pwquality.so", "pam_cracklib.so", "pam_deny.so", "pam_permit.so")
def service(kind, right, tally):
    # The machine's own lines; what would look at a password or keep it says `right` instead.
    lines = []
    for line in open("/etc/pam.d/common-" + kind):
        found = re.match(r"-?(\w+)\s+(\[[^\]]*\]|\w+)\s+(\S+)(.*)", line.split("#")[0].strip())
        if not found: continue
        group, control, module, more = found.groups()
        if module.rsplit("/", 1)[-1] not in KEPT:
            judges = "pam_unix" in module or "success=" in control or control == "sufficient"
            module, more = ("pam_permit.so" if right or not judges else "pam_deny.so"), ""
        if "pam_faillock" in module: more = re.sub(r"\sdir=\S+", "", more) + " dir=" + tally
        lines.append(" ".join([group, control, module, more]))
    return "\n".join(lines) + "\n"
def ask(kind, right=True, password="", tally=""):
    said = []
    def talk(count, messages, responses, _data):
        array = ctypes.cast(libc.calloc(count, ctypes.sizeof(Response)), POINTER(Response))
        for number in range(count):
            message = messages[number].contents
            if message.style in (1, 2): array[number].text = libc.strdup(password.encode())
            else: said.append((message.text or b"").decode(errors="replace"))
        responses[0] = array
        return 0
    conversation, handle = Conversation(TALK(talk), None), c_void_p()
    place = os.path.join(work, "pam")
    with open(os.path.join(place, "securebox-verify"), "w") as stream: stream.write(service(kind, right, tally))
    code = lib.pam_start_confdir(b"securebox-verify", b"nobody", byref(conversation), place.encode(), byref(handle))
    if code == 0:
        lib.pam_set_item(handle, 10, at_once)
        code = (lib.pam_authenticate if kind == "auth" else lib.pam_chauthtok)(handle, 0)
    lib.pam_end(handle, code)
    return {"code": code, "said": said[:1]}
os.umask(0o077)
work = tempfile.mkdtemp(prefix="securebox-verify-")
try:
    os.mkdir(os.path.join(work, "pam"))
    with open(os.path.join(work, "pam", "other"), "w") as stream:
        stream.write("".join(group + " required pam_deny.so\n" for group in ("auth", "account", "password", "session")))
    weak, good, tries = GIVEN
    found = {"weak": {word: ask("password", password=word) for word in weak}, "good": ask("password", password=good)}
    guesses = {}
    for count in sorted({0, tries - 1, tries}):
        tally = os.path.join(work, str(count)); os.mkdir(tally)
        wrong = [ask("auth", right=False, password="x", tally=tally)["code"] for _ in range(count)]
        guesses[count] = {"wrong": wrong, "right": ask("auth", password="x", tally=tally)["code"]}
    print(json.dumps({**found, "guesses": guesses}))
finally:
    shutil.rmtree(work)
"""


def tries(site):
    return int(site.get(site.box, "hardening_lockout_tries", 4))


def questions(site):
    every = {
        "ages": "passwd --status --all",
        "stack": "grep -hE 'pam_(unix|faillock|pwquality|pwhistory)\\.so' "
        "/etc/pam.d/common-auth /etc/pam.d/common-account /etc/pam.d/common-password",
    }
    box = {
        **every,
        "pam": python(PAM, list(WEAK), GOOD, tries(site)),
        "faillock": "grep -E '^[[:space:]]*(deny|unlock_time|even_deny_root)' /etc/security/faillock.conf",
    }
    return {site.box: box, **{host: dict(every) for host in site.containers}}


@pytest.fixture
def pam(site, said):
    # A library may complain before the last line.
    *complaints, last = said(site.box, "pam").lines or [""]
    assert last.startswith("{"), f"PAM could not be asked: {' '.join(complaints)[-400:]} {last}"
    return json.loads(last)


@pytest.mark.control("USR-3")
def test_weak_passwords_are_refused(site, pam, evidence, having):
    """PAM takes a good password, and refuses three that somebody would guess; nothing is written down of either."""
    having("hardening_passwords", site.box)
    for word, why in WEAK.items():
        answer = pam["weak"][word]
        evidence(f"{why}: {'refused' if answer['code'] else 'TAKEN'} {' '.join(answer['said'])}")
    evidence(f"a good one: {'refused ' + ' '.join(pam['good']['said']) if pam['good']['code'] else 'taken'}")
    assert pam["good"]["code"] == 0, f"a good password was refused: {pam['good']['said']}"
    taken = [why for word, why in WEAK.items() if pam["weak"][word]["code"] == 0]
    assert not taken, f"taken, although {', '.join(taken)}"


@pytest.mark.control("USR-3")
def test_guessing_locks_an_account_out(site, said, pam, evidence, having):
    """One guess before the limit, the right password still opens; after it, it does not, for a quarter of an hour."""
    having("hardening_passwords", site.box)
    limit, guesses = tries(site), pam["guesses"]
    for count, result in guesses.items():
        evidence(f"{count} wrong passwords, then the right one: {'refused' if result['right'] else 'let in'}")
        assert all(result["wrong"]), "a wrong password was right"
    assert guesses["0"]["right"] == 0, "the right password opens nothing: then nothing is proved"
    assert guesses[str(limit - 1)]["right"] == 0, f"locked out before {limit} wrong passwords"
    assert guesses[str(limit)]["right"] != 0, f"after {limit} guesses, one may go on guessing"
    assert limit <= 5, f"{limit} guesses are too many"
    settings = dict(re.findall(r"(deny|unlock_time)\s*=\s*(\d+)", said(site.box, "faillock").text))
    evidence(f"/etc/security/faillock.conf: {settings}")
    seconds = int(settings.get("unlock_time", 600))
    assert seconds >= 900 or seconds == 0, f"locked out for {seconds} s only"


@pytest.mark.control("USR-3")
def test_pam_asks_for_it_on_every_machine(site, said, evidence, having):
    """The order of PAM's modules: guesses are counted before and after the password; new ones are judged, then kept."""
    for host in having("hardening_passwords"):
        lines = [re.sub(r"\s+", " ", line) for line in said(host, "stack").lines]
        evidence(f"{host}:\n  " + "\n  ".join(lines))
        wanted = (
            r"^auth required pam_faillock\.so.* preauth",
            r"^auth .*pam_unix\.so",
            r"^auth .*pam_faillock\.so.* authfail",
            r"^account .*pam_faillock\.so",
            r"^password (requisite|required) pam_pwquality\.so",
            r"^password (requisite|required) pam_pwhistory\.so",
            r"^password .*pam_unix\.so.*use_authtok",
        )
        places = [next((n for n, line in enumerate(lines) if re.search(one, line)), None) for one in wanted]
        missing = [one for one, place in zip(wanted, places, strict=True) if place is None]
        assert not missing, f"{host}: PAM has no {', '.join(missing)}"
        assert places[0] < places[1] < places[2], f"{host}: guesses are not counted: {lines}"
        assert places[4] < places[6] and places[5] < places[6], f"{host}: a new password is kept unseen: {lines}"
        assert not any("nullok" in line for line in lines), f"{host}: an empty password opens an account"


@pytest.mark.control("USR-3")
def test_passwords_grow_old_and_keys_do_not(site, said, evidence, having):
    """A password has to be changed in time. An administrator who has none never has to: an old password closes the
    door to keys as well."""
    for host in having("hardening_passwords"):
        states = {words[0]: words for words in (line.split() for line in said(host, "ages").lines)}
        assert "root" in states, f"{host}: {said(host, 'ages').text}"
        empty = [name for name, words in states.items() if words[1] == "NP"]
        assert not empty, f"{host}: an empty password: {', '.join(empty)}"
        limit = int(site.get(host, "hardening_password_max_days", 90))
        aged = {name: int(words[4]) for name, words in states.items() if words[1] == "P"}
        for name, days in aged.items():
            evidence(f"{host}: {name}'s password is good for {days} days")
            assert 0 < days <= min(limit, 365), f"{host}: {name}'s password is good for {days} days"
        evidence(f"{host}: {len(states) - len(aged)} accounts without a password")
    for admin in [admin["name"] for admin in site.get(site.box, "hardening_admins", [])]:
        words = {words[0]: words for words in (line.split() for line in said(site.box, "ages").lines)}[admin]
        if words[1] != "P":
            evidence(f"{site.box}: {admin} has keys only, which have no end")
            assert int(words[4]) in (-1, 99999), f"{admin} has no password, and has to change it in {words[4]} days"
