# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks, addresses and limits of the containers, and what is attached to them."""

from __future__ import annotations

import itertools
import posixpath
import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    human,
    integer,
    interface,
    parse_size,
)

FAMILIES = ("ipv4", "ipv6")
_INSTANCE = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# As LXD 5.0 reads sizes: no fractions, no single letters.
_LXD_SIZE = re.compile(r"\d+(B|[kMGT]B|[KMGT]iB)?")
# Group, the role's variable for where its data lie, and what that is when it is not set.
_DATA = (("db", "", "/var/lib/postgresql"), ("app", "app_tomcat_home", "/var/lib/app_tomcat"))


def instance_names(site: Site) -> list[str]:
    return [str(item.get("name")) for item in site.items("lxd_instances")]


def networks(site: Site) -> t.Iterator[Problem]:
    known: list[tuple[str, t.Any]] = []
    for name, family, value in _networks(site):
        where = f"lxd_networks[{name}].{family}"
        parsed = interface(value)
        if parsed is None or "/" not in str(value):
            yield site.problem(
                site.box, where, "no address of the bridge with its network, such as 10.80.1.1/24", value
            )
            continue
        if f"IPv{parsed.version}" != family.replace("ip", "IP"):
            yield site.problem(site.box, where, f"an address of IPv{parsed.version}", value)
            continue
        if parsed.ip == parsed.network.network_address:
            yield site.problem(
                site.box,
                where,
                "the address of the network itself: give the bridge's, such as "
                f"{parsed.ip + 1}/{parsed.network.prefixlen}",
                value,
            )
        if parsed.is_global:
            yield site.problem(site.box, where, "a public network: take a private one (10.0.0.0/8, fd00::/8)", value)
        for other, network in known:
            if network.version == parsed.version and network.overlaps(parsed.network):
                yield site.problem(site.box, where, f"overlaps with the network of {other} ({network})", value)
        known.append((name, parsed.network))
    names = [str(item.get("name")) for item in site.items("lxd_networks")]
    for name in names:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            yield site.problem(
                site.box,
                f"lxd_networks[{name}].name",
                "no name of an interface: at most 15 lower-case letters, digits and -",
                name,
            )
    yield from _twice(site, "lxd_networks", "name", names)


def networks_are_free(site: Site) -> t.Iterator[Problem]:
    """A bridge must not take over a network that the server uses for something else."""
    if site.server is None:
        return
    bridges = {str(item.get("name")) for item in site.items("lxd_networks")}
    for name, family, value in _networks(site):
        parsed = interface(value)
        if parsed is None:
            continue
        taken: dict[str, str] = {}
        for device, text in [*site.server.addresses, *site.server.routes]:
            other = interface(text)
            if device in bridges or other is None or other.version != parsed.version:
                continue
            if other.network.prefixlen and other.network.overlaps(parsed.network):
                taken.setdefault(device, text)
        for device, text in taken.items():
            yield site.problem(
                site.box,
                f"lxd_networks[{name}].{family}",
                f"clashes with the server's own network: {text} on {device}",
                value,
            )


def instances(site: Site) -> t.Iterator[Problem]:
    bridges = {str(item.get("name")): item for item in site.items("lxd_networks")}
    used: dict[str, str] = {}
    for item in site.items("lxd_instances"):
        name = str(item.get("name"))
        if not _INSTANCE.fullmatch(name):
            yield site.problem(
                site.box,
                f"lxd_instances[{name}].name",
                "no name of a container: letters, digits and -, beginning with a letter",
                name,
            )
        if item.get("network") not in bridges:
            yield site.problem(
                site.box,
                f"lxd_instances[{name}].network",
                f"no such network in lxd_networks ({', '.join(bridges)})",
                item.get("network", "not set"),
            )
            continue
        for family in FAMILIES:
            if item.get(family) not in (None, ""):
                why = _address_trouble(bridges[item["network"]], family, item, used)
                if why:
                    yield site.problem(site.box, f"lxd_instances[{name}].{family}", why, item[family])
    yield from _twice(site, "lxd_instances", "name", instance_names(site))


def _address_trouble(bridge: dict[str, t.Any], family: str, item: dict[str, t.Any], used: dict[str, str]) -> str:
    parsed, gateway = address(item[family]), interface(bridge.get(family))
    if parsed is None:
        return "no address"
    if gateway is None or gateway.version != parsed.version:
        return f"its network {item['network']} has no {family}" if gateway is None else f"no {family} address"
    if parsed not in gateway.network:
        return f"outside its network {item['network']} ({gateway.network})"
    if parsed == gateway.ip:
        return f"the address of the bridge {item['network']} itself"
    if parsed.version == 4 and parsed in (gateway.network.network_address, gateway.network.broadcast_address):
        return f"the network's or the broadcast address of {gateway.network}"
    other = used.setdefault(str(parsed), str(item.get("name")))
    return f"the address of {other} as well" if other != str(item.get("name")) else ""


def hosts_are_instances(site: Site) -> t.Iterator[Problem]:
    """Every container of the inventory is made, and at the address that the others know it by."""
    described = {str(item.get("name")): item for item in site.items("lxd_instances")}
    for host in site.groups.get("tiers", []):
        name = str(site.get(host, "ansible_lxd_ssh_instance", host))
        if described and name not in described:
            yield site.problem(
                host,
                "lxd_instances",
                f"{host} is in the inventory, but no container {name} is described "
                f"in lxd_instances ({', '.join(described)})",
                name,
            )
            continue
        for variable, family in (("securebox_address", "ipv4"), ("securebox_address6", "ipv6")):
            known, made = address(site.get(host, variable)), address(described.get(name, {}).get(family))
            if known is not None and made is not None and known != made:
                yield site.problem(host, variable, f"lxd_instances[{name}].{family} is {made}: the two have to agree")
    for name in described:
        if name not in [str(site.get(host, "ansible_lxd_ssh_instance", host)) for host in site.groups.get("tiers", [])]:
            yield site.problem(
                site.box,
                f"lxd_instances[{name}]",
                "no host of this name in the groups below tiers: it would be made, but never hardened",
                name,
            )


def limits(site: Site) -> t.Iterator[Problem]:
    total = 0
    for item in site.items("lxd_instances"):
        where = f"lxd_instances[{item.get('name')}]"
        memory = parse_size(item.get("memory", ""))
        if item.get("memory") is None:
            continue
        if memory is None or memory < 64 * 1024**2:
            yield site.problem(site.box, f"{where}.memory", "no size, or too small: such as 512MiB", item["memory"])
            continue
        if not _LXD_SIZE.fullmatch(str(item["memory"])):
            yield site.problem(
                site.box,
                f"{where}.memory",
                "not as LXD wants it: a whole number with MiB or GiB, such as 512MiB",
                item["memory"],
            )
        total += memory
        if site.server and memory > site.server.memory > 0:
            yield site.problem(
                site.box, f"{where}.memory", f"more than the server has ({human(site.server.memory)})", item["memory"]
            )
    for item in site.items("lxd_instances"):
        cpu = integer(item.get("cpu"))
        if site.server and cpu and cpu > site.server.cpus > 0:
            yield site.problem(
                site.box,
                f"lxd_instances[{item.get('name')}].cpu",
                f"more than the server has ({site.server.cpus})",
                item["cpu"],
            )
    biggest = max((parse_size(item.get("memory", "")) or 0 for item in site.items("lxd_instances")), default=0)
    if site.server and total > site.server.memory > 0 and biggest <= site.server.memory:
        yield site.problem(
            site.box,
            "lxd_instances",
            f"the containers' memory limits add up to more than the server has ({human(site.server.memory)})",
            human(total),
        )


def attachments(site: Site) -> t.Iterator[Problem]:
    mount_point = posixpath.normpath(str(site.get(site.box, "encrypted_volume_mount_point", "/srv/securebox")))
    directories = site.get(site.box, "encrypted_volume_directories", [])
    for item in site.items("lxd_storage_attachments"):
        where = f"lxd_storage_attachments[{item.get('instance')}/{item.get('device')}]"
        if item.get("instance") not in instance_names(site):
            yield site.problem(
                site.box,
                f"{where}.instance",
                f"no such container in lxd_instances ({', '.join(instance_names(site))})",
                item.get("instance", "not set"),
            )
        source = posixpath.normpath(str(item.get("source", "")))
        if not source.startswith(mount_point + "/"):
            yield site.problem(
                site.box,
                f"{where}.source",
                f"not below encrypted_volume_mount_point ({mount_point}): its data would not be encrypted",
                item.get("source", "not set"),
            )
        elif posixpath.relpath(source, mount_point) not in directories:
            yield site.problem(
                site.box,
                f"{where}.source",
                f"not one of encrypted_volume_directories ({', '.join(map(str, directories))})",
                item["source"],
            )
        if not posixpath.isabs(str(item.get("path", ""))):
            yield site.problem(site.box, f"{where}.path", "no absolute path", item.get("path", "not set"))


def data_is_attached(site: Site) -> t.Iterator[Problem]:
    """What is written beside the attachments lies on the disk in clear."""
    for group, variable, default in _DATA:
        for host in site.groups.get(group, []):
            name = str(site.get(host, "ansible_lxd_ssh_instance", host))
            data = posixpath.normpath(str(site.get(host, variable, default) if variable else default))
            paths = [
                posixpath.normpath(str(item.get("path")))
                for item in site.items("lxd_storage_attachments")
                if item.get("instance") == name
            ]
            if not any(data == path or data.startswith(path + "/") for path in paths):
                yield site.problem(
                    host if variable else site.box,
                    variable or "lxd_storage_attachments",
                    f"the data of {host} would lie in clear: {data} is not in a directory that lxd_storage_attachments "
                    f"gives it ({', '.join(paths) or 'none'})",
                    data,
                )


def dependents(site: Site) -> t.Iterator[Problem]:
    order: list[int] = []
    for item in site.items("encrypted_volume_dependents"):
        instance = item.get("instance")
        if instance is None:
            continue
        where = f"encrypted_volume_dependents[{item.get('name', instance)}]"
        if instance not in instance_names(site):
            yield site.problem(
                site.box,
                f"{where}.instance",
                f"no such container in lxd_instances ({', '.join(instance_names(site))})",
                instance,
            )
            continue
        tier = [number for number, group in enumerate(("db", "app", "proxy")) if instance in site.groups.get(group, [])]
        if tier and order and tier[0] < max(order):
            yield site.problem(
                site.box,
                where,
                "started too late: the order is database, application, proxy, for each needs the one before it",
                instance,
            )
        order.extend(tier)
    waiting = {str(item.get("instance")) for item in site.items("encrypted_volume_dependents")}
    for item in site.items("lxd_storage_attachments"):
        if waiting and str(item.get("instance")) not in waiting:
            yield site.problem(
                site.box,
                "encrypted_volume_dependents",
                f"{item.get('instance')} has its data on the volume "
                "(lxd_storage_attachments) but nothing starts it after unlocking",
                ", ".join(sorted(waiting)),
            )


def _networks(site: Site) -> t.Iterator[tuple[str, str, t.Any]]:
    for item, family in itertools.product(site.items("lxd_networks"), FAMILIES):
        if item.get(family) not in (None, ""):
            yield str(item.get("name")), family, item[family]


def _twice(site: Site, variable: str, key: str, values: list[str]) -> t.Iterator[Problem]:
    for value in sorted({value for value in values if values.count(value) > 1}):
        yield site.problem(site.box, f"{variable}[{value}].{key}", "given twice", value)


RULES = (networks, networks_are_free, instances, hosts_are_instances, limits, attachments, data_is_attached, dependents)
