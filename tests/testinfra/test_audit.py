# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who changed what is written down by the kernel, and cannot be switched off."""

from __future__ import annotations

import re

import pytest
from machine import CONTAINER, PROBES, python

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
    "kernel_parameters": "the kernel's parameters",
}
# A container has no audit, and auditctl needs long to find out.
RULES = f"{CONTAINER} --quiet && exit 3; auditctl -s; echo; auditctl -l"
LOG = "/var/log/audit/audit.log"
# One harmless deed a family, see probes/deeds.py. What a person does with more rights is recorded as user-emulation,
# whose rule comes first; "privileged" is what root does.
DEEDS = {
    "scope": ("opens", "/etc/sudoers"),
    "user-emulation": ("person", "sudo", "-n", "true"),
    "identity": ("opens", "/etc/passwd"),
    "usermod": ("runs", "usermod", "--help"),
    "privileged": ("runs", "su", "--help"),
    "logins": ("opens", "/var/log/lastlog", "/var/run/faillock"),
    "session": ("opens", "/var/log/wtmp", "/var/run/utmp", "/var/log/btmp"),
    "ssh": ("opens", "/etc/ssh/sshd_config"),
    "time-change": ("asks_the_clock",),
    "system-locale": ("opens", "/etc/hosts"),
    "MAC-policy": ("opens", "/etc/apparmor.d"),
    "mounts": ("runs", "unshare", "--mount", "true"),
    "delete": ("deletes",),
    "access": ("person", "cat", "/etc/shadow"),
    "perm_mod": ("changes_mode",),
    "perm_chng": ("runs", "chcon", "--help"),
    "kernel_modules": ("runs", "kmod", "--version"),
    "kernel_parameters": ("opens", "/etc/sysctl.d"),
}


def deeds(site):
    """Those of all families, and of what this site watches besides."""
    found = [[key, *deed] for key, deed in DEEDS.items()]
    for variable, verb in (("hardening_audit_watches", "opens"), ("hardening_audit_commands", "loads")):
        found += [[key, verb, path] for path, key in site.get(site.box, variable, {}).items()]
    source = (PROBES / "deeds.py").read_text(encoding="utf-8")
    return f"{CONTAINER} --quiet && exit 3\n{python(source, found, LOG)}"


def questions(site):
    log = "systemctl is-active auditd.service; ls -l /var/log/audit 2>/dev/null"
    return {site.box: {"container": CONTAINER, "rules": RULES, "deeds": deeds(site), "log": log}}


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
def test_each_family_of_events_is_written_down(box, site, said, audited, evidence):
    """This suite does a harmless deed of each family, and finds it in the record with the number of who did it and the
    name of the person; and what nobody watches is not found."""
    if box.user == "root":
        pytest.skip("this session is root's own, and what is recorded is what persons do: log in as one of them")
    *found, other = said(site.box, "deeds").json
    evidence("\n".join(f"{key}: {event[:200]}" for key, _number, event in found))
    missing = [f"{key} (pid {number})" for key, number, event in found if not event]
    assert not missing, f"left no trace: {', '.join(missing)}"
    nobody = [key for key, _number, event in found if not re.search(r"\bauid=(?!unset|4294967295)\S+", event)]
    assert not nobody, f"it is not said whose session it was: {', '.join(nobody)}"
    assert not other[2], f"the search finds anything: {other[2]}"


@pytest.mark.control("AUD-1")
def test_the_record_is_kept_for_root(site, said, audited, evidence):
    """auditd runs, and only root reads what it writes."""
    lines = said(site.box, "log").lines
    evidence("\n".join(lines))
    assert lines[:1] == ["active"], "auditd does not run"
    files = [line for line in lines if " audit.log" in line]
    assert files, "there is no record"
    assert not [line for line in files if line[4:10].strip("-") not in ("", "r")], f"others read the record: {files}"
