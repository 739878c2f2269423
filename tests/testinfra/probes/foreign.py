# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: rules of packet filters that ufw does not know of, as JSON. Changes nothing.

What ufw's files say is loaded into an empty network namespace, and compared with what is in force: so ufw itself says
what its rules look like in the kernel, and a rule more or less has been somebody else's work (Docker's, for instance).
Rules that somebody wrote into ufw's own files would pass for its own that way: these are compared with the package's.
"""

import collections
import json
import re
import subprocess
from pathlib import Path

START = "/lib/ufw/ufw-init start >/dev/null 2>&1"
# Loaded before and after the rules that `ufw status` shows, and where the package keeps its own copies of them.
FILES = ("before.rules", "before6.rules", "after.rules", "after6.rules")
IN_USE, PRISTINE = Path("/etc/ufw"), (Path("/usr/share/ufw"), Path("/usr/share/ufw/iptables"))
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


def meaning(path):
    """{(a line, how often it was there before): its number} of a file, without comments and blank lines."""
    seen, found = collections.Counter(), {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, text in enumerate(lines, 1):
        line = " ".join(text.split())
        if line and not line.startswith("#"):
            found[line, seen[line]] = number
            seen[line] += 1
    return found


def edited(in_use, pristine):
    """What stands in ufw's files and not in the package's, what is gone there, and files that cannot be compared."""
    foreign, gone, unknown = [], [], []
    # A hook runs where it is executable only. (before.init is the role's, and its table is known.)
    hooks = [name for name in ("after.init",) if (in_use / name).is_file() and (in_use / name).stat().st_mode & 0o111]
    for name in (*FILES, *hooks):
        path = in_use / name
        copy = next((place / name for place in pristine if (place / name).is_file()), None)
        if copy is None:
            unknown.append(f"{path}: the package's copy {pristine[0] / name} is gone (apt-get install --reinstall ufw)")
            continue
        now, should = meaning(path), meaning(copy)
        more = [f"{path}, line {now[key]}: {key[0]}: not the package's" for key in now if key not in should]
        less = [f"{path}: {key[0]}: the package's, and gone" for key in should if key not in now]
        # The first rule that fits decides, so the same lines in another order are another firewall.
        if not more and not less and list(now) != list(should):
            more = [f"{path}: the package's rules, in another order"]
        foreign, gone = foreign + more, gone + less
    return foreign, gone, unknown


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
    foreign, gone, unknown = edited(IN_USE, PRISTINE)
    for save in ("iptables-save", "ip6tables-save"):
        more, less = differences(save)
        foreign, gone = foreign + more, gone + less
    foreign += redirections(run("nft", "list", "ruleset")) + legacy()
    print(json.dumps({"foreign": foreign, "gone": gone, "unknown": unknown}))


if __name__ == "__main__":
    main()
