# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the tests look at a machine: what answers there, and what its rules are."""

from __future__ import annotations

import json
import re
from pathlib import Path

# The one that `verify` uses.
SCAN = (Path(__file__).parents[3] / "tests/testinfra/probes/scan.py").read_text(encoding="utf-8")

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as caller:
    caller.settimeout(30)
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
    found = json.loads(machine.check_output("python3 - %s '[]' <<'EOF'\n" + SCAN + "\nEOF", address))
    assert found["asked"] == 65535
    return set(found["open"])


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
