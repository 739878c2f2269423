# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is installed, what runs, and where it listens."""

from __future__ import annotations

import shlex

import pytest

LISTENERS = "ss -lntuHp"
RUNNING = "systemctl list-units --type=service --state=running --plain --no-legend"
# What every machine has: without these, the answers below would be about nothing.
HAS_UNIT, HAS_PACKAGE = "systemd-journald.service", "dpkg"


def questions(site):
    asked = {host: {"listeners": LISTENERS, "running": RUNNING} for host in site.machines}
    for host, named in asked.items():
        units = [HAS_UNIT, "display-manager.service", *site.get(host, "hardening_services_off", [])]
        named["units"] = f"systemctl show --property=Id,LoadState,ActiveState -- {shlex.join(units)}"
        packages = [HAS_PACKAGE, *site.get(host, "hardening_packages_absent", [])]
        # Names that dpkg has never heard of are errors to it, and not installed to us.
        form = "${db:Status-Abbrev}${Package}\\n"
        named["packages"] = f"dpkg-query -W -f {shlex.quote(form)} {shlex.join(packages)} 2>/dev/null"
    return asked


def units(text):
    """The properties of each unit that systemctl showed, by its name."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


@pytest.mark.control("MIN-1")
def test_what_was_switched_off_cannot_start(site, said, evidence, having):
    """systemd itself says that the units are masked, or not there, and that none runs; others are, and do."""
    for host in having("hardening_services"):
        found = units(said(host, "units").text)
        assert found[HAS_UNIT]["ActiveState"] == "active", f"{host}: systemd tells nothing that can be believed"
        wanted = site.get(host, "hardening_services_off", [])
        off = {name: unit for name, unit in found.items() if name in wanted}
        evidence(f"{host}: " + (", ".join(f"{name} {unit['LoadState']}" for name, unit in off.items()) or "none named"))
        assert len(off) == len(wanted), f"{host}: systemd says nothing about {sorted(set(wanted) - set(off))}"
        wrong = [
            f"{name} is {unit['LoadState']} and {unit['ActiveState']}"
            for name, unit in off.items()
            if unit["LoadState"] not in ("masked", "not-found") or unit["ActiveState"] not in ("inactive", "failed")
        ]
        assert not wrong, f"{host}: {'; '.join(wrong)}"


@pytest.mark.control("MIN-1")
def test_what_a_server_does_not_need_is_not_installed(site, said, evidence, having):
    """The package manager has none of the packages that only help an intruder; it does know what is installed."""
    for host in having("hardening_services"):
        lines = [line.split() for line in said(host, "packages").lines]
        there = {name for status, name in lines if status[1] == "i"}
        assert HAS_PACKAGE in there, f"{host}: dpkg tells nothing that can be believed"
        unwanted = sorted(there - {HAS_PACKAGE})
        count = len(site.get(host, "hardening_packages_absent", []))
        evidence(f"{host}: {', '.join(unwanted) or 'none'} of {count} unwanted packages installed")
        assert not unwanted, f"{host} has {', '.join(unwanted)}"


@pytest.mark.control("MIN-1")
def test_nobody_can_sit_down_at_it(site, said, evidence, having):
    """No machine shows a graphical login; what does run, and what listens, is listed for whoever judges it."""
    for host in having("hardening_services"):
        display = units(said(host, "units").text).get("display-manager.service", {})
        assert display.get("ActiveState") != "active", f"{host} runs a display manager"
        running = [line.split()[0].removesuffix(".service") for line in said(host, "running").lines]
        assert running, f"{host}: systemd tells of no running service"
        evidence(f"{host} runs: {', '.join(running)}")
        lines = [line.split() for line in said(host, "listeners").lines]
        sockets = sorted({" ".join([words[0], words[4], *words[6:]]) for words in lines})
        evidence(f"{host} listens: {'; '.join(sockets) or 'nowhere'}")


def local(address: str) -> bool:
    # 0.0.0.0%br0 is bound to one interface: so LXD's own DHCP listens on its bridge.
    return address.startswith(("127.", "[::1]", "::1", "[fe80:", "fe80:")) or "%" in address


@pytest.mark.control("NET-7")
def test_services_listen_where_they_are_needed(site, said, evidence):
    """A service that listens on every address is one firewall mistake away from the world."""
    wanted = {site.box: {("tcp", site.ssh_port)}}
    # A tunnel answers nobody who has no key, and has no address of its own to bind to.
    if site.get(site.box, "wireguard_peers", []):
        wanted[site.box].add(("udp", int(site.get(site.box, "wireguard_port", 51820))))
    # The proxy is for everybody, at the one address that its container has.
    wanted.update({host: {("tcp", 80), ("tcp", 443)} for host in site.groups.get("proxy", [])})
    for host in site.machines:
        everywhere = []
        for line in said(host, "listeners").lines:
            words = line.split()
            address, _colon, port = words[4].rpartition(":")
            # 68 and 546 are the DHCP client's: answers to its own questions. So are Squid's, which asks name servers
            # from a port of its own choice; anybody else's are no part of a connection, and dropped.
            asks = words[0] == "udp" and (port in ("68", "546") or '"squid"' in line)
            if local(address) or asks:
                continue
            if address in ("0.0.0.0", "*", "[::]", "::") and (words[0], int(port)) not in wanted.get(host, set()):
                everywhere.append(" ".join([words[0], words[4], *words[6:]]))
        evidence(f"{host}: {'; '.join(everywhere) or 'nothing that is not meant for everybody'}")
        assert not everywhere, f"{host} listens on every address: {everywhere}"
