# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tests look at a machine: what answers there, and what its rules are."""

from __future__ import annotations

import re

# Knocks at all ports of an address, some thousand at a time, and prints those that open. Runs on the stranger.
SCAN = """
import select, socket, sys, time
address, found = sys.argv[1], []
kind = socket.AF_INET6 if ":" in address else socket.AF_INET
for first in range(1, 65536, 4000):
    waiting, poll = {}, select.epoll()
    for port in range(first, min(first + 4000, 65536)):
        caller = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        caller.connect_ex((address, port))
        waiting[caller.fileno()] = caller, port
        poll.register(caller, select.EPOLLOUT)
    end = time.monotonic() + 1.5
    while waiting and time.monotonic() < end:
        for number, _ in poll.poll(0.2):
            caller, port = waiting.pop(number)
            poll.unregister(number)
            if not caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                found.append(port)
            caller.close()
    for caller, _ in waiting.values():
        caller.close()
print(*found)
"""

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as caller:
    print(caller.recv(100).decode().strip())
"""


def ask(machine, address, port, *through):
    """What the far side says about who is calling; None if nobody answers."""
    answer = machine.run(" ".join([*through, "python3 -c '%s' %s %s"]) % (ASK, address, port))
    return answer.stdout.strip() or None


def forget_callers(gate):
    """Whom the limit has counted so far. (A container may not write to /proc/net/xt_recent.)"""
    gate.check_output("ufw reload")


def scan(machine, address):
    """All ports of tcp that are open there."""
    return set(machine.check_output("ulimit -n 20000; python3 - %s <<'EOF'\n" + SCAN + "\nEOF", address).split())


def rules(machine):
    """All tables and chains of the kernel, whoever made them and in whatever order, without what is counted."""
    listing = re.sub(r"counter packets \d+ bytes \d+", "counter", machine.check_output("nft list ruleset"))
    found = []
    for table in re.split(r"(?m)^(?=table )", listing):
        name, *chains = re.split(r"(?m)^\t(?=\w+ .*\{$)", table.strip().removesuffix("}"))
        found += [f"{name.strip()} {chain.strip()}" for chain in chains]
    return sorted(found)


def state(machine):
    """Rules, ufw's own description of them, and every file of ufw's."""
    files = machine.check_output("find /etc/ufw /etc/default/ufw -type f | sort | xargs sha256sum")
    return rules(machine), machine.check_output("ufw show added"), files
