# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who guesses is shut out, of what is behind the box too."""

from __future__ import annotations

import ipaddress
import re
import secrets
import shlex

import pytest

# What no log says by itself; it is written into one log of each container, and has to come out on the box.
WORD = f"securebox-verify-{secrets.token_hex(8)}"
RECEIVED = "/var/log/received"
SECONDS = 20


def jails(site):
    return site.get(site.box, "hardening_bans_jails", [])


def senders(site):
    """The containers that hand over, and the log that is tried: {host: (name on the box, log, path)}."""
    found = {}
    for sender in site.get(site.box, "hardening_received_from", []):
        for host in site.containers:
            if set(sender["addresses"]) & set(site.addresses(host)):
                handed = site.get(host, "hardening_handed_logs", {})
                logs = [log for log in sender["logs"] if log in handed]
                if logs:
                    found[host] = (sender["name"], logs[0], handed[logs[0]])
    return found


def questions(site):
    names = [str(jail["name"]) for jail in jails(site)]
    files = [path for jail in jails(site) for path in jail["files"]]
    box = {
        "jails": "fail2ban-client status",
        "counts": "; ".join(f"fail2ban-client status {shlex.quote(name)}" for name in ["sshd", *names]),
        "never": "fail2ban-client get sshd ignoreip",
        "table": "nft list table inet hardening-bans",
        # ls, because a path may be a pattern.
        "files": f"stat --format '%a %n' -- {' '.join(files)}" if files else "true",
    }
    asked = {site.box: box}
    waiting = []
    for host, (name, log, path) in senders(site).items():
        # The newest, where the path is a pattern. No filter takes such a line for anything. The shell's own `>>` would
        # make the file, which the kernel refuses root where it is another's, in a sticky directory (protected_regular).
        append = "dd status=none oflag=append conv=notrunc,nocreat"
        asked[host] = {"say": f"for log in {path}; do :; done; test -f \"$log\" && echo {WORD} | {append} of=\"$log\""}
        file = f"{RECEIVED}/{name}/{log}.log"
        waiting.append(
            f"(for i in $(seq {SECONDS}); do grep -qsF {WORD} {file} && break; sleep 1; done; "
            f"echo {host} $(grep -csF {WORD} {file}) $(grep -csF {WORD}-not {file}) $(stat -c %s {file})) &"
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
    for name in ["sshd", *(jail["name"] for jail in jails(site) if jail.get("ban", True))]:
        for rule in (f"ip saddr @addr-set-{name} ", f"ip6 saddr @addr6-set-{name} "):
            assert re.search(re.escape(rule) + "counter .*drop", table), f"nothing is dropped by {rule.strip()}"


@pytest.mark.control("IDS-1")
def test_administrators_and_the_box_itself_are_never_shut_out(site, said, evidence, having):
    """By fail2ban's own list; a stranger's address is not on it."""
    having("hardening_bans", site.box)
    given = re.findall(r"^[|`]- (\S+)", said(site.box, "never").text, re.MULTILINE)
    known = [ipaddress.ip_network(item, strict=False) for item in given]
    wanted = [item for name in ("never", "inside") for item in site.get(site.box, f"hardening_bans_{name}", [])]
    evidence(f"never shut out: {', '.join(map(str, known))}")
    missing = [item for item in wanted if ipaddress.ip_network(item, strict=False) not in known]
    assert not missing, f"not on fail2ban's list: {missing}"
    everybody = [str(network) for network in known if network.prefixlen == 0]
    assert not everybody, f"nobody at all is shut out: {everybody}"


@pytest.mark.control("IDS-1")
def test_what_containers_log_arrives_on_the_box(site, said, evidence, having, not_applicable):
    """A word that is said in a container stands on the box a moment later, in the file of that container; there whoever
    takes the container over cannot take it back. The files are those that the jails read, for root and adm only."""
    having("hardening_bans", site.box)
    if not senders(site):
        not_applicable("no container hands logs over (hardening_received_from)")
    lines = said(site.box, "files").lines
    wrong = [line for line in lines if not re.match(r"6[04]0 /", line)]
    assert not wrong, f"a log is missing, or for everybody to read: {wrong}"
    silent = [host for host in senders(site) if said(host, "say").code != 0]
    assert not silent, f"no such log in {silent}"
    heard = {line.split()[0]: line.split()[1:] for line in said(site.box, "heard").lines if line.count(" ") == 3}
    evidence("\n".join([*lines, *said(site.box, "heard").lines]))
    for host, (name, log, _path) in senders(site).items():
        found = heard.get(host, ["0", "0", "0"])
        assert found[:2] == ["1", "0"], f"{host}: what was said did not arrive in {RECEIVED}/{name}/{log}.log"
