# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first run on a server as it was delivered: who cannot confirm it finds the server as it was, and may try again.

The tests stand in the order of a bad day: a wrong port, a notebook that is closed, and then the run that works.
"""

from __future__ import annotations

import re
import time

import pytest
from lab.run import kill_all

pytestmark = pytest.mark.control("REL-1")

MACHINE = "bare"
# A port at which nobody is; another one that takes calls and says nothing.
NOBODY, SILENT = 9999, 9998
# From before the first file until all is made, and from then on again.
SECONDS = 60

# The administrators' accounts are made before the first setting is written, and stay.
PLACES = "/etc /usr/local /usr/share/pam-configs /var/lib/pam"
NOT = r"-not -regex '/etc/\(passwd\|shadow\|group\|gshadow\|subuid\|subgid\)-?'"
SAME = {
    "files": f"find {PLACES} -xdev {NOT} -printf '%p %y %m %u:%g %l\\n' | sort;"
             f" find {PLACES} -xdev -type f {NOT} -exec sha256sum {{}} + | sort -k 2",
    "sshd": "sshd -T",
    "ports": "ss -Hltn | awk '{print $4}' | sort -u",
    "kernel": "sysctl -a 2>/dev/null | grep -E '^net.ipv[46].(conf|ip_forward|tcp_sy)'",
    "mounts": "findmnt --noheadings --raw --output TARGET,OPTIONS"
              " | grep -E '^/(proc|dev/shm) ' | sed 's/,gid=[0-9]*//'",
    "rollback": "find /var/lib/securebox/rollback /run/securebox -type f 2>/dev/null;"
                " systemctl list-units --all --no-legend --plain 'securebox-rollback*'",
}
RUNNING = "systemctl list-units --type=service,socket,timer --state=active --no-legend --plain | awk '{print $1}'"
FAILED = "systemctl --failed --no-legend --plain | awk '{print $1}'"


@pytest.fixture(scope="module")
def bare(inside):
    return inside[MACHINE]


@pytest.fixture(scope="module")
def as_delivered(bare, login):
    """Notes how the server was before anybody touched it, and compares."""
    before = {name: bare.check_output(look).splitlines() for name, look in SAME.items()}
    running, failed = (set(bare.check_output(look).split()) for look in (RUNNING, FAILED))

    def compare() -> None:
        assert login("id -u", "root", 22, machine=MACHINE).stdout.strip() == "0"
        for name, look in SAME.items():
            # Daemons that were restarted a moment ago may not listen yet; `ss` says nothing where it was interrupted.
            for _ in range(20):
                different = set(before[name]) ^ set(bare.check_output(look).splitlines())
                if not different:
                    break
                time.sleep(0.5)
            assert different == set(), name
        assert running <= set(bare.check_output(RUNNING).split())
        assert set(bare.check_output(FAILED).split()) <= failed

    return compare


def test_a_first_run_that_nobody_confirms_leaves_the_server_as_it_was(converge, as_delivered):
    """Settings, daemons, kernel and PAM; also what commands made on the way, and directories."""
    failed = converge(MACHINE, lab_servers=MACHINE, hardening_login_port=NOBODY)

    said = " ".join(failed.stdout.replace("\\n", " ").split())
    assert failed.returncode != 0
    assert re.search(f"at port {NOBODY} .*Connection refused.*The old settings are back", said), said[-3000:]
    as_delivered()


@pytest.fixture
def silent_port(bare):
    """Whoever confirms there waits, and can be killed meanwhile."""
    bare.check_output("systemd-run --quiet --unit=silent nc -lk %s", str(SILENT))
    yield SILENT
    bare.run("systemctl stop silent")


def test_a_first_run_whose_ansible_is_killed_is_undone_by_the_host(
    start, few, bare, as_delivered, silent_port, listening
):
    """After all is in force, before anybody could confirm it: root is refused by then, and at another port.

    (It is patient with the silent port: if it gave up before it is killed, it would put the settings back itself.)"""
    state = "/var/lib/securebox/rollback/hardening"
    run = start("converge.yml", "--limit", MACHINE, lab_servers=MACHINE, hardening_login_port=silent_port,
                environment={"ANSIBLE_TIMEOUT": "60"}, hardening_login_seconds=SECONDS, **few)
    with run:
        while not bare.file(f"{state}/armed/complete").exists:
            assert run.poll() is None, run.stdout.read()[-3000:]
            time.sleep(0.3)
        kill_all(run.pid)
    assert "port 822" in bare.check_output("sshd -T").splitlines()
    assert "[::]:22" not in [line.split()[3] for line in listening(bare)]

    deadline = time.monotonic() + SECONDS + 240
    while bare.file(state).exists and time.monotonic() < deadline:
        time.sleep(0.5)
    bare.run("systemctl stop silent")
    as_delivered()
    assert "putting the old settings back" in bare.check_output("journalctl --unit securebox-rollback-hardening")


def test_the_next_run_works_and_the_one_after_it_changes_nothing(converge, bare, login):
    """The success that the failures above are compared with, with the same inventory."""
    done = converge(MACHINE, lab_servers=MACHINE)
    assert done.returncode == 0, done.stdout[-3000:]
    assert login("sudo -n id -u", machine=MACHINE).stdout.strip() == "0"
    assert login("id -u", "root", 22, machine=MACHINE).returncode != 0

    again = converge(MACHINE, lab_servers=MACHINE)
    assert again.returncode == 0, again.stdout[-3000:]
    assert re.search(rf"^{MACHINE} .* changed=0 ", again.stdout, re.MULTILINE), again.stdout[-3000:]
