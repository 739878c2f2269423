# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who changed what is written down by the kernel, and cannot be switched off."""

from __future__ import annotations

import re

import pytest
from machine import CONTAINER

# The families of events that have to be recorded, by the keys of their rules.
KEYS = {
    "scope": "who may become root",
    "user-emulation": "what people do as somebody else",
    "identity": "accounts and groups",
    "usermod": "changes of accounts",
    "privileged": "commands with more rights than their caller",
    "logins": "logins",
    "session": "sessions",
    "ssh": "who gets in",
    "time-change": "the time",
    "system-locale": "names and addresses of the network",
    "MAC-policy": "AppArmor's profiles",
    "mounts": "mounts",
    "delete": "deleted files",
    "access": "refused access to files",
    "perm_mod": "rights of files",
    "perm_chng": "access lists of files",
    "kernel_modules": "the kernel's modules",
}
# A container has no audit, and auditctl needs long to find out.
RULES = f"{CONTAINER} --quiet && exit 3; auditctl -s; echo; auditctl -l"
# A watched command that only says how it is used. Its number is known before it starts, and found in the record; the
# same search with a key that no rule has, and for a command that no rule names, finds nothing.
EVENT = (
    CONTAINER
    + r""" --quiet && exit 3
watched=$(sh -c 'echo $$; exec usermod --help' 2>&1 | head -n 1)
other=$(sh -c 'echo $$; exec true')
record() { tail -qc 3000000 /var/log/audit/audit.log.1 /var/log/audit/audit.log 2>/dev/null; }
search() { record | ausearch -k "$1" -p "$2" -ts recent 2>&1 | sed 's/^node=[^ ]* //'; }
for try in 1 2 3 4 5 6; do search usermod "$watched" | grep -q '^type=SYSCALL' && break; sleep 0.5; done
echo "watched $(search usermod "$watched" | grep -m 1 '^type=SYSCALL' || echo nothing)"
echo "unknown key $(search no-such-key "$watched" | grep -m 1 '^type=SYSCALL' || echo nothing)"
echo "other command $(search usermod "$other" | grep -m 1 '^type=SYSCALL' || echo nothing)"
"""
)


def questions(site):
    log = "systemctl is-active auditd.service; ls -l /var/log/audit 2>/dev/null"
    return {site.box: {"container": CONTAINER, "rules": RULES, "event": EVENT, "log": log}}


@pytest.fixture
def audited(site, own_kernel, having):
    having("hardening_audit", site.box)


@pytest.mark.control("AUD-1")
def test_the_kernel_has_the_rules(site, said, audited, evidence):
    """The kernel's own list has a rule of every family, and (if so wanted) does not let it be changed any more."""
    status, _empty, rules = said(site.box, "rules").text.partition("\n\n")
    state = dict(line.split(None, 1) for line in status.splitlines() if " " in line)
    found = [line for line in rules.splitlines() if line.startswith("-")]
    keys = re.findall(r"(?:-k |-F key=)(\S+)", rules)
    evidence(
        f"enabled {state.get('enabled')} (2: the rules cannot be changed before the next start), {len(found)} rules, "
        f"{state.get('lost')} events lost, {state.get('backlog')} waiting"
    )
    wanted = dict(KEYS)
    for name in ("hardening_audit_watches", "hardening_audit_commands"):
        wanted.update({key: path for path, key in site.get(site.box, name, {}).items()})
    evidence("; ".join(f"{key}: {keys.count(key)} ({what})" for key, what in wanted.items()))
    assert found, f"the kernel has no rules: {said(site.box, 'rules').text[:300]}"
    missing = [f"{key} ({what})" for key, what in wanted.items() if key not in keys]
    assert not missing, f"not recorded: {', '.join(missing)}"
    immutable = site.on(site.box, "hardening_audit_immutable")
    assert state.get("enabled") in (("2",) if immutable else ("1", "2")), (
        f"audit is not {'immutable' if immutable else 'enabled'} (enabled {state.get('enabled')}); "
        f"restart the machine if the rules have changed"
    )
    assert state.get("pid", "0") != "0", "nobody writes the events down: auditd does not run"


@pytest.mark.control("AUD-1")
def test_a_watched_command_is_written_down(box, site, said, audited, evidence):
    """This suite runs a watched command, and finds it in the record with the name of the person; and what nobody
    watches is not found."""
    if box.user == "root":
        pytest.skip("this session is root's own, and what is recorded is what persons do: log in as one of them")
    answers = {}
    for line in said(site.box, "event").lines:
        what, _type, event = line.partition(" type=")
        answers[what.removesuffix(" nothing")] = event
    evidence(answers.get("watched") or said(site.box, "event").text)
    assert answers.get("watched"), f"a watched command left no trace: {said(site.box, 'event').text}"
    assert re.search(r"\bauid=(?!unset|4294967295)\S+", answers["watched"]), "it is not said whose session it was"
    for name in ("unknown key", "other command"):
        assert not answers.get(name), f"the search finds anything, also with an {name}: {answers[name]}"


@pytest.mark.control("AUD-1")
def test_the_record_is_kept_for_root(site, said, audited, evidence):
    """auditd runs, and only root reads what it writes."""
    lines = said(site.box, "log").lines
    evidence("\n".join(lines))
    assert lines[:1] == ["active"], "auditd does not run"
    files = [line for line in lines if " audit.log" in line]
    assert files, "there is no record"
    assert not [line for line in files if line[4:10].strip("-") not in ("", "r")], f"others read the record: {files}"
