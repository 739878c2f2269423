# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs come from the machine that they say they come from, cannot be taken back there, and fill no disk."""

from __future__ import annotations

import shlex

import pytest
from conftest import RUN, until

pytestmark = pytest.mark.control("IDS-1")

LOGS = "/var/log/received"
# One message of syslog by hand: (own address, name of the log, text), with whatever name of a machine.
SEND = """
import socket, sys
own, log, text, count = sys.argv[1:]
with socket.create_connection(("10.91.1.1", 601), 60, (own, 0)) as line:
    message = f"<13>1 2026-11-22T03:51:06Z other {log} - - - {text}".encode()
    for _ in range(int(count)):
        line.sendall(str(len(message)).encode() + b" " + message)
"""
# How many of fifty silent connections are still open after so many seconds; sooner, if none is.
HOLD = """
import socket, sys, time
lines = [socket.create_connection(("10.91.1.1", 601), 20, (sys.argv[1], 0)) for _ in range(50)]
end = time.monotonic() + float(sys.argv[2])
def is_open(line):
    line.setblocking(False)
    try:
        return bool(line.recv(1))
    except OSError as error:
        return isinstance(error, BlockingIOError)
while (held := sum(map(is_open, lines))) and time.monotonic() < end:
    time.sleep(0.2)
print(held)
"""


@pytest.fixture
def send(web):
    def run(log: str, text: str, own: str = "10.91.1.10", count: int = 1):
        return web.run(shlex.join(["python3", "-c", SEND, own, log, text, str(count)]))

    return run


def written(gate, text: str) -> list[str]:
    """Every file below /var/log and /etc that has it."""
    return gate.run("grep -rlF -- %s /var/log /etc", text).stdout.split()


def test_the_address_says_whose_log_it_is(gate, web, send):
    """What a message says of itself is no reason: it names the other machine here. From another address in the same
    network, nothing is taken."""
    web.run("ip address add 10.91.1.30/24 dev inside")
    send("application", "from-elsewhere", "10.91.1.30")
    assert send("application", "from-the-web").rc == 0

    assert until(lambda: written(gate, "from-the-web")) == [f"{LOGS}/web/application.log"]
    assert written(gate, "from-elsewhere") == []


def test_nobody_else_holds_connections(web):
    """Another container reaches the port too, and could keep the sender out by connections that say nothing."""
    web.run("ip address add 10.91.1.30/24 dev inside")
    held = {own: web.check_output(shlex.join(["python3", "-c", HOLD, own, seconds]))
            for own, seconds in (("10.91.1.30", "30"), ("10.91.1.10", "3"))}

    assert held == {"10.91.1.30": "0", "10.91.1.10": "50"}


@pytest.mark.parametrize("log", ["sshd", "../other/apache-error", "/etc/cron.d/x", "APPLICATION", "unknown"])
def test_a_machine_chooses_only_among_its_own_logs(gate, send, log):
    """No path, and nothing that another jail or another file is fed by."""
    send(log, f"chosen-{log}")
    send("application", f"after-{log}")

    assert until(lambda: written(gate, f"after-{log}")) == [f"{LOGS}/web/application.log"]
    assert written(gate, f"chosen-{log}") == []


def test_a_message_is_one_line(gate, send):
    """Whatever is in it, and without an end to it: 8 KiB are enough for anybody."""
    send("application", "one\\n2026-11-22T03:51:06+00:00 refused 203.0.113.97 as x".replace("\\n", "\n"))
    send("application", "long-" + "x" * 30000)
    send("application", "the-last")

    assert until(lambda: written(gate, "the-last"))
    lines = gate.check_output(f"cat {LOGS}/web/application.log").splitlines()
    assert any("one#0122026" in line for line in lines)
    assert max(map(len, lines)) < 8400
    assert "203.0.113.97" not in gate.check_output("cat /var/log/fail2ban.log")


def test_what_is_too_long_has_no_rest(gate, send):
    """A whole message behind the 8 KiB, with a head of its own, is none, wherever the cut may be."""
    header = len("<13>1 2026-11-22T03:51:06Z other application - - - ")
    forged = f"<13>1 2026-11-22T03:51:06Z other application - - - forged-{RUN}\n"
    for size in range(8185, 8200):
        begin = f"long-{RUN}-{size}-"
        send("application", begin + "x" * (size - header - len(begin)) + forged * 200)
    send("application", f"after-the-long-{RUN}")

    assert until(lambda: written(gate, f"after-the-long-{RUN}"))
    lines = gate.check_output(f"grep -F -e long-{RUN}- -e forged-{RUN} {LOGS}/web/application.log").splitlines()
    assert len(lines) == 15
    assert all(f" long-{RUN}-8" in line[:50] for line in lines)


def test_what_was_said_cannot_be_taken_back(gate, web, send):
    """Who takes over the container can empty its own file, and not what its server has."""
    send("application", "i-was-here")
    assert until(lambda: written(gate, "i-was-here"))
    web.check_output("truncate -s 0 /var/log/application/login.log")

    assert written(gate, "i-was-here") == [f"{LOGS}/web/application.log"]


def test_logs_are_for_root_and_adm(gate):
    """And the process that takes them is neither: it can write them, and nothing else."""
    assert gate.check_output(f"stat -c '%a %U:%G' {LOGS}/web/*.log | sort -u") == "640 hardening-logs:adm"
    assert gate.check_output(f"stat -c '%a %U:%G' {LOGS} {LOGS}/web").splitlines() == [
        "751 root:adm", "750 hardening-logs:adm"]
    process = gate.check_output("systemctl show -P MainPID hardening-received@10.91.1.1")
    assert gate.check_output(f"stat -c %U /proc/{process}") == "hardening-logs"
    # A profile for the system's own rsyslogd, as Ubuntu has one, is not for this one.
    assert "unconfined" in gate.check_output("systemctl show -P AppArmorProfile hardening-received@10.91.1.1")


def test_it_listens_at_the_bridge_only(gate, stranger, inside):
    """The world cannot even knock: neither where it listens, nor what the firewall lets through."""
    assert gate.check_output("ss -Hltn sport = :601 | awk '{print $4}'") == "10.91.1.1:601"
    someone = stranger()
    assert inside["stranger"].run(f"timeout 3 bash -c '</dev/tcp/{someone.gate}/601'").rc != 0
    assert someone.reaches_ssh()
    assert "logs are handed over" in gate.check_output("ufw status")


def test_a_flood_fills_no_disk_and_stops_no_bans(gate, send, bans, stranger):
    """Two files of the size that a log may have, however much comes; what the others say is heard all the while. And
    what was said before it is still there."""
    def kept():
        return gate.check_output(f"ls {LOGS}/web").replace("application.log.0\n", "")

    gate.check_output(f"rm -f {LOGS}/web/application.log.0")
    before = kept()
    send("application", "said-before-the-flood")
    assert until(lambda: written(gate, "said-before-the-flood"))
    for _ in range(2):
        assert send("application", "y" * 4000, count=3000).rc == 0
    guesser = stranger()
    for _ in range(5):
        guesser.try_login()

    assert until(lambda: bans.anywhere(guesser.address))
    sizes = gate.check_output(f"stat -c %s {LOGS}/web/application.log {LOGS}/web/application.log.0").split()
    assert max(map(int, sizes)) < 1.2 * 2**20
    assert written(gate, "said-before-the-flood") == [f"{LOGS}/web/application.log.0"]
    assert kept() == before
    # And who guesses at the flooded one is noticed there too: fail2ban has followed the new file.
    other = stranger()
    for _ in range(2):
        other.try_application()
    assert until(lambda: other.address in bans.of("application"))


def test_rotated_logs_are_followed(gate, bans, stranger):
    """By the daily rotation too; the new file has the same mode, and the old one is kept."""
    before = gate.check_output(f"head -n 1 {LOGS}/web/login-refused.log")
    gate.check_output("logrotate --force /etc/logrotate.d/hardening-received")
    guesser = stranger()
    for _ in range(5):
        guesser.try_login()

    assert until(lambda: bans.anywhere(guesser.address))
    assert gate.file(f"{LOGS}/web/login-refused.log").mode == 0o640
    assert guesser.address in gate.check_output(f"cat {LOGS}/web/login-refused.log")
    assert before in gate.check_output(f"cat {LOGS}/web/login-refused.log.1")


def test_it_waits_for_its_bridge(gate, bans, stranger):
    """Bridges come with the containers, minutes after the start of a server; and what was said meanwhile is heard."""
    unit = "hardening-received@10.91.1.1.service"
    gate.check_output("ip address delete 10.91.1.1/24 dev testproxy;"
                      " systemctl restart --no-block hardening-received.target")
    try:
        assert until(lambda: gate.check_output(f"systemctl show -P SubState {unit}") == "auto-restart")
        assert gate.run("ss -Hltn sport = :601").stdout == ""
    finally:
        gate.check_output("ip address add 10.91.1.1/24 dev testproxy")

    assert until(lambda: gate.check_output(f"systemctl show -P SubState {unit}") == "running")
    guesser = stranger()
    # Its sender may lose a line or two until it notices that the connection of before is none any more.
    assert until(lambda: guesser.try_login() == 0 or bans.anywhere(guesser.address))
    assert bans.anywhere(guesser.address)
