# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows, segments, rules, forwards and the way to the world."""

from __future__ import annotations

from .parts import box

WRONG = {
    "flow to an unknown address": (
        box(firewall_flows=[{"from": "10.80.1.10", "to": "10.80.2.99", "port": 8443, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "10.80.2.99", "no container"],
    ),
    "flow to an unknown name": (
        box(firewall_flows=[{"from": "proxy", "to": "10.80.2.10", "port": 8443, "why": "x"}]),
        {},
        ["firewall_flows[1].from", "proxy", "no name of firewall_segments"],
    ),
    "flow to a name without a dot": (
        box(firewall_flows=[{"from": "sbapp", "to": "mail", "port": 587, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "mail", "no full name of a machine", "group_vars/box/firewall.yml"],
    ),
    "flow to names with a wildcard": (
        box(firewall_flows=[{"from": "sbapp", "to": "*.example.org", "port": 443, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "*.example.org", "no full name"],
    ),
    "flow to a URL": (
        box(firewall_flows=[{"from": "sbapp", "to": "https://example.org/", "port": 443, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "https://example.org/", "no full name"],
    ),
    "flow to no port": (
        box(firewall_flows=[{"from": "sbapp", "to": "mail.example.org", "port": 70000, "why": "x"}]),
        {},
        ["firewall_flows[1].port", "70000", "between 1 and 65535"],
    ),
    "flow over no protocol": (
        box(firewall_flows=[{"from": "sbapp", "to": "mail.example.org", "port": 25, "proto": "icmp", "why": "x"}]),
        {},
        ["firewall_flows", "icmp", "tcp, udp"],
    ),
    "flow without a reason": (
        box(firewall_flows=[{"from": "sbapp", "to": "mail.example.org", "port": 25}]),
        {},
        ["firewall_flows", "why"],
    ),
    "flow from one family to the other": (
        box(firewall_flows=[{"from": "10.80.1.10", "to": "fd80:0:0:2::10", "port": 8443, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "fd80:0:0:2::10", "not of the family of from (10.80.1.10)"],
    ),
    "flow to itself": (
        box(firewall_flows=[{"from": "10.80.1.10", "to": "10.80.1.10", "port": 8443, "why": "x"}]),
        {},
        ["firewall_flows[1].to", "reaches itself"],
    ),
    "flow twice": (
        box(firewall_flows=[{"from": "10.80.1.10", "to": "10.80.2.10", "port": 8443, "why": why} for why in "xy"]),
        {},
        ["firewall_flows[2]", "the same as firewall_flows[1]"],
    ),
    "segment that is no bridge": (
        box(firewall_segments=[{"name": "sbmail"}]),
        {},
        ["firewall_segments[sbmail].name", "no bridge of lxd_networks"],
    ),
    "segment twice": (
        box(firewall_segments=[{"name": "sbapp"}, {"name": "sbapp"}]),
        {},
        ["firewall_segments[sbapp].name", "named twice"],
    ),
    "segment with a name that no interface has": (
        box(firewall_segments=[{"name": "the application's"}]),
        {},
        ["firewall_segments[the application's].name", "no name of an interface"],
    ),
    "no names for an unknown segment": (
        box(firewall_segments_without_dns=["db"]),
        {},
        ["firewall_segments_without_dns", "db", "no segment of firewall_segments"],
    ),
    "ssh for containers": (
        box(firewall_segment_services=[{"port": 822, "why": "x"}]),
        {},
        ["firewall_segment_services[822].port", "ssh is closed to the segments"],
    ),
    "service at no port": (
        box(firewall_segment_services=[{"port": 0, "why": "x"}]),
        {},
        ["firewall_segment_services[0].port", "between 1 and 65535"],
    ),
    "all of the world at no port": (
        box(firewall_segment_ports=[443, 99999]),
        {},
        ["firewall_segment_ports", "99999", "between 1 and 65535"],
    ),
    "rule with the word ufw": (
        box(firewall_rules=["ufw allow 9100/tcp"]),
        {},
        ["firewall_rules[1]", "ufw allow 9100/tcp", "leave out the word ufw"],
    ),
    "rule that is none": (
        box(firewall_rules=["allow 9100/tcp", "open 9100"]),
        {},
        ["firewall_rules[2]", "open 9100", "none of allow, deny"],
    ),
    "rule that deletes": (
        box(firewall_rules=["delete allow 822/tcp"]),
        {},
        ["firewall_rules[1]", "delete allow 822/tcp"],
    ),
    "rule with half a comment": (
        box(firewall_rules=["allow 9100/tcp comment 'it's monitoring'"]),
        {},
        ["firewall_rules[1]", "quotation mark"],
    ),
    "logging of a kind that ufw does not know": (
        box(firewall_logging="loud"),
        {},
        ["firewall_logging", "loud", "medium"],
    ),
    "uplink that the server does not have": (
        box(firewall_uplink="eth9"),
        {"addresses": [("lo", "127.0.0.1/8"), ("eth0", "203.0.113.10/24")]},
        ["firewall_uplink", "eth9", "it has eth0, lo"],
    ),
    "no time for the login that confirms": (
        box(firewall_login_seconds=5),
        {},
        ["firewall_login_seconds", "5", "at least 30"],
    ),
    "names looked up all the time": (
        box(firewall_names_seconds=1),
        {},
        ["firewall_names_seconds", "1", "at least 30"],
    ),
    "forward to no port": (
        box(firewall_forwards=[{"port": 443, "to": "10.80.1.10", "to_port": 0}]),
        {},
        ["firewall_forwards[443].to_port", "0", "between 1 and 65535"],
    ),
    "a proxy that would answer the world": (
        box(forward_proxy_addresses=[]),
        {},
        ["forward_proxy_addresses", "an empty list", "answer everywhere", "group_vars/box/forward_proxy.yml"],
    ),
    "a proxy on no bridge": (
        box(forward_proxy_addresses=["203.0.113.10"]),
        {},
        ["forward_proxy_addresses", "203.0.113.10", "no address of lxd_networks"],
    ),
    "a proxy for names with a wildcard": (
        box(forward_proxy_access=[{"from": ["10.80.2.10"], "to": ["*.example.org"], "why": "x"}]),
        {},
        ["forward_proxy_access[1].to", "*.example.org", ".example.org is all below it"],
    ),
    "the proxy passes a port on that is no web": (
        box(forward_proxy_access=[{"from": ["10.80.2.10"], "to": ["example.org"], "ports": [22], "why": "x"}]),
        {},
        ["forward_proxy_access[1].ports", "22", "80 is http, 443 is https"],
    ),
    "a proxy for nobody's network": (
        box(forward_proxy_access=[{"from": ["sbapp"], "to": ["example.org"], "why": "x"}]),
        {},
        ["forward_proxy_access[1].from", "sbapp", "no address and no network"],
    ),
    "containers told of a proxy as if by https": (
        {"tiers": {"hardening_updates_proxy": "https://10.80.1.1:3128"}},
        {},
        ["hardening_updates_proxy", "https://10.80.1.1:3128", "like http://", "group_vars/tiers/hardening.yml"],
    ),
    "containers told of another port than the proxy's": (
        {"tiers": {"hardening_updates_proxy": "http://10.80.1.1:8080"}},
        {},
        ["hardening_updates_proxy", "http://10.80.1.1:8080", "at forward_proxy_port (3128)"],
    ),
    "a proxy that the firewall hides": (
        box(firewall_segment_services=[]),
        {},
        ["hardening_updates_proxy", "does not let the containers in", "firewall_segment_services"],
    ),
    "forward to no container": (
        box(firewall_forwards=[{"port": 443, "to": "10.80.1.99"}]),
        {},
        ["firewall_forwards[443].to", "10.80.1.99", "no container"],
    ),
    "forward of ssh's port": (
        box(hardening_ssh_port=2222, firewall_forwards=[{"port": 2222, "to": "10.80.1.10"}]),
        {},
        ["hardening_ssh_port", "2222", "takes port 2222 to a container"],
    ),
    "forward twice": (
        box(firewall_forwards=[{"port": 443, "to": "10.80.1.10"}] * 2),
        {},
        ["firewall_forwards[443].port", "forwarded twice"],
    ),
}
