# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who guesses is shut out, of what is behind the box too."""

from __future__ import annotations

import ipaddress
import re
import secrets
import shlex

import pytest

# What no log says by itself; it is written into each log that a container hands over, and has to come out on the box.
WORD = f"securebox-verify-{secrets.token_hex(8)}"
RECEIVED = "/var/log/received"
SECONDS = 20


def jails(site):
    return site.get(site.box, "hardening_bans_jails", [])


def banning(site):
    """The jails that shut out; the others only tell."""
    return ["sshd", *(str(jail["name"]) for jail in jails(site) if jail.get("ban", True))]


def handed(site):
    """Each log that the box waits for: (container, name on the box, log, where the container has it; None: nowhere)."""
    return [
        (host, sender["name"], log, site.get(host, "hardening_handed_logs", {}).get(log))
        for sender in site.get(site.box, "hardening_received_from", [])
        for host in site.containers
        if set(sender["addresses"]) & set(site.addresses(host))
        for log in sender["logs"]
    ]


def word(number):
    """Another one for each log: what comes out in the wrong file is seen."""
    return f"{WORD}-{number}-"


def questions(site):
    names = [str(jail["name"]) for jail in jails(site)]
    files = [path for jail in jails(site) for path in jail["files"]]
    ask = "fail2ban-client get {0} ignoreself; fail2ban-client get {0} ignoreip"
    box = {
        "jails": "fail2ban-client status",
        "counts": "; ".join(f"fail2ban-client status {shlex.quote(name)}" for name in ["sshd", *names]),
        "never": "; ".join(f"echo @ {name}; {ask.format(name)}" for name in map(shlex.quote, banning(site))),
        "table": "nft list table inet hardening-bans",
        # ls, because a path may be a pattern.
        "files": f"stat --format '%a %n' -- {' '.join(files)}" if files else "true",
    }
    asked = {site.box: box}
    waiting = []
    for number, (host, name, log, path) in enumerate(handed(site)):
        if not path:
            continue
        # The newest, where the path is a pattern. No filter takes such a line for anything. The shell's own `>>` would
        # make the file, which the kernel refuses root where it is another's, in a sticky directory (protected_regular).
        append = f"echo {word(number)} | dd status=none oflag=append conv=notrunc,nocreat"
        asked.setdefault(host, {})[f"say_{number}"] = (
            f"for log in {path}; do :; done; test -f \"$log\" && {append} of=\"$log\""
        )
        file = f"{RECEIVED}/{name}/{log}.log"
        # Its own word, and those of all.
        waiting.append(
            f"(for i in $(seq {SECONDS}); do grep -qsF {word(number)} {file} && break; sleep 1; done; "
            f"echo {number} $(grep -csF {word(number)} {file}) $(grep -csF {WORD} {file}) {file}) &"
        )
    box["heard"] = "\n".join([*waiting, "wait"])
    return asked


@pytest.mark.control("IDS-1")
def test_the_jails_run(site, said, evidence, having):
    """fail2ban itself says so: one for ssh, and one for each thing that is named."""
    having("hardening_bans", site.box)
    wanted = {"sshd", *(jail["name"] for jail in jails(site))}
    running = {name.strip() for name in said(site.box, "jails").text.rpartition(":")[2].split(",")}
    evidence(said(site.box, "counts").text)
    assert wanted <= running, f"not running: {sorted(wanted - running)} ({said(site.box, 'jails').text[:300]})"


@pytest.mark.control("IDS-1")
def test_bans_act_where_all_packets_pass(site, said, evidence, having):
    """In the kernel, before a packet is sent on to a container; each jail that bans has a set of both protocols."""
    having("hardening_bans", site.box)
    table = said(site.box, "table").text
    found = re.search(r"hook prerouting priority (\S+);", table)
    evidence(table)
    assert found, f"no chain at prerouting: {table[:300]}"
    assert found.group(1) in ("mangle", "-150"), f"at priority {found.group(1)}: it has to be before the forwarding"
    for name in banning(site):
        for rule in (f"ip saddr @addr-set-{name} ", f"ip6 saddr @addr6-set-{name} "):
            assert re.search(re.escape(rule) + "counter .*drop", table), f"nothing is dropped by {rule.strip()}"


@pytest.mark.control("IDS-1")
def test_administrators_and_the_box_itself_are_never_shut_out(site, said, evidence, having):
    """By the own list of each jail that shuts out; a stranger's address is not on it."""
    having("hardening_bans", site.box)
    wanted = [item for name in ("never", "inside") for item in site.get(site.box, f"hardening_bans_{name}", [])]
    told = dict(part.partition("\n")[::2] for part in f"\n{said(site.box, 'never').text}".split("\n@ ")[1:])
    for jail in banning(site):
        text = told.get(jail, "")
        own, given = text.split()[:1], re.findall(r"^[|`]- (\S+)", text, re.MULTILINE)
        known = [ipaddress.ip_network(item, strict=False) for item in given]
        evidence(f"{jail} never shuts out: {', '.join(map(str, known))}; the box's own addresses: {' '.join(own)}")
        missing = [item for item in wanted if ipaddress.ip_network(item, strict=False) not in known]
        assert not missing, f"not on fail2ban's list of {jail}: {missing}"
        everybody = [str(network) for network in known if network.prefixlen == 0]
        assert not everybody, f"nobody at all is shut out by {jail}: {everybody}"
        assert own == ["True"], f"{jail} may shut out the box itself (ignoreself): {text[:300] or 'no answer'}"
    if not site.get(site.box, "hardening_bans_never", []):
        pytest.skip("hardening_bans_never is empty: no administrator's address is safe from a ban")


@pytest.mark.control("IDS-1")
def test_what_containers_log_arrives_on_the_box(site, said, evidence, having, not_applicable):
    """A word that is said in a container stands on the box a moment later, in the file of that log and in no other;
    there whoever takes the container over cannot take it back. The jails read these files, for root and adm only."""
    having("hardening_bans", site.box)
    logs = handed(site)
    if not logs:
        not_applicable("no container hands logs over (hardening_received_from)")
    nowhere = [f"{log} of {host}" for host, _name, log, path in logs if not path]
    assert not nowhere, f"the box waits for {', '.join(nowhere)}: list it in hardening_handed_logs there, or not here"
    lines = said(site.box, "files").lines
    wrong = [line for line in lines if not re.match(r"6[04]0 /", line)]
    assert not wrong, f"a log is missing, or for everybody to read: {wrong}"
    silent = [f"{path} in {host}" for number, (host, _name, _log, path) in enumerate(logs)
              if said(host, f"say_{number}").code != 0]  # fmt: skip
    assert not silent, f"no such log: {', '.join(silent)}"
    heard = {line.split()[0]: line.split()[1:3] for line in said(site.box, "heard").lines if line.count(" ") == 3}
    evidence("\n".join([*lines, *said(site.box, "heard").lines]))
    for number, (host, name, log, path) in enumerate(logs):
        file = f"{RECEIVED}/{name}/{log}.log"
        own, every = heard.get(str(number), ["0", "0"])
        assert own == "1", f"{host}: what was said in {path} did not arrive in {file}: does rsyslog run on both?"
        assert every == "1", f"{file} has what was said in other logs: two of hardening_received_from end in one file"
