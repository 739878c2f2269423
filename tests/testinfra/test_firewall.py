# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom: from outside, between the containers, and from them to the world."""

from __future__ import annotations

import secrets
import time

import outside
import pytest
import reach
from machine import Unreachable

ON_BOX, OUTSIDE, IN_CONTAINER = 47001, 47002, 47003
# What is looked for on a server first.
_COMMON = """
    21 22 23 25 53 80 110 111 135 139 143 389 443 445 465 587 631 636 822 873 993 1433 1521 2049 2375 2376 3000 3306
    3389 4369 5000 5432 5601 5900 5984 6379 6443 8000 8005 8009 8080 8081 8443 8888 9000 9090 9100 9200 10250 11211
    15672 27017
"""
COMMON = [int(port) for port in _COMMON.split()]


def tries(world, **wanted):
    return [item for item in world["tries"] if all(item[key] == value for key, value in wanted.items())]


def require(world, items):
    if not items:
        pytest.skip(f"not tried: {world['trouble'] or 'no such pair'}")
    return items


def keep(site, measured, items):
    """For the drawing: who was tried by whom, and what was open. A listener of the probe's own stands for any port."""
    for pair in sorted({(item["from"], item["to"]) for item in items}):
        opened = {item["port"] for item in items if (item["from"], item["to"]) == pair and item["result"] == "open"}
        source, target = (site.box if name == "box" else name for name in pair)
        measured(source, target, {reach.ANY if port in (ON_BOX, IN_CONTAINER) else port for port in opened})


@pytest.mark.control("NET-1")
def test_from_outside_ssh_and_the_site_are_open_and_nothing_else(site, front, evidence, measured):
    """Everything that is commonly looked for, and what the box itself uses, is knocked at from this machine."""
    public = {*site.public_ssh, *site.public_ports}
    asked = {*COMMON, *public, site.ssh_port, int(site.get(site.first("app"), "app_tomcat_https_port", 8443))}
    mapped = {port: there for port in sorted(asked) if (there := site.outside_port(port))}
    found = outside.knock_all(front.address, mapped.values(), site.is_forwarded)
    answers = {port: found[there] for port, there in mapped.items()}
    evidence(
        f"{front.address}: open {[p for p, a in answers.items() if a == 'open']}; "
        f"closed {[p for p, a in answers.items() if a != 'open']}"
    )
    opened = {port for port, answer in answers.items() if answer == "open"}
    # What is forwarded is the proxy's.
    measured("the world", site.first("proxy"), opened & set(site.public_ports))
    measured("the world", site.box, opened - set(site.public_ports))
    assert opened == public & set(mapped)


@pytest.mark.control("NET-1")
def test_from_outside_over_ipv6_too(site, evidence, not_applicable):
    """The same over IPv6, which is forgotten easily."""
    address = site.get(site.box, "securebox_verify_address6")
    if not address:
        not_applicable("securebox_verify_address6 is not set; a stranger next to the box tries IPv6")
    public = {*site.public_ssh, *site.public_ports}
    found = outside.knock_all(address, sorted({*COMMON, *public, site.ssh_port}))
    evidence(f"[{address}]: open {[p for p, a in found.items() if a == 'open']}")
    assert {port for port, answer in found.items() if answer == "open"} == public


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_a_service_that_somebody_starts_is_not_reached(world, site, evidence, version):
    """A listener was started on the box: itself reaches it, a stranger who reaches ssh does not."""
    items = tries(world, **{"from": "outside", "to": "box"})
    items = [item for item in items if (":" in item["address"]) == (version == "IPv6")]
    answers = {item["port"]: item["result"] for item in require(world, items)}
    evidence(f"a stranger, over {version}: {answers}")
    assert {item["result"] for item in tries(world, **{"from": "box", "to": "box", "port": ON_BOX})} == {"open"}
    assert answers[ON_BOX] == "silent"
    assert [port for port, answer in answers.items() if answer == "open"] == site.public_ssh


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_of_all_ports_only_ssh_is_open_to_who_comes_another_way(world, site, evidence, version):
    """All 65,535 ports of TCP, the 100 most used of UDP. 80 and 443 are open to the uplink alone, which this is not."""
    scan = world["scans"].get(version)
    if scan is None:
        pytest.skip(f"not tried: {world['trouble'] or 'no ' + version}")
    evidence(
        f"{version}: {scan['asked']} ports of TCP: open {scan['open']}, refused {scan['refused']}, the rest silent; "
        f"{scan['udp_asked']} of UDP: answered {scan['udp']}"
    )
    assert scan["asked"] == 65535
    assert scan["open"] == site.public_ssh
    assert scan["refused"] == 0, "what is refused was let in, and nobody happened to listen"
    assert world["udp"], "nobody listened by UDP, so the silence proves nothing"
    assert scan["udp"] == {}


@pytest.mark.control("NET-1")
def test_a_stranger_never_reaches_a_container_directly(world, unlocked, evidence):
    """Knowing an inner address does not help: containers that listen are silent for a stranger who routes to them."""
    items = [item for item in tries(world, **{"from": "outside"}) if item["to"] != "box"]
    open_ones = [item for item in require(world, items) if item["result"] == "open"]
    evidence(f"{len(items)} ports of the containers tried, {len(open_ones)} open")
    assert open_ones == []
    listening = tries(world, **{"from": "box", "port": IN_CONTAINER})
    assert listening, "nobody listened"
    assert {item["result"] for item in listening} == {"open"}, "nobody listened, so the silence proves nothing"


@pytest.mark.control("NET-2")
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_many_new_ssh_connections_are_refused(world, site, evidence, version):
    """Guessing is slowed down: of a burst from one address the first are let in, and then no more."""
    burst = world["bursts"].get(version)
    if not site.public_ssh:
        pytest.skip("ssh does not answer strangers at all")
    if burst is None:
        pytest.skip(f"not tried: {world['trouble'] or 'no ' + version}")
    evidence(f"{version}: {', '.join(burst)}")
    # One connection has been made before, when the ports were tried.
    assert burst[0] == "open", "refused from the beginning: that proves nothing"
    assert "open" not in burst[6:], "the seventh was still let in"


@pytest.mark.control("NET-3")
def test_the_clients_own_address_arrives_at_the_proxy(box, site, front, evidence):
    """Logs and bans are worth something only with the address that the request came from."""
    name = secrets.token_hex(8)
    status, _headers, _body = front.get(f"/verify-{name}")
    proxy = site.first("proxy")
    look = f"lxc exec {site.instance(proxy)} -- grep -rh 'verify-{name}' /var/log/apache2 </dev/null"
    script = f"for n in 1 2 3 4 5; do {look} && break; sleep 1; done"
    line = box.run(script).text.strip().splitlines()[-1:]
    assert line, f"the proxy did not see the request (answered with {status})"
    client = line[0].split()[0]
    # Where this machine comes from, as the box's ssh sees it.
    peers = box.run(f"ss -tnH state established '( sport = :ssh or sport = :{site.ssh_port} )'").text
    evidence(f"the proxy logged {client}")
    assert f"{client}:" in peers.replace("[", "").replace("]", "").replace("::ffff:", ""), (
        f"the proxy logged {client}, but ssh comes from: {peers}"
    )


def allowed_flows(site):
    return {
        (flow["from"].split("/")[0], flow["to"].split("/")[0], int(flow["port"]))
        for flow in site.get(site.box, "firewall_flows", [])
        if flow.get("proto", "tcp") == "tcp"
    }


@pytest.mark.control("NET-4")
def test_listed_flows_work(world, site, unlocked, evidence):
    """What the site needs does get through; so the refusals below are the firewall's, and not a dead network's."""
    addresses = {address: host for host in site.containers for address in site.addresses(host)}
    for source, target, port in sorted(allowed_flows(site)):
        items = require(world, tries(world, **{"from": addresses.get(source), "address": target, "port": port}))
        evidence(f"{addresses[source]} to {addresses[target]}:{port}: {items[0]['result']}")
        assert items[0]["result"] == "open"


@pytest.mark.control("NET-4")
def test_nothing_else_passes_between_the_containers(world, site, unlocked, evidence, measured):
    """Every pair, every port of the site and one where somebody listens, on both IP versions."""
    flows = allowed_flows(site)
    names = {host: set(site.addresses(host)) for host in site.containers}
    items = [item for item in world["tries"] if item["from"] in names and item["to"] in names]
    open_ones = [
        item
        for item in require(world, items)
        if item["result"] == "open"
        and not any((source, item["address"], item["port"]) in flows for source in names[item["from"]])
    ]
    evidence(f"{len(items)} tries between {', '.join(names)}; open beyond what is listed: {len(open_ones)}")
    keep(site, measured, items)
    assert open_ones == []
    alive = tries(world, **{"from": "box", "port": IN_CONTAINER})
    assert {item["to"] for item in alive if item["result"] == "open"} == set(names), "not everybody listened"


@pytest.mark.control("NET-4")
def test_containers_reach_no_service_of_the_box(world, site, evidence, measured):
    """Its ssh, and whatever else it runs, is none of a container's business; what is listed for them they do reach."""
    listed = {int(item["port"]) for item in site.get(site.box, "firewall_segment_services", [])}
    segments = {item["name"] for item in site.get(site.box, "firewall_segments", [])}
    names = {53} if segments - set(site.get(site.box, "firewall_segments_without_dns", [])) else set()
    items = [item for item in world["tries"] if item["from"] in site.containers and item["to"] == "box"]
    open_ones = {(item["from"], item["port"]) for item in require(world, items) if item["result"] == "open"}
    evidence(f"open from containers: {sorted(open_ones)}")
    keep(site, measured, items)
    assert {port for _host, port in open_ones} <= names | listed
    assert {(host, port) for host in site.containers for port in listed} <= open_ones


@pytest.mark.control("NET-4")
def test_containers_reach_no_stranger(world, site, evidence):
    """A broken container cannot call home: a listener outside, which the box reaches, hears nothing from them."""
    items = [item for item in tries(world, to="outside") if item["from"] in site.containers]
    results = {item["from"]: item["result"] for item in require(world, items)}
    evidence(f"to a port outside that is not listed: {results}")
    assert "open" not in {item["result"] for item in items}
    heard = {item["result"] for item in tries(world, **{"from": "box", "to": "outside"})}
    assert "open" in heard, "nobody listened there"


@pytest.fixture(scope="session")
def foreign(box):
    """Rules that ufw does not know of, and those of its own that are gone (probes/foreign.py)."""
    try:
        return box.program("foreign", {})
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.control("NET-11")
def test_nobody_opens_a_path_past_the_firewall(foreign, evidence):
    """Docker and others put rules of their own before ufw's, and its status does not show them."""
    evidence("; ".join(foreign["foreign"]) or "all rules in force are ufw's, and nothing else leads packets elsewhere")
    assert foreign["foreign"] == []


@pytest.mark.control("NET-1")
def test_what_the_firewall_says_is_in_force(foreign, evidence):
    """Its files, loaded into an empty network, make the same rules that the kernel has."""
    evidence("; ".join(foreign["gone"]) or "no rule is missing")
    assert foreign["gone"] == []


@pytest.mark.control("NET-8")
def test_drops_are_logged_at_a_limited_rate_to_a_file_of_their_own(box, world, evidence):
    """What was tried stays known, and trying often fills no disk. The tries above were dropped, so there are lines."""
    script = """
    grep -hF '[UFW BLOCK]' /var/log/ufw.log | tail -n 1
    stat -c 'mode %a, %s bytes' /var/log/ufw.log
    logrotate --debug /etc/logrotate.conf 2>&1 | grep -c '/var/log/ufw.log'
    iptables -S ufw-after-logging-input; ip6tables -S ufw6-after-logging-input
    """
    assert world["tries"], world["trouble"]
    answer = box.run(script)
    line, mode, rotated, *rules = answer.lines
    evidence(f"{line}; /var/log/ufw.log: {mode}")
    assert "[UFW BLOCK]" in line
    assert mode.split(",")[0] in ("mode 640", "mode 600")
    assert int(rotated) > 0, "nothing rotates it"
    limited = [rule for rule in rules if "UFW BLOCK" in rule]
    assert len(limited) == 2
    assert all("--limit 3/min" in rule for rule in limited)


@pytest.mark.control("NET-9")
def test_trusted_networks_have_ports_of_their_own(box, world, site, evidence, not_applicable):
    """What is listed for them is let in, with its reason, and silent for anybody else."""
    trusted = site.get(site.box, "firewall_trusted", [])
    if not trusted:
        not_applicable("firewall_trusted is empty")
    added = box.run("ufw show added").lines
    for item in trusted:
        for network in item["from"]:
            rules = [line for line in added if f"comment '{item['why']}'" in line and f" {network} " in f"{line} "]
            evidence(f"{network}: {'; '.join(rules)}")
            assert rules, f"no rule lets {network} in ({item['why']})"
            assert all(str(port) in rules[0] for port in item["ports"])
    ports = {int(port) for item in trusted for port in item["ports"]}
    for version, scan in world["scans"].items():
        assert not ports & set(scan["open"]), f"{version}: open to a stranger too"


@pytest.mark.control("NET-2")
def test_an_open_session_survives_the_limit(box, world, evidence):
    """The administrator who is in stays in, whatever goes on at the door."""
    begun = time.monotonic()
    try:
        assert box.run("echo still here").text.strip() == "still here"
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)
    evidence(f"the session answered in {time.monotonic() - begun:.1f} s after the burst")
