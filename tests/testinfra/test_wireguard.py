# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The administrators' tunnel, where there is one, and ssh that answers inside it only."""

from __future__ import annotations

import pytest


def interface(site):
    return site.get(site.box, "wireguard_interface", "wg0")


def questions(site):
    name = interface(site)
    return {
        site.box: {
            "peers": f"wg show {name} peers",
            "port": f"wg show {name} listen-port",
            "unit": f"systemctl is-active wg-quick@{name}; systemctl is-enabled wg-quick@{name}",
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


@pytest.mark.control("NET-10")
def test_ssh_answers_inside_the_tunnel_only(tunnel, world, site, evidence, not_applicable):
    """This suite came through it; a stranger who knocks at ssh hears nothing."""
    if site.public_ssh:
        not_applicable("firewall_ssh_from is empty: ssh answers outside the tunnel as well")
    for version, scan in world["scans"].items():
        evidence(f"{version}: open to a stranger: {scan['open'] or 'nothing'}")
        assert site.ssh_port not in scan["open"]
    assert world["scans"], world["trouble"]
