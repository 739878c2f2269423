# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges, containers and what is attached to them."""

from __future__ import annotations

from .parts import ATTACHMENTS, GIB, INSTANCES, NETWORKS, box, changed

WRONG = {
    "overlapping networks": (
        box(lxd_networks=changed(NETWORKS, "sbapp", ipv4="10.80.1.129/25")),
        {},
        ["lxd_networks[sbapp].ipv4", "10.80.1.129/25", "overlaps with the network of sbproxy"],
    ),
    "overlapping networks of IPv6": (
        box(lxd_networks=changed(NETWORKS, "sbapp", ipv6="fd80:0:0:1::2/64")),
        {},
        ["lxd_networks[sbapp].ipv6", "overlaps"],
    ),
    "network without a prefix": (
        box(lxd_networks=changed(NETWORKS, "sbapp", ipv4="10.80.2.1")),
        {},
        ["lxd_networks[sbapp].ipv4", "10.80.1.1/24"],
    ),
    "public network": (
        box(lxd_networks=changed(NETWORKS, "sbapp", ipv4="9.9.9.1/24")),
        {},
        ["lxd_networks[sbapp].ipv4", "a public network"],
    ),
    "name of a bridge too long": (
        box(lxd_networks=[*NETWORKS, {"name": "securebox-monitoring", "ipv4": "10.9.9.1/24"}]),
        {},
        ["at most 15"],
    ),
    "bridge clashes with the server's address": (
        {},
        {"addresses": [("eth0", "10.80.2.7/16")]},
        ["lxd_networks[sbproxy].ipv4", "clashes with the server's own network", "10.80.2.7/16 on eth0"],
    ),
    "bridge clashes with a route": (
        {},
        {"routes": [("wg0", "10.80.3.0/24")]},
        ["lxd_networks[sbdb].ipv4", "10.80.3.0/24 on wg0"],
    ),
    "address outside its network": (
        box(lxd_instances=changed(INSTANCES, "app1", ipv4="10.80.9.10")),
        {},
        ["lxd_instances[app1].ipv4", "10.80.9.10", "outside its network sbapp (10.80.2.0/24)"],
    ),
    "address twice": (
        box(lxd_instances=changed(INSTANCES, "app1", network="sbproxy", ipv4="10.80.1.10", ipv6="")),
        {},
        ["lxd_instances[app1].ipv4", "the address of proxy1 as well"],
    ),
    "address of the bridge": (
        box(lxd_instances=changed(INSTANCES, "app1", ipv4="10.80.2.1")),
        {},
        ["the address of the bridge sbapp itself"],
    ),
    "address differs from the inventory's": (
        box(lxd_instances=changed(INSTANCES, "app1", ipv4="10.80.2.11")),
        {},
        ["securebox_address", "app1", "10.80.2.11", "have to agree"],
    ),
    "unknown network": (
        box(lxd_instances=changed(INSTANCES, "app1", network="lan")),
        {},
        ["lxd_instances[app1].network", "lan", "no such network", "sbproxy, sbapp, sbdb"],
    ),
    "container without a description": (
        box(lxd_instances=INSTANCES[:2]),
        {},
        ["lxd_instances", "db1 is in the inventory, but no container db1"],
    ),
    "container without a host": (
        box(lxd_instances=[*INSTANCES, {**INSTANCES[0], "name": "cache1", "ipv4": "10.80.1.20", "ipv6": ""}]),
        {},
        ["lxd_instances[cache1]", "never hardened"],
    ),
    "instance twice": (
        box(lxd_instances=[*INSTANCES, INSTANCES[0]]),
        {},
        ["lxd_instances[proxy1].name", "given twice"],
    ),
    "name of a container": (
        box(lxd_instances=changed(INSTANCES, "app1", name="app_1")),
        {},
        ["lxd_instances[app_1].name", "letters, digits and -"],
    ),
    "memory above the machine's": (
        box(lxd_instances=changed(INSTANCES, "app1", memory="16GiB")),
        {},
        ["lxd_instances[app1].memory", "16GiB", "more than the server has (8 GiB)"],
    ),
    "memory above the machine's together": (
        {},
        {"memory": 4 * GIB},
        ["lxd_instances", "5.5 GiB", "add up to more than the server has (4 GiB)"],
    ),
    "memory in a unit that LXD refuses": (
        box(lxd_instances=changed(INSTANCES, "app1", memory="3G")),
        {},
        ["lxd_instances[app1].memory", "3G", "MiB or GiB"],
    ),
    "size with a fraction": (
        box(encrypted_volume_size="1.5T"),
        {},
        ["encrypted_volume_size", "1.5T", "whole number"],
    ),
    "application's home beside its attachment": (
        {"app": {"app_tomcat_home": "/var/lib/dhis2-home"}},
        {},
        ["app_tomcat_home", "/var/lib/dhis2-home", "in clear", "/var/lib/dhis2)"],
    ),
    "database's attachment at another place": (
        box(lxd_storage_attachments=[{**ATTACHMENTS[0], "path": "/var/lib/postgres"}, ATTACHMENTS[1]]),
        {},
        ["lxd_storage_attachments", "db1", "in clear", "/var/lib/postgresql is not in"],
    ),
    "no attachment for the application": (
        box(lxd_storage_attachments=ATTACHMENTS[:1]),
        {},
        ["app_tomcat_home", "in clear", "(none)"],
    ),
    "memory that is none": (
        box(lxd_instances=changed(INSTANCES, "app1", memory="much")),
        {},
        ["lxd_instances[app1].memory", "such as 512MiB"],
    ),
    "cpus above the machine's": (
        box(lxd_instances=changed(INSTANCES, "app1", cpu=64)),
        {},
        ["lxd_instances[app1].cpu", "64", "has (4)"],
    ),
    "attachment to an unknown container": (
        box(
            lxd_storage_attachments=[
                {"instance": "db2", "device": "data", "source": "/srv/securebox/db1", "path": "/var/lib/postgresql"}
            ]
        ),
        {},
        ["lxd_storage_attachments[db2/data].instance", "no such container", "proxy1, app1, db1"],
    ),
    "attachment outside the volume": (
        box(
            lxd_storage_attachments=[
                {"instance": "db1", "device": "data", "source": "/srv/db1", "path": "/var/lib/postgresql"}
            ]
        ),
        {},
        ["lxd_storage_attachments[db1/data].source", "/srv/db1", "would not be encrypted"],
    ),
    "attachment by a detour outside the volume": (
        box(
            lxd_storage_attachments=[
                {"instance": "db1", "device": "data", "source": "/srv/securebox/../db1", "path": "/var/lib/postgresql"}
            ]
        ),
        {},
        ["lxd_storage_attachments[db1/data].source", "would not be encrypted"],
    ),
    "attachment of an unknown directory": (
        box(encrypted_volume_directories=["app1"]),
        {},
        ["lxd_storage_attachments[db1/data].source", "not one of encrypted_volume_directories"],
    ),
    "unknown dependent": (
        box(encrypted_volume_dependents=[{"name": "db", "instance": "db9", "ready": ["true"], "timeout": 9}]),
        {},
        ["encrypted_volume_dependents[db].instance", "db9", "no such container"],
    ),
    "dependents in the wrong order": (
        box(
            encrypted_volume_dependents=[
                {"name": "app1", "instance": "app1", "ready": ["true"]},
                {"name": "db1", "instance": "db1", "ready": ["true"]},
            ]
        ),
        {},
        ["encrypted_volume_dependents[db1]", "the order is database, application, proxy"],
    ),
    "data that nothing starts": (
        box(encrypted_volume_dependents=[{"name": "app1", "instance": "app1", "ready": ["true"]}]),
        {},
        ["encrypted_volume_dependents", "db1 has its data on the volume"],
    ),
}
