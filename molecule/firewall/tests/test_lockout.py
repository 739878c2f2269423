# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the change, whoever made it can log in afterwards: by the new rules, or else by the old ones."""

from __future__ import annotations

import subprocess
import time

import pytest
from lab.run import kill_all
from machines import forget_callers, state

SSH = "limit 22/tcp"
SECONDS = 30
BEFORE = "/etc/ufw/before.rules"
HOOK = "/etc/ufw/after.init"

# ufw calls it last when it starts, and when it stops.
START = "#!/bin/sh\n[ \"$1\" = start ] || exit 0\n"
DROPS = """#!/bin/sh
case "$1" in
start) iptables -I INPUT -p tcp --syn -j DROP ;;
stop) iptables -D INPUT -p tcp --syn -j DROP || true ;;
esac
"""
# Nothing of what belongs to an open connection gets out.
CHAINS = "".join(f":ufw-before-{way} - [0:0]\n" for way in ("input", "output", "forward"))
NOTHING_ESTABLISHED = f"*filter\n{CHAINS}COMMIT\n"


def hook(path, content, mode="0644"):
    return {"path": path, "content": content, "mode": mode}


# What the module is given.
CHANGES = {
    "nobody is let in": {"rules": []},
    "another port": {"rules": ["limit 2222/tcp"]},
    "a rule before that denies": {"rules": ["deny 22/tcp", SSH]},
    "a rule before that rejects": {"rules": ["reject proto tcp to any port 1:65535", SSH]},
    "the administrator's address is denied": {"rules": ["deny from CONTROLLER", SSH]},
    "only others' addresses are let in": {"rules": ["limit from 192.0.2.0/24 to any port 22 proto tcp"]},
    "over IPv6 only": {"rules": ["limit proto tcp from ::/0 to any port 22"]},
    "by a tunnel that is not there": {"rules": ["limit in on wg0 to any port 22 proto tcp"]},
    "the answers do not get out": {"rules": [SSH], "outgoing": "deny", "hooks": [hook(BEFORE, NOTHING_ESTABLISHED)]},
    "a hook that drops everything": {
        "rules": [SSH], "hooks": [hook(HOOK, DROPS, "0750")]},
    "a hook that flushes, and leaves the policy": {
        "rules": [SSH], "hooks": [hook(HOOK, START + "iptables -P INPUT DROP; iptables -F INPUT\n", "0750")]},
    "a hook that fails": {"rules": [SSH], "hooks": [hook(HOOK, START + "exit 3\n", "0750")]},
    "rules that ufw cannot load": {"rules": [SSH], "hooks": [hook(BEFORE, "*filter\n-A nowhere -j ACCEPT\nCOMMIT\n")]},
}
# What the role is given.
VARIABLES = {
    "the role: another port": {"firewall_ssh_port": 2222},
    "the role: ssh is forwarded away": {"firewall_forwards": [{"port": 22, "to": "10.91.1.10"}]},
    "the role: the uplink is a segment": {
        "firewall_segments": [{"name": "eth0"}], "firewall_segments_without_dns": [], "firewall_flows": []},
    "the role: ssh from a tunnel that is not there": {"firewall_ssh_from": ["wg0"]},
    "the role: ssh from elsewhere": {"firewall_ssh_from": ["192.0.2.0/24", "2001:db8::/32"]},
}


@pytest.fixture
def controller(lab):
    """The address that this machine has for the gate."""
    route = subprocess.run(["ip", "-oneline", "route", "get", lab.machines["gate"].address],
                           capture_output=True, text=True, check=True).stdout.split()
    return route[route.index("src") + 1]


@pytest.fixture
def login(lab):
    """A login of its own, not over a connection that is open already."""
    def attempt(patience: int = 30) -> bool:
        command = ["ssh", "-F", str(lab.directory / "ssh_config"), "-S", "none", f"-oConnectTimeout={patience}", "gate"]
        command += ["true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    return attempt


def ruleset(changes, controller=""):
    rules = [rule.replace("CONTROLLER", controller) for rule in changes["rules"]]
    return {"ruleset": {**changes, "rules": rules}, "seconds": SECONDS}


def put_back(gate):
    """Where the change cut Ansible's own connection, nobody but the timer is left to do it."""
    end = time.monotonic() + SECONDS + 150
    while gate.run("test -d /var/lib/securebox/rollback/firewall").rc == 0:
        assert time.monotonic() < end, "nothing was put back"
        time.sleep(1)


def restored(gate, before, login):
    """All is as it was, nobody waits for anything, and a new login works."""
    forget_callers(gate)
    assert state(gate) == before
    assert "securebox-rollback" not in gate.check_output("systemctl list-timers")
    assert login()


@pytest.mark.control("REL-1")
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_locks_out_is_put_back(gate, play, controller, login, name):
    """Each was right in the eyes of ufw, or not even that; the server answers again before the run has ended."""
    forget_callers(gate)
    before = state(gate)

    failed = play("lockout.yml", **ruleset(CHANGES[name], controller))

    assert failed.returncode != 0, failed.stdout
    assert any(says in failed.stdout for says in ("The old settings are back", "Nothing was kept", "The host itself"))
    put_back(gate)
    restored(gate, before, login)


@pytest.mark.control("REL-1")
@pytest.mark.parametrize("name", VARIABLES)
def test_variables_that_lock_out_are_put_back(gate, play, login, name):
    forget_callers(gate)
    before = state(gate)

    failed = play(**VARIABLES[name])

    assert failed.returncode != 0, failed.stdout
    assert "The old settings are back" in failed.stdout
    restored(gate, before, login)


@pytest.mark.control("REL-1")
@pytest.mark.parametrize("changes", [
    {"rules": [SSH, "allow 6000/tcp"], "outgoing": "deny"},
    {"rules": ["limit from CONTROLLER to any port 22 proto tcp"]},
], ids=["answers get out although nothing else does", "only the administrator is let in"])
def test_what_lets_the_administrator_in_stays(gate, play, controller, login, changes):
    """The refusals above prove something only if the same way in is open otherwise."""
    forget_callers(gate)
    before = state(gate)
    try:
        done = play("lockout.yml", **ruleset(changes, controller))
        assert done.returncode == 0, done.stdout
        forget_callers(gate)
        assert state(gate) != before
        assert login()
    finally:
        assert play().returncode == 0
        # The module alone knows nothing of the rules for names; their timer makes them again within minutes.
        gate.run("systemctl start firewall-names")
    restored(gate, before, login)


@pytest.mark.control("REL-1")
@pytest.mark.parametrize("moment", ["while it is made", "before the login"])
def test_when_ansible_is_killed_the_timer_alone_puts_it_back(gate, start, login, moment):
    """Nobody is left to notice: what decides lies on the server."""
    forget_callers(gate)
    before = state(gate)
    slow = hook(HOOK, START + ("sleep 6\n" if moment == "while it is made" else ""), "0750")
    armed = "/var/lib/securebox/rollback/firewall/armed"
    wanted = {"while it is made": f"test -d {armed} && pgrep -x sleep", "before the login": f"test -e {armed}/complete"}

    run = start("lockout.yml", **ruleset({"rules": [], "hooks": [slow]}))
    end = time.monotonic() + 300
    while gate.run(wanted[moment]).rc != 0:
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < end
    kill_all(run.pid)
    run.wait()
    assert not login(5), "the rules let somebody in, so nothing is proved"

    put_back(gate)
    restored(gate, before, login)
