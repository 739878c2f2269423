# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""WireGuard, and who may come from where."""

from __future__ import annotations

from .parts import OTHER, PEER, PEER_KEY, box, tunnel

WRONG = {
    "ssh in the tunnel only, and nobody in it": (
        box(firewall_ssh_from=["wg0"]),
        {},
        ["firewall_ssh_from", "wg0", "wireguard_peers is empty", "group_vars/box/"],
    ),
    "ssh in the tunnel only, and Ansible outside": (
        tunnel(firewall_ssh_from=["wg0"]),
        {},
        ["ansible_host", "10.99.0.1", "securebox_bootstrap_host", "hosts.yml"],
    ),
    "ssh from a segment": (
        box(firewall_ssh_from=["sbapp"]), {}, ["firewall_ssh_from", "sbapp", "containers get no ssh"]),
    "ssh from an interface that is not there": (
        box(firewall_ssh_from=["eth7"]),
        {"addresses": [("eth0", "203.0.113.10/24")]},
        ["firewall_ssh_from", "eth7", "no such interface", "eth0"],
    ),
    "ssh from half a network": (
        box(firewall_ssh_from=["10.1.2/24"]), {}, ["firewall_ssh_from", "10.1.2/24", "no network"]),
    "a tunnel whose port is closed": (tunnel(firewall_rules=[]), {}, ["firewall_rules", "allow 51820/udp"]),
    "two peers with one address": (
        tunnel([PEER, {**OTHER, "addresses": ["10.99.0.2"]}]),
        {},
        ["wireguard_peers[bob].addresses", "10.99.0.2", "alice"],
    ),
    "a peer with the box's address": (
        tunnel([{**PEER, "addresses": ["10.99.0.1"]}]), {}, ["wireguard_peers[alice].addresses", "of the box"]),
    "a peer outside the tunnel's network": (
        tunnel([{**PEER, "addresses": ["10.98.0.2"]}]), {}, ["wireguard_peers[alice].addresses", "10.99.0.0/24"]),
    "a peer with a network": (
        tunnel([{**PEER, "addresses": ["10.99.0.0/28"]}]),
        {},
        ["wireguard_peers[alice].addresses", "without a prefix"],
    ),
    "two peers with one key": (
        tunnel([PEER, {**OTHER, "public_key": PEER_KEY}]),
        {},
        ["wireguard_peers[bob].public_key", "alice", "same key"],
    ),
    "a peer's key cut off": (
        tunnel([{**PEER, "public_key": PEER_KEY[4:]}]), {}, ["wireguard_peers[alice].public_key", "44 characters"]),
    "a password for a preshared key": (
        tunnel([{**PEER, "preshared_key": "correct horse"}]),
        {},
        ["wireguard_peers[alice].preshared_key", "not shown", "wg genpsk"],
    ),
    "a tunnel in a segment's network": (
        tunnel(wireguard_addresses=["10.80.0.1/16"]), {}, ["wireguard_addresses", "10.80.0.1/16", "sbproxy"]),
    "a tunnel in the server's own network": (
        tunnel(),
        {"addresses": [("eth1", "10.99.0.77/16")]},
        ["wireguard_addresses", "10.99.0.1/24", "eth1"],
    ),
    "a tunnel's address without a network": (
        tunnel(wireguard_addresses=["10.99.0.1"]), {}, ["wireguard_addresses", "with the network"]),
    "everybody trusted": (
        box(firewall_trusted=[{"from": ["0.0.0.0/0"], "ports": [9100], "why": "monitoring"}]),
        {},
        ["firewall_trusted[1].from", "0.0.0.0/0", "everybody"],
    ),
    "trusted with no port": (
        box(firewall_trusted=[{"from": ["192.0.2.0/24"], "ports": [91000], "why": "monitoring"}]),
        {},
        ["firewall_trusted[1].ports", "91000", "65535"],
    ),
}
