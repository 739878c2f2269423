# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The administrators' tunnel, where there is one, and ssh that answers inside it only."""

from __future__ import annotations

import re

import pytest
from attempts import need_way, versions

STEP = "docs/runbooks/wireguard.md, step 3"


def interface(site):
    return site.get(site.box, "wireguard_interface", "wg0")


def questions(site):
    name = interface(site)
    return {
        site.box: {
            "peers": f"wg show {name} peers",
            "port": f"wg show {name} listen-port",
            "unit": f"systemctl is-active wg-quick@{name}; systemctl is-enabled wg-quick@{name}",
            "rules": "ufw show added",
            "keys": "find /etc/wireguard -type f ! -perm 0600 -o -type f ! -user root; stat -c %a:%U /etc/wireguard",
        }
    }


@pytest.fixture
def tunnel(site, not_applicable):
    return site.get(site.box, "wireguard_peers", []) or not_applicable("wireguard_peers is empty: there is no tunnel")


@pytest.mark.control("NET-10")
def test_the_tunnel_is_up_for_its_peers_and_nobody_else(tunnel, site, said, evidence):
    """The keys that are listed, no more and no fewer; after a boot too."""
    listed = {peer["public_key"] for peer in tunnel}
    present = set(said(site.box, "peers").lines)
    evidence(f"{interface(site)}: {len(present)} peers, port {said(site.box, 'port').text.strip()}")
    assert present == listed
    assert said(site.box, "port").text.strip() == str(site.get(site.box, "wireguard_port", 51820))
    assert said(site.box, "unit").text.split() == ["active", "enabled"]


@pytest.mark.control("NET-10")
def test_its_keys_are_roots_alone(tunnel, site, said, evidence):
    """Who reads the server's key can play the server."""
    *open_files, directory = said(site.box, "keys").lines
    evidence(f"/etc/wireguard: {directory}; readable by others: {', '.join(open_files) or 'none'}")
    assert open_files == []
    assert directory == "700:root"


def lets_in(rule, port):
    """Whether a line of `ufw show added` lets somebody reach that port of TCP on the box. In doubt it does."""
    words = rule.partition(" comment ")[0].split()[1:]
    if not words or words[0] not in ("allow", "limit") or "out" in words[1:2] or re.search(r"\bproto (?!tcp)", rule):
        return False
    if len(words) == 2:
        given, _slash, protocol = words[1].partition("/")
        if protocol not in ("", "tcp"):
            return False
    else:
        # The port that is called, not the caller's own.
        match = re.search(r" to \S+ port (\S+)", f" {' '.join(words)}")
        given = match[1] if match else ""
    ranges = [part.split(":") for part in given.split(",")]
    if not all(end.isdigit() for part in ranges for end in part):
        # Every port, or an application by its name.
        return True
    return any(int(part[0]) <= port <= int(part[-1]) for part in ranges)


@pytest.mark.control("NET-10")
def test_ssh_answers_inside_the_tunnel_only(tunnel, world, site, said, evidence):
    """This suite came through it; a stranger who knocks at ssh hears nothing."""
    name, asked = interface(site), site.get(site.box, "firewall_ssh_from", [])
    if not asked:
        pytest.skip(f"ssh is still open to everybody: firewall_ssh_from is empty. To close it: {STEP}")
    for version, scan in world["scans"].items():
        evidence(f"{version}: open to a stranger: {scan['open'] or 'nothing'}")
        assert site.ssh_port not in scan["open"], f"ssh answers a stranger by {version}: run the playbook host again"
    others = [source for source in asked if source != name]
    rules = [rule for rule in said(site.box, "rules").lines if lets_in(rule, site.ssh_port)]
    others += [rule for rule in rules if not re.match(rf"ufw \S+ in on {re.escape(name)}( |$)", rule)]
    if others:
        pytest.skip(f"ssh is let in elsewhere too: {'; '.join(others)}. For the tunnel alone: {STEP}")
    evidence(f"ufw lets ssh in by {'; '.join(rules) or 'no rule'}")
    assert rules, f"no rule of ufw lets ssh in by {name}: run the playbook host again"
    unasked = [version for version in versions(site) if world["scans"].get(version, {}).get("asked") != 65535]
    if unasked:
        pytest.skip(f"not tried by {', '.join(unasked)}: {world['trouble'] or 'the scan has no answer'}")
    need_way(world, *versions(site))
