# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: rules of packet filters that ufw does not know of, as JSON. Changes nothing.

What ufw's files say is loaded into an empty network namespace, and compared with what is in force: so ufw itself says
what its rules look like in the kernel, and a rule more or less has been somebody else's work (Docker's, for instance).
"""

import collections
import json
import re
import subprocess
from pathlib import Path

START = "/lib/ufw/ufw-init start >/dev/null 2>&1"
# The tables of the role firewall.
OWN = {"table inet firewall_forwards"}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def rules(text):
    """How often each rule is there, and each chain's policy; without counters."""
    lines = re.findall(r"^(?:-A .*|:\S+ (?:ACCEPT|DROP))", text, re.MULTILINE)
    return collections.Counter(re.sub(r"\[\d+:\d+\] ?", "", line).strip() for line in lines)


def differences(save):
    """Rules that ufw did not make, and those of its own that are gone."""
    empty = ["unshare", "--net", "sh", "-c", f"{START}; {save} -t filter"]
    now, should = rules(run(save, "-t", "filter")), rules(run(*empty))
    name = save.removesuffix("-save")
    return (
        [f"{name} {rule}: not ufw's" for rule in (now - should).elements()],
        [f"{name} {rule}: ufw's, and gone" for rule in (should - now).elements()],
    )


def redirections(ruleset):
    """Rules of other tables that lead packets elsewhere: past a port that is closed, or into a container."""
    found, table = [], ""
    for line in ruleset.splitlines():
        if line.startswith("table "):
            table = line.removesuffix(" {")
        elif re.search(r"\b(dnat|redirect)\b", line) and table not in OWN:
            found.append(f"{table}: {re.sub(r'counter packets .* bytes [0-9]+ ', '', line.strip())}")
    return found


def legacy():
    """Rules of the old kind are in force beside the new ones, and no tool of today shows them."""
    names = [(family, Path(f"/proc/net/{family}_tables_names")) for family in ("ip", "ip6")]
    return [
        f"table {table} of {family}tables-legacy is loaded"
        for family, path in names
        if path.exists()
        for table in path.read_text().split()
    ]


def main():
    foreign, gone = [], []
    for save in ("iptables-save", "ip6tables-save"):
        more, less = differences(save)
        foreign, gone = foreign + more, gone + less
    print(json.dumps({"foreign": foreign + redirections(run("nft", "list", "ruleset")) + legacy(), "gone": gone}))


main()
