# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the firewall's rules for names in step with the addresses that these names have.

Each address is a rule of ufw of its own, so that `ufw status` shows what passes. An address that a name no longer has
is closed after a while (servers answer with a few of many addresses at a time). A name without any is closed, and said.

Usage: firewall-names [status]
Reads /etc/ufw/names.json, remembers in /var/lib/firewall-names/seen.json. Ends with 1 if a name is closed, or if ufw
refuses a rule; the others are made all the same.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
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
# For all names together, side by side: servers that do not answer must not keep old addresses open.
LOOK_UP_SECONDS = 60
# Not there where the kernel has none of it.
KERNEL_IPV6 = Path("/proc/sys/net/ipv6")


class UfwError(Exception):
    """What ufw said."""


def resolve(name: str) -> list[str]:
    """All addresses that the system knows of a name now; none if it knows of none."""
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(ipaddress.ip_address(answer[4][0])) for answer in answers if "%" not in answer[4][0]})


def resolve_all(names: list[str]) -> dict[str, list[str]]:
    """All of them at once. Who has not answered in time is a name without address."""
    found: dict[str, list[str]] = {}

    def look_up(name: str) -> None:
        found[name] = resolve(name)

    # They may never come back; the program ends without them.
    threads = [threading.Thread(target=look_up, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LOOK_UP_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: found.get(name, []) for name in names}


def remember(before: dict[str, float], addresses: list[str], now: float, keep: float) -> dict[str, float]:
    """The addresses of a name that are open, each with the time when it was last seen."""
    seen = {address: when for address, when in before.items() if 0 <= now - when <= keep}
    seen.update(dict.fromkeys(addresses, now))
    newest = sorted(seen, key=lambda address: (-seen[address], address))[:MOST]
    return {address: seen[address] for address in newest}


def wanted(rules: list[dict[str, str]], seen: dict[str, dict[str, float]]) -> dict[tuple[str, ...], list[str]]:
    """A rule for each address, by what it lets pass.

    Two names with one address share it, because ufw has one comment for a rule.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    reasons: dict[tuple[str, ...], dict[str, None]] = {}
    for rule in rules:
        for address in seen.get(rule["name"], {}):
            if fits(rule, address):
                words = shlex.split(rule["rule"].replace("ADDRESS", address))
                found[key(words)] = words
                reasons.setdefault(key(words), {})[f"{rule['name']}: {' '.join(rule['why'].split())}"] = None
    return {rule: [*words, "comment", MARK + ", ".join(reasons[rule])] for rule, words in found.items()}


def key(words: list[str]) -> tuple[str, ...]:
    """What a rule lets pass: the same words in another order are the same rule, whatever its comment says."""
    return tuple(sorted(words[: words.index("comment")] if "comment" in words else words))


def fits(rule: dict[str, str], address: str) -> bool:
    """Whether the caller has an address of that family, and the firewall rules for it."""
    version = str(ipaddress.ip_address(address).version)
    return rule.get("version", "") in ("", version) and (version == "4" or KERNEL_IPV6.exists())


def present(added: str) -> dict[tuple[str, ...], list[str]]:
    """Those of `ufw show added` that are this program's. A comment may have line breaks."""
    found, text = {}, ""
    for line in added.splitlines():
        text = f"{text}\n{line}" if text else line
        try:
            command, *words = shlex.split(text) or [""]
        except ValueError:
            continue
        text = ""
        if command == "ufw" and "comment" in words and words[words.index("comment") + 1].startswith(MARK):
            found[key(words)] = words
    return found


def ufw(*arguments: str) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["ufw", *arguments], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    if done.returncode != 0:
        raise UfwError(f"ufw {shlex.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def deletion(rule: list[str]) -> list[str]:
    """`route allow ...` is deleted by `route delete allow ...`, and `allow ...` by `delete allow ...`."""
    place = 1 if rule[0] == "route" else 0
    return [*rule[:place], "delete", *rule[place : rule.index("comment")]]


def carry_out(commands: list[list[str]]) -> bool:
    """Whether ufw took all of them. What it does not take keeps nobody else waiting."""
    taken = True
    for words in commands:
        try:
            ufw(*words)
        except UfwError as error:
            taken = False
            print(f"{ERROR}{error}", file=sys.stderr)
    return taken


def read(path: Path) -> dict:
    """Empty where there is nothing, or what a power failure left of it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def write(path: Path, value: dict) -> None:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
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

    # What is too old is closed before anybody is asked, who may not answer.
    seen = {name: remember(before.get(name, {}), [], now, keep) for name in names}
    there, old = present(ufw("show", "added")), wanted(rules, seen)
    taken = carry_out([deletion(there.pop(rule)) for rule in there.keys() - old.keys()])

    addresses = resolve_all(names)
    for name in names:
        seen[name] = remember(seen[name], addresses[name], now, keep)
        if not seen[name]:
            print(f"{ERROR}{name} has no address: it is closed. Does `getent ahosts {name}` answer?", file=sys.stderr)
        elif not addresses[name]:
            left = (keep - now + max(seen[name].values())) / 60
            print(f"{WARNING}{name} has no address at present: closed in {left:.0f} minutes", file=sys.stderr)
    write(SEEN, seen)

    target = wanted(rules, seen)
    commands = [deletion(there[rule]) for rule in there.keys() - target.keys()]
    # Another comment replaces the one that is there.
    commands += [words for rule, words in target.items() if there.get(rule, [""])[-1] != words[-1]]
    taken &= carry_out(commands)
    return 0 if taken and all(seen.values()) else 1


if __name__ == "__main__":
    os.umask(0o022)
    try:
        sys.exit(main(sys.argv[1:]))
    except UfwError as error:
        sys.exit(f"{ERROR}{error}")
