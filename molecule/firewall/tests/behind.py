# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests ask the machines behind the gate, and the gate."""

from __future__ import annotations

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
