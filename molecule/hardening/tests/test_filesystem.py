# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everybody may write, nothing runs; what is nobody's business, nobody reads."""

from __future__ import annotations

import pytest


@pytest.mark.control("SYS-3")
@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_nothing_is_executed_where_everybody_writes(machine, place):
    """What an intruder can drop there, he cannot start. The same file runs elsewhere."""
    machine.check_output(f"printf '#!/bin/sh\\necho ran\\n' | tee {place}/probe /root/probe >/dev/null"
                         f" && chmod 0755 {place}/probe /root/probe")
    try:
        assert machine.check_output("sh -c '/root/probe; exit'") == "ran"
        assert "Permission denied" in machine.run(f"sh -c '{place}/probe; true'").stderr
    finally:
        machine.run(f"rm -f {place}/probe /root/probe")


@pytest.mark.control("SYS-3")
def test_packages_still_ask_their_questions(machine):
    """debconf runs packages' scripts; they may not be where nothing runs."""
    place = machine.check_output("apt-config shell place APT::ExtractTemplates::TempDir/d").split("'")[1]
    options = machine.check_output(f"findmnt --noheadings --output OPTIONS --target {place}")

    assert machine.file(place).is_directory
    assert "noexec" not in options


@pytest.mark.control("SYS-3")
def test_others_processes_are_hidden(machine):
    """Their arguments tell names, paths and sometimes worse. Administrators see all."""
    everything = int(machine.check_output("ls -d /proc/[0-9]* | wc -l"))
    seen = int(machine.check_output("su -s /bin/sh nobody -c 'ls -d /proc/[0-9]* 2>/dev/null | wc -l'"))
    administrator = int(machine.check_output("su -s /bin/sh alice -c 'ls -d /proc/[0-9]* 2>/dev/null | wc -l'"))

    assert seen < 10 < everything
    assert administrator > 10


@pytest.mark.control("SYS-3")
@pytest.mark.parametrize("path", ["/etc/cron.d", "/etc/ssh/sshd_config", "/var/log/sudo.log", "/home/alice",
                                  "/etc/sudoers.d", "/etc/audit/rules.d/50-hardening.rules"])
def test_what_is_nobodys_business_nobody_reads(machine, path):
    assert machine.run(f"su -s /bin/sh nobody -c 'ls {path}/ 2>/dev/null || cat {path}'").rc != 0
    assert machine.run(f"test -e {path}").rc == 0


@pytest.mark.control("SYS-3", "LOG-1")
def test_a_log_that_was_rotated_is_still_nobodys_business(server):
    """dpkg's own file says that everybody reads it."""
    state = 'logrotate state -- version 2\n"/var/log/dpkg.log" 2020-1-1-0:0:0\n'
    server.check_output("printf %%s %s > /var/lib/logrotate/status", state)
    server.check_output("echo line >> /var/log/dpkg.log; rm -f /var/log/dpkg.log.1")

    server.check_output("systemctl start logrotate.service")

    assert server.file("/var/log/dpkg.log.1").exists, "nothing was rotated: this test proves nothing"
    assert server.file("/var/log/dpkg.log").mode == 0o640


@pytest.mark.control("SYS-3")
def test_jobs_of_their_own_time_are_roots(machine):
    """A job is a door that opens itself."""
    assert machine.run("su -s /bin/sh alice -c 'crontab -l'").rc != 0
    assert "not allowed" in machine.run("su -s /bin/sh alice -c 'crontab -l'").stderr
    assert "no crontab" in machine.run("crontab -l").stderr


@pytest.mark.control("SYS-3")
def test_a_crashed_process_leaves_no_core(machine):
    """It would hold passwords and patients. Whoever crashes cannot raise the limit either."""
    machine.check_output("install -d -o nobody /var/tmp/crash")
    crash = "cd /var/tmp/crash && python3 -c 'import os; os.abort()'"
    try:
        crashed = machine.run(f"su -s /bin/bash -l nobody -c \"{crash}\"")
        raised = machine.run("su -s /bin/bash -l nobody -c 'ulimit -c unlimited'")

        assert crashed.rc != 0
        assert machine.check_output("ls /var/tmp/crash") == ""
        assert raised.rc != 0
    finally:
        machine.run("rm -r /var/tmp/crash")


@pytest.mark.control("USR-4")
def test_a_shell_that_nobody_sits_at_is_logged_off(machine):
    """Seen with three seconds in the place of fifteen minutes; the shell that is busy stays."""
    assert "TMOUT=900" in machine.check_output("grep -o 'TMOUT=900' /etc/profile.d/hardening.sh | head -n 1")
    machine.check_output("sed 's/TMOUT=900/TMOUT=3/' /etc/profile.d/hardening.sh > /root/short.sh")
    shell = "script --quiet --command 'bash --norc -i' /dev/null"
    try:
        idle = machine.run(f"(echo . /root/short.sh; sleep 20) | timeout 15 {shell}")
        refused = machine.run("bash -lc 'TMOUT=0; echo stayed'")
    finally:
        machine.run("rm /root/short.sh")

    assert "timed out waiting for input: auto-logout" in idle.stdout
    assert "readonly" in refused.stderr


@pytest.mark.control("SYS-3")
def test_what_somebody_keeps_in_tmp_is_not_lost(inside, converge, few):
    """Where files lie in it already, it changes at the next start, and not under somebody's hands."""
    machine = inside["takeover3"]
    # (Whatever a timer may be doing in it just now.)
    machine.check_output("umount --lazy /tmp; systemctl stop tmp.mount; rm /usr/local/lib/systemd/system/tmp.mount;"
                         " systemctl daemon-reload; echo precious > /tmp/somebodys")

    done = converge("takeover3", **few)

    assert done.returncode == 0, done.stdout[-3000:]
    assert machine.file("/tmp/somebodys").content_string == "precious\n"
    # A service with a /tmp of its own asks for the unit, which waits.
    machine.check_output("systemctl restart systemd-resolved")
    assert machine.run("mountpoint -q /tmp").rc != 0
