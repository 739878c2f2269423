# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the firewall's rules for names in step with the addresses that these names have.

Each address is a rule of ufw of its own, so that `ufw status` shows what passes. An address that a name no longer has
is closed after a while (servers answer with a few of many addresses at a time). A name without any is closed, and said.

Usage: firewall-names [status]
Reads /etc/ufw/names.json, remembers in /var/lib/firewall-names/seen.json. Ends with 1 if a name is closed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

CONFIGURATION = Path("/etc/ufw/names.json")
SEEN = Path("/var/lib/firewall-names/seen.json")
# So do the comments of these rules begin; nobody else's do.
MARK = "by name "
# Of one name. Who is master of its DNS must not fill the firewall.
MOST = 64
# What systemd takes for the urgency of a line.
ERROR, WARNING = "<3>", "<4>"


def resolve(name: str) -> list[str]:
    """All addresses that the system knows of a name now; none if it knows of none."""
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(ipaddress.ip_address(answer[4][0])) for answer in answers if "%" not in answer[4][0]})


def remember(before: dict[str, float], addresses: list[str], now: float, keep: float) -> dict[str, float]:
    """The addresses of a name that are open, each with the time when it was last seen."""
    seen = {address: when for address, when in before.items() if 0 <= now - when <= keep}
    seen.update(dict.fromkeys(addresses, now))
    newest = sorted(seen, key=lambda address: (-seen[address], address))[:MOST]
    return {address: seen[address] for address in newest}


def words(rule: dict[str, str], address: str) -> list[str]:
    """One rule for one address, without the word that adds or deletes it."""
    comment = f"{MARK}{rule['name']}: {rule['why']}"
    return [*shlex.split(rule["rule"].replace("ADDRESS", address)), "comment", comment]


def fits(rule: dict[str, str], address: str) -> bool:
    """Whether the caller has an address of that family."""
    return rule.get("version", "") in ("", str(ipaddress.ip_address(address).version))


def present(added: str) -> list[list[str]]:
    """Those of `ufw show added` that are this program's."""
    lines = [shlex.split(line)[1:] for line in added.splitlines() if line.startswith("ufw ")]
    return [line for line in lines if "comment" in line and line[line.index("comment") + 1].startswith(MARK)]


def ufw(*arguments: str) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["ufw", *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    if done.returncode != 0:
        raise SystemExit(f"{ERROR}ufw {shlex.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def delete(rule: list[str]) -> None:
    """`route allow ...` is deleted by `route delete allow ...`, and `allow ...` by `delete allow ...`."""
    place = 1 if rule[0] == "route" else 0
    end = rule.index("comment")
    ufw(*rule[:place], "delete", *rule[place:end])


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def ages(seen: dict[str, dict[str, float]], names: list[str], now: float) -> str:
    lines = []
    for name in names:
        lines.append(f"{name}: {'closed, it has no address' if not seen.get(name) else ''}".rstrip())
        lines += [f"  {address}  seen {max(0, now - when) / 60:.0f} min ago" for address, when in seen[name].items()]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    configuration = read(CONFIGURATION)
    rules, keep = configuration.get("rules", []), configuration.get("keep_seconds", 86400)
    names, now = list(dict.fromkeys(rule["name"] for rule in rules)), time.time()
    before = read(SEEN)
    if arguments == ["status"]:
        print(ages({name: before.get(name, {}) for name in names}, names, now))
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2

    seen = {}
    for name in names:
        addresses = resolve(name)
        seen[name] = remember(before.get(name, {}), addresses, now, keep)
        if not seen[name]:
            print(f"{ERROR}{name} has no address: it is closed. Does `getent ahosts {name}` answer?", file=sys.stderr)
        elif not addresses:
            left = (keep - now + max(seen[name].values())) / 60
            print(f"{WARNING}{name} has no address at present: closed in {left:.0f} minutes", file=sys.stderr)
    write(SEEN, seen)

    wanted = [words(rule, address) for rule in rules for address in seen[rule["name"]] if fits(rule, address)]
    # The same words in another order are the same rule.
    there = {tuple(sorted(rule)): rule for rule in present(ufw("show", "added"))}
    target = {tuple(sorted(rule)): rule for rule in wanted}
    for key in there.keys() - target.keys():
        delete(there[key])
    for key, rule in target.items():
        if key not in there:
            ufw(*rule)
    return 0 if all(seen.values()) else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
