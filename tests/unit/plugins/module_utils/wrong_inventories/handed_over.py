# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs, bans and the Wazuh agent."""

from __future__ import annotations

from .parts import box, tunnel

WRONG = {
    "a jail whose log nobody hands over": (
        box(hardening_bans_jails=[
            {"name": "login", "kind": "web_login", "files": ["/var/log/received/proxy1/access.log"]}]),
        {},
        ["hardening_bans_jails[login].files", "/var/log/received/proxy1/access.log", "names no such log"],
    ),
    "a log that the box does not take": (
        {"db": {"hardening_handed_logs": {"audit": "/var/log/audit.log"}}},
        {},
        ["hardening_handed_logs[audit]", "does not take it", "group_vars/db/"],
    ),
    "logs handed over to another bridge's address": (
        {"db": {"hardening_handed_to": "10.80.1.1"}},
        {},
        ["hardening_handed_to", "10.80.1.1", "takes its logs at 10.80.3.1"],
    ),
    "logs handed over by a container that the box does not know as a sender": (
        {"app": {"hardening_handed_to": "10.80.2.1"}},
        {},
        ["hardening_handed_to", "10.80.2.1", "no sender with this container's address"],
    ),
    "logs handed over at another port than the box listens at": (
        box(hardening_received_port=6010),
        {},
        ["hardening_handed_port", "601", "the box listens at 6010"],
    ),
    "logs taken at an address that no bridge has": (
        box(hardening_received_from=[
            {"name": "proxy1", "at": "10.80.9.1", "addresses": ["10.80.1.10"],
             "logs": ["apache-error", "login-refused"]},
            {"name": "db1", "at": "10.80.3.1", "addresses": ["10.80.3.10"], "logs": ["postgresql"]}]),
        {},
        ["hardening_received_from[proxy1].at", "10.80.9.1", "no network of lxd_networks"],
    ),
    "a firewall that lets no logs through": (
        box(firewall_segment_services=[{"port": 3128, "why": "x"}]),
        {},
        ["firewall_segment_services", "port 601", "would drop them"],
    ),
    "a tunnel that a ban cuts off": (
        tunnel(hardening_bans_open_udp=[]),
        {},
        ["hardening_bans_open_udp", "[51820] is missing", "group_vars/box/"],
    ),
    "a Wazuh manager, and no key for its agent's package": (
        box(hardening_wazuh_manager="wazuh.example.org"),
        {},
        ["hardening_wazuh_repository_key", "not set", "wazuh.example.org", "group_vars/box/"],
    ),
    "a private key where the public one belongs": (
        box(hardening_wazuh_manager="10.0.0.5", hardening_wazuh_repository_key="-----BEGIN PGP PRIVATE KEY BLOCK-----"),
        {},
        ["hardening_wazuh_repository_key", "no public key in armour"],
    ),
    "a Wazuh manager with its port": (
        box(hardening_wazuh_manager="10.0.0.5 1514"),
        {},
        ["hardening_wazuh_manager", "10.0.0.5 1514", "without port"],
    ),
}
