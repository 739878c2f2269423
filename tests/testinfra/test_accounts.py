# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose accounts there are, what they may do, and that administrators always have a way in."""

from __future__ import annotations

import json
import re
import shlex

import pytest

# Whoever is in one of these is root by another name.
POWERFUL = ("sudo", "wheel", "admin", "lxd", "docker", "disk", "shadow")
# Accounts of services that need a shell, and why.
SHELLS = {
    "sync": "its shell writes buffers to the disk, and nothing else",
    "postgres": "PostgreSQL's own account, by which it is administered from inside its container",
}
# One line a session's beginning: a login shell as everybody gets one, and another that is none.
SHELL = (
    'env -i PATH="$PATH" HOME=/nonexistent TERM=dumb bash -lc '
    "'echo login $TMOUT; (TMOUT=0 && echo switched off); OTHER=1 && echo other assigned' 2>&1; "
    "env -i PATH=\"$PATH\" HOME=/nonexistent TERM=dumb bash -ic 'echo other $TMOUT' 2>/dev/null </dev/null"
)


def rules(site):
    """What others than administrators may do by sudo, for accounts; groups cannot be asked about."""
    return [rule for rule in site.get(site.box, "hardening_sudo_rules", []) if not rule["who"].startswith("%")]


def questions(site):
    every = {
        "shells": "getent passwd | awk -F: '$3 > 0 && $3 < 1000 && $7 !~ /\\/(nologin|false)$/ {print $1, $7}'",
        "running": "ps -eo user:32= | sort | uniq -c | sort -rn",
        "shell": SHELL,
    }
    admins = [admin["name"] for admin in site.get(site.box, "hardening_admins", [])]
    ways = "; ".join(
        f"ssh-keygen -lf /etc/ssh/authorized_keys/{shlex.quote(name)}; "
        f"stat -c '%U %a' /etc/ssh/authorized_keys/{shlex.quote(name)}"
        for name in admins
    )
    box = {
        **every,
        "root": "passwd -S root",
        "uid0": "awk -F: '$3 == 0 {print $1}' /etc/passwd",
        "locked": "awk -F: 'NR == FNR {if ($2 !~ /^[!*]/) open[$1]; next} ($1 in open)' /etc/shadow /etc/passwd",
        "sudo": " ".join(f"sudo -l -U {shlex.quote(name)};" for name in admins),
        "members": f"getent group {' '.join(POWERFUL)}; true",
        # sudo's own parser, over all files that it includes.
        "sudoers": "cvtsudoers -e -f json /etc/sudoers",
        "ways": ways or "true",
        "sshd": "sshd -T | grep -E '^(allow|deny)(users|groups) |^clientalive'",
        "closed": "ls /run/nologin /etc/nologin 2>/dev/null; "
        "systemctl list-units --plain --no-legend 'securebox-rollback-*.timer'",
        "ages": f'for name in {shlex.join(admins)}; do chage -li "$name" | sed "s/^/$name: /"; done',
    }
    for number, rule in enumerate(rules(site)):
        who = shlex.quote(rule["who"])
        named = shlex.join(rule["commands"][0].split())
        box[f"rule_{number}"] = f"sudo -l -U {who} {named}; echo $?; sudo -l -U {who} /bin/sh; echo $?"
    return {site.box: box, **{host: dict(every) for host in site.containers}}


def administrators(site):
    return {admin["name"] for admin in site.get(site.box, "hardening_admins", [])}


@pytest.mark.control("USR-1")
def test_root_is_the_only_superuser_and_locked(site, said, evidence):
    """Nobody knows a password of root, and no second account is root by another name."""
    evidence(said(site.box, "root").text)
    assert said(site.box, "root").text.split()[1] in ("L", "LK"), "root has a password"
    assert said(site.box, "uid0").lines == ["root"]


@pytest.mark.control("USR-1")
def test_administrators_have_names_and_sudo(site, said, evidence):
    """Each administrator of the inventory is an account of the box, and may do what root may."""
    text = said(site.box, "sudo").text
    for name in administrators(site):
        assert f"User {name} may run the following commands" in text, f"{name} has no sudo: {text}"
    evidence(f"may use sudo: {', '.join(sorted(administrators(site)))}")


@pytest.mark.control("USR-1")
def test_nobody_else_is_an_administrator(site, said, evidence):
    """Only administrators are in the groups that make somebody root: that of sudo, but also that of LXD."""
    groups = {}
    for line in said(site.box, "members").lines:
        name, _password, _number, members = line.split(":")
        groups[name] = {member for member in members.split(",") if member}
    assert groups.get("sudo"), "nobody is in the group sudo: then nothing would be proved"
    evidence("; ".join(f"{name}: {', '.join(sorted(members)) or 'nobody'}" for name, members in groups.items()))
    others = {f"{member} ({name})" for name, members in groups.items() for member in members - administrators(site)}
    assert not others, f"not in hardening_admins, but as powerful: {', '.join(sorted(others))}"


@pytest.mark.control("USR-1")
def test_no_other_account_has_a_password(site, said, evidence):
    """Delivered and service accounts are locked."""
    others = [line.split(":")[0] for line in said(site.box, "locked").lines]
    evidence(f"accounts with a password: {', '.join(others) or 'none'}")
    assert set(others) <= administrators(site)


@pytest.mark.control("USR-2")
def test_services_have_accounts_without_a_shell(site, said, evidence):
    """Who breaks into a service has its account, and nobody logs in with it; exceptions are named, with the reason."""
    for host in site.machines:
        running = [line.split() for line in said(host, "running").lines]
        assert ["root"] in [words[1:] for words in running], f"{host}: ps tells nothing that can be believed"
        evidence(f"{host}: processes of {', '.join(f'{name} ({count})' for count, name in running)}")
        wrong = []
        for name, shell in (line.split() for line in said(host, "shells").lines):
            if name in SHELLS and (name != "postgres" or host in site.groups.get("db", [])):
                evidence(f"{host}: {name} has {shell}: {SHELLS[name]}")
            else:
                wrong.append(f"{name} has {shell}")
        assert not wrong, f"{host}: {', '.join(wrong)}"


def specifications(text):
    """(who, commands) of each rule of sudo, from its own JSON."""
    for rule in json.loads(text).get("User_Specs", []):
        who = {str(value) for user in rule["User_List"] for value in user.values()}
        commands = [
            f"{'not ' if command.get('negated') else ''}{command.get('command', command)}"
            for part in rule["Cmnd_Specs"]
            for command in part["Commands"]
        ]
        yield who, commands


@pytest.mark.control("USR-2")
def test_sudo_names_single_commands_to_others(site, said, evidence):
    """Administrators may do everything, under their names; all others only what is named, with its whole path."""
    found = list(specifications(said(site.box, "sudoers").text))
    admins = administrators(site) | {"root", "sudo"}
    assert any(who <= admins and "ALL" in commands for who, commands in found), "sudo tells nothing to be believed"
    wrong = []
    for who, commands in found:
        if not who <= admins:
            evidence(f"{', '.join(sorted(who))} may {'; '.join(commands)}")
            wrong += [f"{', '.join(sorted(who))} may {name}" for name in commands if not name.startswith(("/", "not "))]
    evidence(f"everything: {', '.join(sorted({name for who, _commands in found if who <= admins for name in who}))}")
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("USR-2")
def test_sudo_lets_others_run_what_is_named_and_nothing_else(site, said, evidence, not_applicable):
    """sudo itself is asked for each of them: the named command yes, a shell no."""
    if not rules(site):
        not_applicable("hardening_sudo_rules gives nobody else a command")
    for number, rule in enumerate(rules(site)):
        lines = said(site.box, f"rule_{number}").lines
        evidence(f"{rule['who']}: {' / '.join(lines)}")
        if any("unknown user" in line for line in lines):
            evidence(f"{rule['who']}: there is no such account, so the rule gives nothing to anybody")
            continue
        codes = [line for line in lines if line in ("0", "1")]
        assert codes == ["0", "1"], f"{rule['who']}: the named command, then a shell: {lines}"


@pytest.mark.control("USR-4")
def test_idle_sessions_end(site, said, evidence, having, not_applicable):
    """A shell that nobody sits at ends after 15 minutes, and cannot be told otherwise; other variables can be set."""
    if not int(site.get(site.box, "hardening_idle_seconds", 900)):
        not_applicable("hardening_idle_seconds is 0")
    for host in having("hardening_limits"):
        lines = said(host, "shell").lines
        evidence(f"{host}: {'; '.join(lines)}")
        # The first line of a login shell, the last of another one.
        for kind in ("login", "other"):
            seconds = re.findall(rf"^{kind} (\d+)$", said(host, "shell").text, re.M)
            assert seconds, f"{host}: {'a login shell' if kind == 'login' else 'a shell'} stays open for ever"
            assert 0 < int(seconds[0]) <= 900, f"{host}: a shell stays open for {seconds[0]} s"
        assert any("TMOUT: readonly" in line for line in lines), f"{host}: whoever wants can switch it off"
        assert "switched off" not in lines, f"{host}: whoever wants can switch it off"
        assert "other assigned" in lines, f"{host}: no variable can be set, so a refusal proves nothing"
    alive = " ".join(line for line in said(site.box, "sshd").lines if line.startswith("clientalive"))
    evidence(f"{site.box}: a dead line is noticed by sshd ({alive})")


@pytest.mark.control("REL-1")
def test_every_administrator_has_a_way_in(site, said, evidence):
    """Each is let in by sshd, has a key where sshd looks for it, and an account that does not end; the suite got in."""
    settings = dict(line.split(None, 1) for line in said(site.box, "sshd").lines)
    allowed = settings.get("allowusers", "").split()
    ways = said(site.box, "ways").text
    for name in sorted(administrators(site)):
        assert not allowed or name in allowed, f"sshd lets {', '.join(allowed)} in, and not {name}"
        ages = [line for line in said(site.box, "ages").lines if line.startswith(f"{name}: ")]
        expires = [line for line in ages if "Account expires" in line]
        assert expires, f"there is no age of {name}'s account: {said(site.box, 'ages').text}"
        assert "never" in expires[0], f"{name}'s account ends: {expires[0]}"
    count = len([line for line in ways.splitlines() if line.endswith(")")])
    assert "No such file" not in ways, f"an administrator has no key: {ways}"
    assert count >= len(administrators(site)), f"an administrator has no key: {ways}"
    owners = {line for line in ways.splitlines() if not line.endswith(")")}
    assert all(line.startswith("root ") for line in owners), f"somebody else can add keys: {owners}"
    evidence(f"{', '.join(sorted(administrators(site)))}: {count} keys, accounts without an end")
    assert not said(site.box, "closed").text, f"logins are or will be closed: {said(site.box, 'closed').text}"
    evidence("no change waits to be confirmed or undone")
