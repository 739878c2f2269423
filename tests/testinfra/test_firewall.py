# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom: from outside, between the containers, and from them to the world."""

from __future__ import annotations

import ipaddress
import json
import secrets
import time

import outside
import pytest
import reach
from attempts import VERSIONS, missing, need_way, require, tries, version, versions, way
from machine import Unreachable

ON_BOX, OUTSIDE, IN_CONTAINER = 47001, 47002, 47003
# What is looked for on a server first.
_COMMON = """
    21 22 23 25 53 80 110 111 135 139 143 389 443 445 465 587 631 636 822 873 993 1433 1521 2049 2375 2376 3000 3306
    3389 4369 5000 5432 5601 5900 5984 6379 6443 8000 8005 8009 8080 8081 8443 8888 9000 9090 9100 9200 10250 11211
    15672 27017
"""
COMMON = [int(port) for port in _COMMON.split()]


def keep(site, measured, items):
    """For the drawing: who was tried by whom, and what was open. A listener of the probe's own stands for any port."""
    for pair in sorted({(item["from"], item["to"]) for item in items}):
        opened = {item["port"] for item in items if (item["from"], item["to"]) == pair and item["result"] == "open"}
        source, target = (site.box if name == "box" else name for name in pair)
        measured(source, target, {reach.ANY if port in (ON_BOX, IN_CONTAINER) else port for port in opened})


def known(site, host):
    """A container's addresses of the protocols that the box speaks there: by them it reaches the container."""
    networks = {item["name"]: item for item in site.get(site.box, "lxd_networks", [])}
    network = networks.get(site.segment(host), {"ipv4": "?", "ipv6": "?"})
    return [
        address
        for address in site.addresses(host)
        if network.get(version(address).lower()) and version(address) in versions(site)
    ]


def need_everybody(world, site, kind="tries"):
    """Each container has tried: what one that did not try has not reached proves nothing."""
    gone = missing(world, site.containers, kind)
    assert not gone, (
        f"tried nothing: {'; '.join(f'{host} ({why})' for host, why in gone.items())}: start it, or install python3 "
        "there, and verify again"
    )


def need_listeners(world, site):
    """In each container somebody listened, at each of its addresses: or silence would be nobody's."""
    heard = {item["address"]: item["result"] for item in tries(world, **{"from": "box", "port": IN_CONTAINER})}
    mute = {
        f"{host} at {address}": heard.get(address, "not tried")
        for host in site.containers
        for address in known(site, host)
        if heard.get(address) != "open"
    }
    assert heard and not mute, (
        f"nobody listened, so the silence proves nothing: {mute or world['trouble']}: does the container run, with "
        "that address?"
    )


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


def without(site, family, opened, not_applicable):
    """A box that does not speak a protocol lets nobody in by it, and has no success of its own to compare with."""
    if family not in versions(site):
        assert not opened, f"firewall_ipv6 is off, and open to a stranger are {sorted(opened, key=int)}"
        not_applicable("firewall_ipv6 is off: the box speaks no IPv6")


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("family", VERSIONS)
def test_a_service_that_somebody_starts_is_not_reached(world, site, evidence, not_applicable, family):
    """A listener was started on the box: itself reaches it, a stranger does not, to whom packets come and go."""
    items = tries(world, **{"from": "outside", "to": "box"})
    items = [item for item in items if version(item["address"]) == family]
    answers = {item["port"]: item["result"] for item in require(world, items)}
    evidence(f"a stranger, over {family}: {answers}")
    without(site, family, {port for port, answer in answers.items() if answer == "open"}, not_applicable)
    assert {item["result"] for item in tries(world, **{"from": "box", "to": "box", "port": ON_BOX})} == {"open"}
    assert answers[ON_BOX] == "silent"
    assert [port for port, answer in answers.items() if answer == "open"] == site.public_ssh
    need_way(world, family)


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("family", VERSIONS)
def test_of_all_ports_only_ssh_is_open_to_who_comes_another_way(world, site, evidence, not_applicable, family):
    """All 65,535 ports of TCP, the 100 most used of UDP. 80 and 443 are open to the uplink alone, which this is not."""
    scan = world["scans"].get(family)
    if scan is None:
        pytest.skip(f"not tried: {world['trouble'] or 'no ' + family}")
    evidence(
        f"{family}: {scan['asked']} ports of TCP: open {scan['open']}, refused {scan['refused']}, the rest silent; "
        f"{scan['udp_asked']} of UDP: answered {scan['udp']}"
    )
    without(site, family, {*scan["open"], *scan["udp"]}, not_applicable)
    assert scan["asked"] == 65535
    assert scan["open"] == site.public_ssh
    assert scan["refused"] == 0, "what is refused was let in, and nobody happened to listen"
    assert world["udp"], "nobody listened by UDP, so the silence proves nothing"
    assert scan["udp"] == {}
    need_way(world, family)


@pytest.mark.control("NET-1")
def test_a_stranger_never_reaches_a_container_directly(world, site, unlocked, evidence):
    """Knowing an inner address does not help: containers that listen are silent for a stranger who routes to them."""
    items = [item for item in tries(world, **{"from": "outside"}) if item["to"] != "box"]
    open_ones = [item for item in require(world, items) if item["result"] == "open"]
    evidence(f"{len(items)} ports of the containers tried, {len(open_ones)} open")
    assert open_ones == []
    need_listeners(world, site)
    need_way(world, *versions(site))


@pytest.mark.control("NET-2")
@pytest.mark.parametrize("family", VERSIONS)
def test_many_new_ssh_connections_are_refused(world, site, evidence, family):
    """Guessing is slowed down: of a burst from one address the first are let in, and then no more."""
    burst = world["bursts"].get(family)
    if not site.public_ssh:
        pytest.skip("ssh does not answer strangers at all")
    if burst is None:
        pytest.skip(f"not tried: {world['trouble'] or 'no ' + family}")
    evidence(f"{family}: {', '.join(burst)}")
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
    peers = ssh_peers(box.run(f"ss -tnH state established '( sport = :ssh or sport = :{site.ssh_port} )'").text)
    if client in peers:
        evidence(f"the proxy logged {client}, from where ssh comes as well")
        return
    own, inner = insiders(box.run(NETWORKS).lines)
    tunnelled = [peer for peer in peers if inside(peer, inner)]
    assert tunnelled, f"the proxy logged {client}, but ssh comes from {', '.join(peers) or 'nowhere'}"
    evidence(
        f"the proxy logged {client}; ssh comes by the tunnel ({', '.join(tunnelled)}), so that was compared with the "
        f"box's own addresses ({', '.join(sorted(own))}) and with what is behind it ({', '.join(map(str, inner))})"
    )
    assert client not in own and not inside(client, inner), (
        f"the proxy logged {client}, which is the box's own or behind it: something on the box hides who calls "
        "(`nft list ruleset` shows what masquerades)"
    )


# Three lines of JSON: addresses, and the routes of both protocols.
NETWORKS = "for words in address route '-6 route'; do ip -j $words show; echo; done"


def ssh_peers(text):
    """The other ends of ssh's connections, by `ss`."""
    ends = [line.split()[-1].rpartition(":")[0].strip("[]") for line in text.splitlines() if line.strip()]
    return sorted({end.partition("%")[0].removeprefix("::ffff:") for end in ends})


def insiders(lines):
    """(the box's own addresses, the networks behind it): all that is not reached by where the world is."""
    links, *routes = (json.loads(line) for line in lines)
    routes = [route for found in routes for route in found]
    uplinks = {route.get("dev") for route in routes if route["dst"] == "default"}
    own = {address["local"] for link in links for address in link.get("addr_info", []) if "local" in address}
    behind = {route["dst"] for route in routes if route["dst"] != "default" and route.get("dev") not in uplinks}
    return own, sorted(filter(None, map(network, behind)), key=str)


def network(text):
    """A network, where that is one: flows and routes have names as well."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def inside(address, networks):
    return any(ipaddress.ip_address(address) in item for item in networks)


def allowed_flows(site):
    """{(container, address of another, port)}. A flow names addresses, networks or a segment; or a name in the world,
    which is no container's."""

    def meant(end, host, address):
        found = network(end)
        return end == site.segment(host) or (found is not None and ipaddress.ip_address(address) in found)

    ends = [(host, address) for host in site.containers for address in site.addresses(host)]
    return {
        (source, address, int(flow["port"]))
        for flow in site.get(site.box, "firewall_flows", [])
        if flow.get("proto", "tcp") == "tcp"
        for source, own in ends
        for target, address in ends
        if source != target and version(own) == version(address)
        if meant(flow["from"], source, own) and meant(flow["to"], target, address)
    }


@pytest.mark.control("NET-4")
def test_listed_flows_work(world, site, unlocked, evidence, not_applicable):
    """What the site needs does get through; so the refusals below are the firewall's, and not a dead network's."""
    names = {address: host for host in site.containers for address in site.addresses(host)}
    flows = allowed_flows(site)
    for flow in site.get(site.box, "firewall_flows", []):
        if network(flow["to"]) is None:
            evidence(f"not tried, because what answers there is not the box's: {flow['to']}:{flow['port']}")
    if not flows:
        not_applicable("firewall_flows lists nothing between the containers")
    for source, target, port in sorted(flows):
        items = require(world, tries(world, **{"from": source, "address": target, "port": port}))
        evidence(f"{source} to {names[target]}:{port}: {items[0]['result']}")
        assert items[0]["result"] == "open", (
            f"{source} does not reach {names[target]} ({target}) at port {port}: {items[0]['result']}. Does the "
            "service there run, and listen at that address?"
        )


@pytest.mark.control("NET-4")
def test_nothing_else_passes_between_the_containers(world, site, unlocked, evidence, measured):
    """Every pair, every port of the site and one where somebody listens, on both IP versions."""
    flows = allowed_flows(site)
    items = [item for item in world["tries"] if item["from"] in site.containers and item["to"] in site.containers]
    open_ones = [
        item
        for item in require(world, items)
        if item["result"] == "open" and (item["from"], item["address"], item["port"]) not in flows
    ]
    evidence(f"{len(items)} tries between {', '.join(site.containers)}; open beyond what is listed: {len(open_ones)}")
    keep(site, measured, items)
    assert open_ones == []
    need_everybody(world, site)
    need_listeners(world, site)


@pytest.mark.control("NET-4", "NET-6")
def test_no_echo_passes_between_containers_or_to_the_world(world, site, unlocked, evidence):
    """ICMP carries data as well as any port. The box's own echo is answered by all of them, and each answers itself."""
    echoes = world["echoes"]
    items = [
        item
        for item in echoes
        if item["from"] not in ("box", item["to"]) and {item["from"], item["to"]} & {*site.containers}
    ]
    passed = [f"{item['from']} to {item['to']} ({item['address']})" for item in items if item["result"] == "answered"]
    evidence(f"{len(items)} echoes between {', '.join(site.containers)} and a stranger; answered: {len(passed)}")
    assert not passed, f"ICMP passes: {', '.join(passed)}"
    need_everybody(world, site, "echoes")
    answered = {(item["from"], item["address"]) for item in echoes if item["result"] == "answered"}
    oneself = {"IPv4": "127.0.0.1", "IPv6": "::1"}
    wanted = [(host, oneself[version(address)]) for host in site.containers for address in known(site, host)]
    wanted += [("box", address) for host in site.containers for address in known(site, host)]
    mute = sorted({f"{source} to {address}" for source, address in wanted if (source, address) not in answered})
    assert not mute, f"nobody answers there anyway, so the silence proves nothing: {', '.join(mute)}"
    if not world["stranger"]:
        pytest.skip(f"not tried to the world: {world['trouble'] or 'no stranger'}")
    strangers = [world["stranger"][family] for family in versions(site)]
    mute = [address for address in strangers if ("box", address) not in answered]
    if mute:
        pytest.skip(f"not tried to the world: a stranger at {', '.join(mute)} does not answer the box either")
    evidence(f"answered to the box: {', '.join(address for source, address in sorted(answered) if source == 'box')}")


@pytest.mark.control("NET-4")
def test_containers_reach_no_service_of_the_box(world, site, unlocked, evidence, measured):
    """Its ssh, and whatever else it runs, is none of a container's business; what is listed for them they do reach."""
    listed = {int(item["port"]) for item in site.get(site.box, "firewall_segment_services", [])}
    segments = {item["name"] for item in site.get(site.box, "firewall_segments", [])}
    names = {53} if segments - set(site.get(site.box, "firewall_segments_without_dns", [])) else set()
    items = [item for item in world["tries"] if item["from"] in site.containers and item["to"] == "box"]
    open_ones = {(item["from"], item["port"]) for item in require(world, items) if item["result"] == "open"}
    evidence(f"open from containers: {sorted(open_ones)}")
    keep(site, measured, items)
    assert {port for _host, port in open_ones} <= names | listed
    need_everybody(world, site)
    need_listeners(world, site)
    assert {(host, port) for host in site.containers for port in listed} <= open_ones


@pytest.mark.control("NET-4")
def test_containers_reach_no_stranger(world, site, unlocked, evidence):
    """A broken container cannot call home: a listener outside, which the box reaches, hears nothing from them."""
    items = [item for item in tries(world, to="outside") if item["from"] in site.containers]
    results = {f"{item['from']}, {version(item['address'])}": item["result"] for item in require(world, items)}
    evidence(f"to a port outside that is not listed: {results}")
    assert "open" not in results.values()
    need_everybody(world, site)
    heard = {version(item["address"]): item["result"] for item in tries(world, **{"from": "box", "to": "outside"})}
    mute = [family for family in versions(site) if heard.get(family) != "open"]
    assert not mute, f"the box reaches no listener there by {', '.join(mute)}, so the silence proves nothing: {heard}"


@pytest.fixture(scope="session")
def foreign(box):
    """Rules that ufw does not know of, and those of its own that are gone (probes/foreign.py)."""
    try:
        return box.program("foreign", {})
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)


def compared(foreign):
    """What stands in ufw's own files is known as its own only by the package's copies."""
    if foreign["unknown"]:
        pytest.skip("; ".join(foreign["unknown"]))


@pytest.mark.control("NET-11")
def test_nobody_opens_a_path_past_the_firewall(foreign, evidence):
    """Docker and others put rules of their own before ufw's, or into its files: its status does not show them."""
    evidence("; ".join(foreign["foreign"]) or "all rules in force are ufw's, and nothing else leads packets elsewhere")
    assert foreign["foreign"] == [], (
        "rules that ufw does not show. If they are yours, they belong into firewall_rules; remove them here: "
        f"{'; '.join(foreign['foreign'])}"
    )
    compared(foreign)


@pytest.mark.control("NET-1")
def test_what_the_firewall_says_is_in_force(foreign, evidence):
    """Its files are the package's, and loaded into an empty network make the same rules that the kernel has."""
    evidence("; ".join(foreign["gone"]) or "no rule is missing")
    assert foreign["gone"] == [], f"rules of ufw are gone (`ufw reload` loads its files): {'; '.join(foreign['gone'])}"
    compared(foreign)


@pytest.mark.control("NET-8")
def test_drops_are_logged_at_a_limited_rate_to_a_file_of_their_own(box, world, site, evidence):
    """What was tried stays known, and trying often fills no disk. This run's stranger was dropped, so he is named."""
    callers = [
        ipaddress.ip_address(world["stranger"][family]).exploded
        for family, scan in world["scans"].items()
        if scan["asked"] and "open" in way(world, family)
    ]
    if not callers:
        pytest.skip(f"nobody was dropped whom the log would name: {world['trouble'] or 'no stranger'}")
    # Of thousands of drops some are written down, shared with what others try at that moment: so of any protocol.
    found = " ".join(f"-e ' SRC={address} '" for address in callers)
    script = f"""
    cat /var/log/ufw.log.1 /var/log/ufw.log 2>/dev/null | grep -F '[UFW BLOCK]' | grep -F {found} | tail -n 1 |
        grep . || echo none
    stat -c 'mode %a, %s bytes' /var/log/ufw.log
    logrotate --debug /etc/logrotate.conf 2>&1 | grep -c '/var/log/ufw.log'
    iptables -S ufw-after-logging-input; ip6tables -S ufw6-after-logging-input
    """
    answer = box.run(script)
    line, mode, rotated, *rules = answer.lines
    evidence(f"{line}; /var/log/ufw.log: {mode}")
    assert "[UFW BLOCK]" in line, (
        f"/var/log/ufw.log has no line of {' or '.join(callers)}, who was dropped a moment ago: is firewall_logging "
        "off, or rsyslog not running?"
    )
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
    for family, scan in world["scans"].items():
        opened = ports & {int(port) for port in (*scan["open"], *scan["udp"])}
        assert not opened, f"{family}: open to a stranger too: {sorted(opened)}"
    unasked = [family for family in versions(site) if world["scans"].get(family, {}).get("asked") != 65535]
    if unasked:
        pytest.skip(f"nobody else was tried by {', '.join(unasked)}: {world['trouble'] or 'the scan has no answer'}")
    need_way(world, *versions(site))


@pytest.mark.control("NET-2")
def test_an_open_session_survives_the_limit(box, world, evidence):
    """The administrator who is in stays in, whatever goes on at the door."""
    begun = time.monotonic()
    try:
        assert box.run("echo still here").text.strip() == "still here"
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)
    evidence(f"the session answered in {time.monotonic() - begun:.1f} s after the burst")
