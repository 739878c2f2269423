# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who administers the box, by which way, and what the server is."""

from __future__ import annotations

from site_factory import KEY

from .parts import box

WRONG = {
    "ssh port of the application": (
        box(hardening_ssh_port=443),
        {},
        ["hardening_ssh_port", "443", "the application's", "inventories/example/group_vars/box/hardening.yml:2"],
    ),
    "ssh port out of range": (
        box(hardening_ssh_port=82200),
        {},
        ["hardening_ssh_port", "82200", "between 1 and 65535"],
    ),
    "ssh ports that differ": (
        box(firewall_ssh_port=22),
        {},
        ["firewall_ssh_port", "22", "hardening_ssh_port (822)", "lock everybody out"],
    ),
    "names and addresses the wrong way round": (
        {"tiers": {"hardening_hosts": {"10.80.3.10": "db1"}}},
        {},
        ["hardening_hosts[10.80.3.10]", "db1", "wrong way round", "group_vars/tiers/hardening.yml"],
    ),
    "a name instead of an address": (
        {"tiers": {"hardening_hosts": {"db1": "10.80.3"}}},
        {},
        ["hardening_hosts[db1]", "10.80.3", "no IPv4 or IPv6 address"],
    ),
    "a name that no resolver takes": (
        {"tiers": {"hardening_hosts": {"db_1": "10.80.3.10"}}},
        {},
        ["hardening_hosts[db_1]", "no host name"],
    ),
    "addresses hidden between the tiers": (
        box(lxd_nat=True),
        {},
        ["lxd_nat", "true", "by the bridge's address", "group_vars/box/lxd.yml"],
    ),
    "no administrator": (box(hardening_admins=[]), {}, ["hardening_admins", "an empty list", "nobody could log in"]),
    "administrator without a key": (
        box(hardening_admins=[{"name": "admin", "keys": []}]),
        {},
        ["hardening_admins[admin].keys", "no public key"],
    ),
    "malformed key": (
        box(hardening_admins=[{"name": "admin", "keys": [KEY[:60]]}]),
        {},
        ["hardening_admins[admin].keys[1]", "cut off or mistyped"],
    ),
    "private key": (
        box(hardening_admins=[{"name": "admin", "keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nxyz"]}]),
        {},
        ["hardening_admins[admin].keys[1]", "this is the private key!", "not shown"],
    ),
    "root as administrator": (
        box(hardening_admins=[{"name": "root", "keys": [KEY]}]),
        {},
        ["hardening_admins[root]", "root never logs in"],
    ),
    "account that is no administrator": (
        box(ansible_user="erika"),
        {},
        ["ansible_user", "erika", "locked out", "hardening_admins (admin)"],
    ),
    "inventory that logs in as root": (
        box(securebox_login={"user": "root", "port": 22, "reached": {}}),
        {},
        ["ansible_user", "locked out"],
    ),
    "mail address": (
        {"all": {"securebox_admin_email": "nobody"}},
        {},
        ["securebox_admin_email", "nobody", "no mail address"],
    ),
    "time zone": (
        box(hardening_timezone="Europe/Atlantis"),
        {},
        ["hardening_timezone", "Europe/Atlantis", "Europe/Oslo"],
    ),
    "no Python": ({}, {"python": ""}, ["server hospital", "Python is missing", "apt-get install python3"]),
    "unsupported release": ({}, {"release": "11"}, ["server hospital", "debian 11", "Debian 12 (tested), Debian 13"]),
    "unsupported distribution": ({}, {"distribution": "rocky", "release": "9.4"}, ["rocky 9.4", "not supported"]),
    "unsupported architecture": ({}, {"architecture": "armv7l"}, ["armv7l", "architecture is not supported"]),
    "no LXD": ({}, {"lxd": "missing"}, ["server hospital", "LXD is neither installed nor"]),
    "Incus": ({}, {"lxd": "incus"}, ["server hospital", "knows LXD only"]),
}
