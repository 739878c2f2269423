# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where everybody may write nothing runs, what is nobody's business nobody reads, and the clock is right."""

from __future__ import annotations

import re

import pytest
from machine import CONTAINER

PLACES = ("/tmp", "/dev/shm")
AS_NOBODY = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
# A program of two lines, put there and called. In /root the same runs.
EXECUTE = (
    "for place in /root " + " ".join(PLACES) + '; do file=$(mktemp "$place/verify.XXXXXX") && '
    'printf \'#!/bin/sh\\necho ran\\n\' > "$file" && chmod 0700 "$file"; '
    'echo "$place: $("$file" 2>&1 | tail -n 1)"; rm -f "$file"; '
    'echo "$place options: $(findmnt --noheadings --output OPTIONS --mountpoint "$place")"; done'
)
PROCESSES = (
    # Some end while they are counted.
    "echo root $(ls -d /proc/[0-9]* 2>/dev/null | wc -l); "
    f"echo nobody $({AS_NOBODY} sh -c 'ls -d /proc/[0-9]* 2>/dev/null | wc -l')"
)
MASK = (
    'env -i PATH="$PATH" HOME=/nonexistent TERM=dumb bash -lc "umask"; '
    'env -i PATH="$PATH" HOME=/nonexistent TERM=dumb bash -ic "umask" 2>/dev/null </dev/null'
)
SECRET = (
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh/sshd_config",
    "/etc/cron.d",
    "/etc/cron.daily",
    "/boot/grub/grub.cfg",
    "/etc/audit/rules.d",
    "/var/log/audit",
    "/var/log/sudo.log",
    "/var/log/syslog",
    "/var/log/auth.log",
    "/root",
)
READ = (
    f'for path in /etc/passwd {" ".join(SECRET)}; do [ ! -e "$path" ] || echo "$path"; done | '
    f"{AS_NOBODY} sh -c 'while read -r path; do "
    'if [ -d "$path" ]; then ls "$path"; else head -c 1 "$path"; fi >/dev/null 2>&1 && echo "read $path" '
    '|| echo "refused $path"; done\''
)
# What says who is who, and who may do what: changed by others than root?
CHANGE = (
    "find /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/sudoers /etc/sudoers.d /etc/ssh /etc/pam.d /etc/crontab "
    "/etc/cron.d /etc/sysctl.d /etc/modprobe.d /etc/systemd/system /usr/local/sbin \\( ! -user root -o -perm /022 \\) "
    "! -type l -print 2>/dev/null; true"
)
CLOCK = (
    "timedatectl show; systemctl is-active systemd-timesyncd.service chrony.service ntpsec.service; "
    "cut -d' ' -f1 /proc/uptime"
)


def questions(site):
    every = {"mask": MASK, "read": READ, "change": CHANGE, "zone": "date '+%z'"}
    box = {**every, "container": CONTAINER, "execute": EXECUTE, "processes": PROCESSES, "clock": CLOCK}
    return {site.box: box, **{host: dict(every) for host in site.containers}}


@pytest.mark.control("SYS-3")
def test_nothing_runs_where_everybody_writes(site, said, evidence, having):
    """A program is put into /tmp and /dev/shm and called: the kernel refuses. In another place the same one runs."""
    having("hardening_filesystem", site.box)
    answers = dict(line.split(": ", 1) for line in said(site.box, "execute").lines if ": " in line)
    evidence(said(site.box, "execute").text)
    assert answers.get("/root") == "ran", f"the program runs nowhere: {answers}"
    for place in PLACES:
        if place == "/tmp" and not site.get(site.box, "hardening_tmp_size", "1G"):
            evidence("/tmp stays where it is: hardening_tmp_size is empty")
            continue
        options = answers.get(f"{place} options", "").split(",")
        hint = " (the role waits for the next start to exchange it)" if place == "/tmp" and options == [""] else ""
        assert answers[place] != "ran", f"a program ran in {place}{hint}"
        assert "Permission denied" in answers[place], f"{place}: {answers[place]}"
        assert {"nosuid", "nodev", "noexec"} <= set(options), f"{place}: {options}"


@pytest.mark.control("SYS-3")
def test_others_processes_are_hidden(site, said, evidence, having, not_applicable):
    """An account without rights sees its own processes only: arguments of others tell names and paths."""
    having("hardening_filesystem", site.box)
    if not site.on(site.box, "hardening_hide_processes"):
        not_applicable("hardening_hide_processes is off")
    seen = {name: int(count) for name, count in (line.split() for line in said(site.box, "processes").lines)}
    evidence(f"root sees {seen['root']} processes, nobody {seen['nobody']}")
    assert seen["root"] > 10, "root sees too few processes for a comparison"
    assert seen["nobody"] < 10, f"everybody sees {seen['nobody']} processes"


@pytest.mark.control("SYS-3")
def test_new_files_are_their_makers(said, evidence, having):
    """Shells of every kind give the others nothing of a file that is made."""
    for host in having("hardening_limits"):
        masks = said(host, "mask").lines
        evidence(f"{host}: umask {', '.join(masks)}")
        assert len(masks) == 2, f"{host}: a shell told nothing"
        assert all(re.fullmatch(r"0?0[2367]7", mask) for mask in masks), f"{host}: others may read new files: {masks}"


@pytest.mark.control("SYS-3")
def test_what_is_nobodys_business_nobody_reads(site, said, evidence, having):
    """An account without rights tries to read passwords, rights, jobs and logs, and cannot; /etc/passwd it can."""
    for host in having("hardening_filesystem"):
        answers = [line.split(" ", 1) for line in said(host, "read").lines]
        read = [path for verb, path in answers if verb == "read"]
        refused = [path for verb, path in answers if verb == "refused"]
        evidence(f"{host}: refused {', '.join(refused)}")
        assert "/etc/passwd" in read, f"{host}: nobody can read anything: {said(host, 'read').text}"
        assert read == ["/etc/passwd"], f"{host}: everybody reads {', '.join(read[1:])}"
        assert "/etc/shadow" in refused, f"{host}: there is no /etc/shadow to be refused"


@pytest.mark.control("SYS-3")
def test_only_root_says_who_may_what(said, evidence, having):
    """The files that name accounts, rights, jobs and services belong to root, and nobody else may write them."""
    for host in having("hardening_filesystem"):
        wrong = said(host, "change").lines
        evidence(f"{host}: {', '.join(wrong) or 'all of them'}")
        assert not wrong, f"{host}: others than root may change {', '.join(wrong[:10])}"


@pytest.mark.control("SYS-3")
def test_all_machines_are_in_one_time_zone(site, said, evidence, having):
    """Logs of several machines are compared by their times."""
    zones = {host: said(host, "zone").text for host in having("hardening_time")}
    evidence(", ".join(f"{host}: {zone}" for host, zone in zones.items()))
    assert len(set(zones.values())) == 1, f"the zones differ: {zones}"


@pytest.mark.control("SYS-3")
def test_the_clock_is_right(site, said, own_kernel, evidence, having):
    """A service compares the clock with servers of time, and says that it agrees with them."""
    having("hardening_time", site.box)
    text = said(site.box, "clock").text
    state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    minutes = float(text.splitlines()[-1]) / 60
    evidence(f"{state.get('TimeUSec')}, zone {state.get('Timezone')}, synchronised: {state.get('NTPSynchronized')}")
    assert state.get("Timezone") == site.get(site.box, "hardening_timezone", "Etc/UTC"), f"zone {state.get('Timezone')}"
    assert "active" in text.splitlines(), "no service compares the clock with a server of time"
    if state.get("NTPSynchronized") != "yes":
        evidence(f"WARNING: not synchronised yet, {minutes:.0f} minutes after the start")
        assert minutes < 60, f"{minutes:.0f} minutes after the start no server of time has answered"
