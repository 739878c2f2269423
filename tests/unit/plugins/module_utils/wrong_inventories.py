# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wrong inventories: the filled-in example but for one mistake, and what the message about it has to say."""

from __future__ import annotations

from site_factory import KEY, UNSET

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


# name: (variables changed, what the server is like, parts of the message)
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
    "no passphrase source": (
        box(encrypted_volume_passphrase=UNSET),
        {},
        ["encrypted_volume_passphrase", "no terminal", "group_vars/box/"],
    ),
    "empty passphrase": (box(encrypted_volume_passphrase=""), {}, ["encrypted_volume_passphrase", "it is empty"]),
    "weak passphrase": (
        box(encrypted_volume_passphrase="hunter2"),
        {},
        ["encrypted_volume_passphrase", "too weak", "12"],
    ),
    "empty secret": (
        {"all": {"vault_db_postgresql_password": ""}},
        {},
        ["vault_db_postgresql_password", "securebox.stack.secrets", "group_vars/all/vault.yml"],
    ),
    "device with data": (
        box(**ON_A_DEVICE),
        device(signatures=[("ext4", "aa-bb")]),
        ["encrypted_volume_device", DISK, "it holds data (ext4)", "new-disk.md"],
    ),
    "device with another volume": (
        box(**ON_A_DEVICE),
        device(signatures=[("crypto_LUKS", "aa-bb")]),
        ["encrypted_volume_device", "another encrypted volume", "aa-bb", "encrypted_volume_uuid"],
    ),
    "device that is not there": (
        box(**ON_A_DEVICE),
        device("missing"),
        ["encrypted_volume_device", "no such device", "ls -l /dev/disk/by-id"],
    ),
    "device that is a file": (box(**ON_A_DEVICE), device("file"), ["encrypted_volume_device", "an ordinary file"]),
    "size larger than the device": (
        box(**{**ON_A_DEVICE, "encrypted_volume_size": "200G"}),
        device(),
        ["encrypted_volume_size", "200G", "larger than the device", "100 GiB"],
    ),
    "size larger than the free disk": (
        box(encrypted_volume_size="500G"),
        {},
        ["encrypted_volume_size", "500G", "larger than the free disk", "150 GiB of 160 GiB", "group_vars/box/"],
    ),
    "size larger than the free disk of its own mount": (
        {},
        {"disks": {"/": (900 * GIB, 999 * GIB), "/var": (9 * GIB, 10 * GIB)}},
        ["9 GiB of 10 GiB are free at /var"],
    ),
    "size that shrinks": (
        box(encrypted_volume_size="10G"),
        {"paths": {DATA: {"type": "file", "size": 60 * GIB, "signatures": []}}},
        ["never shrinks", "60 GiB"],
    ),
    "size that is none": (box(encrypted_volume_size="sixty"), {}, ["encrypted_volume_size", "sixty", "such as 60G"]),
    "size without its unit": (box(encrypted_volume_size="60"), {}, ["encrypted_volume_size", "is a unit missing"]),
    "file with other data": (
        {},
        {"paths": {DATA: {"type": "file", "size": GIB, "signatures": [("ext4", "")]}}},
        ["encrypted_volume_file", "it holds data (ext4)"],
    ),
    "both file and device": (
        box(encrypted_volume_device=DISK),
        {},
        ["encrypted_volume_device", DISK, "set together with", DATA],
    ),
    "neither file nor device": (
        box(encrypted_volume_file=UNSET),
        {},
        ["neither encrypted_volume_file nor encrypted_volume_device"],
    ),
    "relative mount point": (
        box(encrypted_volume_mount_point="srv/x"),
        {},
        ["encrypted_volume_mount_point", "no absolute"],
    ),
    "mount point of the system": (box(encrypted_volume_mount_point="/srv"), {}, ["a directory of the system"]),
    "mount point in use": (
        {},
        {"mounts": {"/srv/securebox": "/dev/sdb1"}},
        ["encrypted_volume_mount_point", "/dev/sdb1 is mounted there"],
    ),
    "file inside the mount point": (
        box(encrypted_volume_file="/srv/securebox/x.luks"),
        {},
        ["encrypted_volume_file", "inside encrypted_volume_mount"],
    ),
    "no volume yet, and not told to make one": (
        box(encrypted_volume_initialise=UNSET),
        {},
        ["encrypted_volume_initialise", "there is no volume yet", "-e encrypted_volume_initialise=true"],
    ),
    "uuids differ": (box(lxd_storage_uuid="0000-1"), {}, ["lxd_storage_uuid", "0000-1", "would be refused their data"]),
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
    "unsupported release": ({}, {"release": "11"}, ["server hospital", "debian 11", "Debian 12 or 13"]),
    "unsupported distribution": ({}, {"distribution": "rocky", "release": "9.4"}, ["rocky 9.4", "not supported"]),
    "unsupported architecture": ({}, {"architecture": "armv7l"}, ["armv7l", "architecture is not supported"]),
    "no LXD": ({}, {"lxd": "missing"}, ["server hospital", "LXD is neither installed nor"]),
    "Incus": ({}, {"lxd": "incus"}, ["server hospital", "knows LXD only"]),
    "missing sha256": (
        {"app": {"app_tomcat_war_sha256": ""}},
        {},
        ["app_tomcat_war_sha256", "stable.json", "inventories/example/group_vars/app/app_tomcat.yml:5"],
    ),
    "sha256 cut off": ({"app": {"app_tomcat_war_sha256": "abc123"}}, {}, ["app_tomcat_war_sha256", "abc123", "64"]),
    "WAR by http": (
        {"app": {"app_tomcat_war_url": "http://x.org/dhis.war"}},
        {},
        ["app_tomcat_war_url", "no https URL"],
    ),
    "WAR from both": (
        {"app": {"app_tomcat_war_file": "/home/me/dhis.war"}},
        {},
        ["app_tomcat_war_file", "set together with"],
    ),
    "no WAR": ({"app": {"app_tomcat_war_url": ""}}, {}, ["app_tomcat_war_url", "no application"]),
    "WAR that is not there": (
        {"app": {"app_tomcat_war_url": "", "app_tomcat_war_file": "/nowhere/dhis.war"}},
        {},
        ["app_tomcat_war_file", "/nowhere/dhis.war", "no such file"],
    ),
    "WAR that is none": (
        {"app": {"app_tomcat_war_url": "", "app_tomcat_war_file": "/etc/passwd"}},
        {},
        ["app_tomcat_war_file", "no WAR file"],
    ),
    "encryption password too short": (
        {"app": {"app_tomcat_dhis_conf": {"encryption.password": "only-fourteen-"}}},
        {},
        ["app_tomcat_dhis_conf[encryption.password]", "less than 24"],
    ),
    "database elsewhere": (
        {"app": {"app_tomcat_dhis_conf": {"connection.url": "jdbc:postgresql://db7:5432/dhis2"}}},
        {},
        ["app_tomcat_dhis_conf[connection.url]", "db7 is no container"],
    ),
    "backend that is no container": (
        {"proxy": {"proxy_apache_backend": "https://app9:8443/"}},
        {},
        ["proxy_apache_backend", "app9 is no container"],
    ),
    "backend without TLS": (
        {"proxy": {"proxy_apache_backend": "http://app1:8080/"}},
        {},
        ["proxy_apache_backend", "no https URL"],
    ),
    "domain that is a URL": ({"all": {"securebox_domain": "https://x.org/"}}, {}, ["securebox_domain", "a URL"]),
    "domain without a dot": ({"all": {"securebox_domain": "hospital"}}, {}, ["securebox_domain", "no full name"]),
    "domain with an underscore": (
        {"all": {"securebox_domain": "my_box.clinic.org"}},
        {},
        ["securebox_domain", "no full name"],
    ),
    "terms not accepted": (
        {"proxy": {"letsencrypt_accept_terms": False}},
        {},
        ["letsencrypt_accept_terms", "terms of service", "group_vars/proxy/letsencrypt.yml:5"],
    ),
    "Let's Encrypt for an address": (
        {"all": {"securebox_domain": "203.0.113.10"}},
        {},
        ["letsencrypt_domains", "203.0.113.10", "names only"],
    ),
    "Let's Encrypt for a private name": (
        {"all": {"securebox_domain": "dhis.hospital.local"}},
        {},
        ["letsencrypt_domains", "not a public name"],
    ),
    "the example's own name": (
        {"all": {"securebox_domain": "dhis.example.org"}},
        {},
        ["letsencrypt_domains", "the real one"],
    ),
    "own certificate without files": (
        {"proxy": {"proxy_apache_certificate": "own"}},
        {},
        ["proxy_apache_certificate_file", "name the PEM file"],
    ),
    "own certificate's files are not there": (
        {
            "proxy": {
                "proxy_apache_certificate": "own",
                "proxy_apache_certificate_file": "/nowhere.pem",
                "proxy_apache_certificate_key_file": "/etc/passwd",
            }
        },
        {},
        ["proxy_apache_certificate_file", "/nowhere.pem", "no such file"],
    ),
    "choice that is none": (
        {"proxy": {"proxy_apache_certificate": "lets-encrypt"}},
        {},
        ["proxy_apache_certificate", "must be one of", "self_signed"],
    ),
    "weak database password": (
        {"db": {"db_postgresql_users": [{"name": "dhis2", "password": "dhis"}]}},
        {},
        ["db_postgresql_users[dhis2].password", "too weak"],
    ),
    "access of an unknown user": (
        {"db": {"db_postgresql_access": [{"user": "dhis", "database": "dhis2", "address": "10.80.2.10/32"}]}},
        {},
        ["db_postgresql_access[1].user", "dhis", "no such user"],
    ),
    "access to an unknown database": (
        {"db": {"db_postgresql_access": [{"user": "dhis2", "database": "x", "address": "10.80.2.10/32"}]}},
        {},
        ["db_postgresql_access[1].database", "no such database"],
    ),
    "access from the world": (
        {"db": {"db_postgresql_access": [{"user": "dhis2", "database": "dhis2", "address": "0.0.0.0/0"}]}},
        {},
        ["db_postgresql_access[1].address", "0.0.0.0/0", "outside the box's own networks"],
    ),
    "variable of the wrong type": (
        box(hardening_ssh_port="ssh"),
        {},
        ["hardening_ssh_port", "ssh", "unable to convert to int"],
    ),
    "variable without a value": (
        {"proxy": {"proxy_apache_server_name": "{{ securebox_domian }}"}},
        {},
        ["proxy_apache_server_name", "securebox_domian", "undefined", "group_vars/proxy/proxy_apache.yml:2"],
    ),
}
GROUPS = {
    "no box": ({"box": []}, ["group box", "no server"]),
    "two boxes": ({"box": ["hospital", "proxy1"]}, ["group box", "hospital, proxy1", "one server"]),
    "no database": ({"db": []}, ["group db", "no container"]),
    "tier outside tiers": ({"tiers": ["proxy1", "app1"]}, ["group db", "no child of the group tiers"]),
}
