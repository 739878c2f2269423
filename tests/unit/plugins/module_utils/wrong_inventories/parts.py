# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What wrong inventories are made of: parts of the filled-in example, and ways to change them."""

from __future__ import annotations

from site_factory import UNSET

GIB = 1024**3
NETWORKS = [
    {"name": "sbproxy", "ipv4": "10.80.1.1/24", "ipv6": "fd80:0:0:1::1/64"},
    {"name": "sbapp", "ipv4": "10.80.2.1/24", "ipv6": "fd80:0:0:2::1/64"},
    {"name": "sbdb", "ipv4": "10.80.3.1/24", "ipv6": "fd80:0:0:3::1/64"},
]
INSTANCES = [
    {
        "name": name,
        "network": network,
        "ipv4": f"10.80.{number}.10",
        "ipv6": f"fd80:0:0:{number}::10",
        "cpu": 1,
        "memory": "512MiB",
        "processes": 500,
    }
    for number, (name, network) in enumerate([("proxy1", "sbproxy"), ("app1", "sbapp"), ("db1", "sbdb")], start=1)
]
ATTACHMENTS = [
    {"instance": "db1", "device": "data", "source": "/srv/securebox/db1", "path": "/var/lib/postgresql"},
    {"instance": "app1", "device": "data", "source": "/srv/securebox/app1", "path": "/var/lib/dhis2"},
]
DATA = "/var/lib/securebox/data.luks"
DISK = "/dev/disk/by-id/scsi-1"
ON_A_DEVICE = {"encrypted_volume_file": UNSET, "encrypted_volume_device": DISK, "encrypted_volume_size": UNSET}

PEER_KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
PEER = {"name": "alice", "public_key": PEER_KEY, "addresses": ["10.99.0.2"]}
OTHER = {"name": "bob", "public_key": "1" + PEER_KEY[1:], "addresses": ["10.99.0.3"]}


def changed(items, key, **values):
    """A list of dictionaries in which the one named `key` has other values."""
    return [{**item, **values} if item["name"] == key else item for item in items]


def box(**variables):
    return {"box": variables}


def device(kind="block", size=100 * GIB, signatures=()):
    return {"paths": {DISK: {"type": kind, "size": size, "signatures": list(signatures)}}}


def tunnel(peers=(PEER,), **variables):
    """A site with a tunnel."""
    return box(wireguard_peers=list(peers), **{"firewall_rules": ["allow 51820/udp comment WireGuard"], **variables})
