# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom becomes a promise kept only where somebody could have been reached, and somebody tried."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
SILENT, OPEN = "silent", "open"
ADDRESSES = {"proxy1": ("10.80.1.10", "fd80::1:10"), "app1": ("10.80.2.10", "fd80::2:10"),
             "db1": ("10.80.3.10", "fd80::3:10")}  # fmt: skip
OUT4, OUT6, IN4, IN6 = "198.18.0.2", "2001:2:0:1::2", "198.18.0.1", "2001:2:0:1::1"
FLOWS = [{"from": "10.80.1.10", "to": "10.80.2.10", "port": 8443},
         {"from": "sbapp", "to": "10.80.3.0/24", "port": 5432}]  # fmt: skip
ON_BOX, OUTSIDE, IN_CONTAINER = 47001, 47002, 47003


def site_of(**variables):
    from machine import Site

    bridges = zip(ADDRESSES, ("sbproxy", "sbapp", "sbdb"), strict=True)
    own = {
        "hardening_ssh_port": 822,
        "ansible_host": "192.0.2.1",
        "firewall_flows": FLOWS,
        "lxd_instances": [{"name": host, "network": bridge} for host, bridge in bridges],
        "lxd_networks": [{"name": name, "ipv4": "10.80.9.1/24", "ipv6": "fd80::9:1/64"}
                         for name in ("sbproxy", "sbapp", "sbdb")],
        **variables,
    }  # fmt: skip
    tiers = {host: {"securebox_address": four, "securebox_address6": six} for host, (four, six) in ADDRESSES.items()}
    groups = {"box": ["box"], "tiers": [*ADDRESSES], "proxy": ["proxy1"], "app": ["app1"], "db": ["db1"]}
    return Site(hosts={"box": own, **tiers}, groups=groups)


def world_of(public=(822,)):
    """All as it should be."""
    def one(source, target, address, port, result):
        return {"from": source, "to": target, "address": address, "port": port, "result": result}

    tries, echoes = [], []
    for address in ("127.0.0.1", "::1"):
        tries.append(one("box", "box", address, ON_BOX, OPEN))
    for address in (OUT4, OUT6):
        tries.append(one("box", "outside", address, OUTSIDE, OPEN))
        echoes.append(one("box", "outside", address, 0, "answered"))
    for address in (IN4, IN6):
        tries.append(one("outside", "box", address, ON_BOX, SILENT))
        tries.append(one("outside", "box", address, 822, OPEN if public else SILENT))
        echoes.append(one("outside", "box", address, 0, "answered"))
    flows = {("proxy1", "10.80.2.10", 8443), ("app1", "10.80.3.10", 5432)}
    for target, addresses in ADDRESSES.items():
        for address in addresses:
            tries.append(one("box", target, address, IN_CONTAINER, OPEN))
            echoes.append(one("box", target, address, 0, "answered"))
            for source in ("outside", *ADDRESSES):
                if source != target:
                    tries.extend(
                        one(source, target, address, port, OPEN if (source, address, port) in flows else SILENT)
                        for port in (5432, 8443, IN_CONTAINER)
                    )
                    echoes.append(one(source, target, address, 0, SILENT))
    for source in ADDRESSES:
        tries.append(one(source, "box", "10.80.9.1", 822, SILENT))
        echoes.extend(one(source, source, address, 0, "answered") for address in ("127.0.0.1", "::1"))
        for address in (OUT4, OUT6):
            tries.append(one(source, "outside", address, OUTSIDE, SILENT))
            echoes.append(one(source, "outside", address, 0, SILENT))
    scan = {"asked": 65535, "open": [*public], "refused": 0, "udp_asked": 1, "udp": {}}
    return {"tries": tries, "echoes": echoes, "scans": {"IPv4": scan, "IPv6": copy.deepcopy(scan)}, "udp": "b'?'",
            "stranger": {"IPv4": OUT4, "IPv6": OUT6}, "bursts": {}, "died": {}, "trouble": ""}  # fmt: skip


def change(world, result, kind="tries", **wanted):
    """Somebody's attempts came out otherwise; without a result they are not there at all."""
    chosen = [item for item in world[kind] if all(item[key.rstrip("_")] == value for key, value in wanted.items())]
    assert chosen
    world[kind] = [item for item in world[kind] if item not in chosen]
    if result:
        world[kind] += [{**item, "result": result} for item in chosen]


def run(module, name, site, world, **more):
    """What the report shows."""
    evidence, drawn = [], []

    def not_applicable(reason):
        raise LookupError(reason)

    given = {
        "site": site, "world": world, "evidence": evidence.append, "not_applicable": not_applicable, "unlocked": None,
        "measured": lambda *way: drawn.append(way), "tunnel": [{"public_key": "x"}], **more,
    }  # fmt: skip
    function = getattr(module, name)
    function(**{key: given[key] for key in inspect.signature(function).parameters})
    return "\n".join(evidence)


skipped = pytest.skip.Exception


# A stranger


NET_1 = ("test_a_service_that_somebody_starts_is_not_reached",
         "test_of_all_ports_only_ssh_is_open_to_who_comes_another_way")  # fmt: skip


@pytest.mark.parametrize("name", NET_1)
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_silence_is_proved_by_somebody_who_is_heard(load, name, family):
    """Where ssh answers nobody there is no success among his knocks: the way there has to be one."""
    firewall = load("firewall")
    closed = site_of(firewall_ssh_from=["wg0"])
    assert run(firewall, name, closed, world_of(public=()), family=family)
    broken = world_of(public=())
    change(broken, SILENT, from_="box", to="outside", address=OUT4 if family == "IPv4" else OUT6)
    with pytest.raises(skipped, match=f"nothing passes between the box and the stranger beside it by {family}"):
        run(firewall, name, closed, broken, family=family)
    run(firewall, name, closed, broken, family="IPv4" if family == "IPv6" else "IPv6")
    assert run(firewall, name, site_of(), world_of(), family=family)


@pytest.mark.parametrize("name", NET_1)
def test_a_box_without_ipv6_lets_nobody_in_by_it(load, name):
    firewall, world = load("firewall"), world_of(public=())
    change(world, "refused", from_="box", to="outside", address=OUT6)
    without = site_of(firewall_ipv6=False, firewall_ssh_from=["wg0"])
    with pytest.raises(LookupError, match="speaks no IPv6"):
        run(firewall, name, without, world, family="IPv6")
    world["scans"]["IPv6"]["open"] = [822]
    change(world, OPEN, from_="outside", to="box", address=IN6)
    with pytest.raises(AssertionError, match="firewall_ipv6 is off, and open"):
        run(firewall, name, without, world, family="IPv6")


def test_a_stranger_is_kept_from_containers_that_listen(load):
    firewall, name = load("firewall"), "test_a_stranger_never_reaches_a_container_directly"
    assert "18 ports" in run(firewall, name, site_of(), world_of())
    broken = world_of()
    change(broken, SILENT, from_="box", to="db1", address="fd80::3:10")
    with pytest.raises(AssertionError, match=r"nobody listened.*db1 at fd80::3:10"):
        run(firewall, name, site_of(), broken)
    broken = world_of(public=())
    change(broken, SILENT, from_="box", to="outside", address=OUT6)
    with pytest.raises(skipped, match="by IPv6"):
        run(firewall, name, site_of(firewall_ssh_from=["wg0"]), broken)


# The client's address

SSH = "0      0      {local}:822      {peer}:50000"
LINKS = [{"ifname": "eth0", "addr_info": [{"local": "203.0.113.10"}]}, {"ifname": "lo"},
         {"ifname": "wg0", "addr_info": [{"local": "10.99.0.1"}]}]  # fmt: skip
ROUTES = [{"dst": "default", "dev": "eth0"}, {"dst": "203.0.113.0/24", "dev": "eth0"},
          {"dst": "10.99.0.0/24", "dev": "wg0"}, {"dst": "10.80.1.0/24", "dev": "sbproxy"}]  # fmt: skip
ROUTES6 = [{"dst": "default", "dev": "eth0"}, {"dst": "fd80::1:0/112", "dev": "sbproxy"}]


@pytest.mark.parametrize(
    ("peer", "client", "why"),
    [
        ("198.51.100.7", "198.51.100.7", None),
        ("[::ffff:198.51.100.7]", "198.51.100.7", None),
        ("[2001:db8::7]", "2001:db8::7", None),
        ("198.51.100.7", "198.51.100.70", "ssh comes from 198.51.100.7"),
        ("198.51.100.7", "10.80.1.1", "ssh comes from 198.51.100.7"),
        ("10.99.0.2", "198.51.100.7", None),
        ("10.99.0.2", "203.0.113.77", None),
        ("10.99.0.2", "203.0.113.10", "hides who calls"),
        ("10.99.0.2", "10.80.1.1", "hides who calls"),
        ("10.99.0.2", "fd80::1:1", "hides who calls"),
        ("10.99.0.2", "10.99.0.1", "hides who calls"),
    ],
)
def test_the_clients_address_is_compared_with_what_is_known(load, peer, client, why):
    firewall = load("firewall")
    answers = {"grep": f'{client} - - "GET /verify"', "ss -tnH": SSH.format(local="10.99.0.1", peer=peer),
               "ip -j": "\n\n".join(map(json.dumps, (LINKS, ROUTES, ROUTES6)))}  # fmt: skip

    def answer(script):
        text = next(text for word, text in answers.items() if word in script)
        return SimpleNamespace(text=text, lines=[line for line in text.splitlines() if line.strip()])

    given = {"box": SimpleNamespace(run=answer), "front": SimpleNamespace(get=lambda _path: (404, {}, ""))}
    name = "test_the_clients_own_address_arrives_at_the_proxy"
    if why is None:
        told = run(firewall, name, site_of(), {}, **given)
        assert ("10.99.0.0/24" in told) == (peer == "10.99.0.2")
    else:
        with pytest.raises(AssertionError, match=why):
            run(firewall, name, site_of(), {}, **given)


# Containers


def test_flows_of_segments_and_networks_are_those_of_their_containers(load):
    firewall = load("firewall")
    assert firewall.allowed_flows(site_of()) == {("proxy1", "10.80.2.10", 8443), ("app1", "10.80.3.10", 5432)}
    six = [{"from": "sbapp", "to": "fd80::3:10", "port": 5432},
           {"from": "sbapp", "to": "mail.example.org", "port": 587},
           {"from": "sbapp", "to": "10.80.3.10", "port": 53, "proto": "udp"}]  # fmt: skip
    assert firewall.allowed_flows(site_of(firewall_flows=six)) == {("app1", "fd80::3:10", 5432)}


def test_listed_flows_are_tried_and_those_to_names_in_the_world_are_not_theirs(load):
    firewall, name = load("firewall"), "test_listed_flows_work"
    mail = {"from": "10.80.2.10", "to": "mail.example.org", "port": 587}
    told = run(firewall, name, site_of(firewall_flows=[*FLOWS, mail]), world_of())
    assert "app1 to db1:5432: open" in told
    assert "not tried, because what answers there is not the box's: mail.example.org:587" in told
    for flows in ([], [mail]):
        with pytest.raises(LookupError, match="nothing between the containers"):
            run(firewall, name, site_of(firewall_flows=flows), world_of())
    broken = world_of()
    change(broken, "refused", from_="app1", address="10.80.3.10", port=5432)
    with pytest.raises(AssertionError, match="app1 does not reach db1"):
        run(firewall, name, site_of(), broken)


CONTAINERS = ("test_nothing_else_passes_between_the_containers", "test_containers_reach_no_service_of_the_box",
              "test_containers_reach_no_stranger")  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_who_did_not_try_has_proved_nothing(load, name):
    firewall = load("firewall")
    assert run(firewall, name, site_of(), world_of())
    broken = world_of()
    change(broken, None, from_="db1")
    broken["died"], broken["trouble"] = {"db1": "python3: not found"}, " python3: not found"
    with pytest.raises(AssertionError, match=r"tried nothing: db1 \(python3: not found\)"):
        run(firewall, name, site_of(), broken)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (CONTAINERS[0], {"from_": "app1", "address": "fd80::3:10"}),
        (CONTAINERS[0], {"from_": "db1", "address": "10.80.2.10", "port": 8443}),
        (CONTAINERS[1], {"from_": "db1", "to": "box"}),
        (CONTAINERS[2], {"from_": "db1", "address": OUT6}),
    ],
)
def test_what_passes_breaks_the_promise(load, name, wanted):
    firewall, broken = load("firewall"), world_of()
    change(broken, OPEN, **wanted)
    with pytest.raises(AssertionError):
        run(firewall, name, site_of(), broken)


def test_everybody_listens_by_each_protocol_that_the_box_speaks_there(load):
    firewall, name, broken = load("firewall"), CONTAINERS[0], world_of()
    change(broken, "no way: unreachable", from_="box", address="fd80::3:10")
    with pytest.raises(AssertionError, match="db1 at fd80::3:10"):
        run(firewall, name, site_of(), broken)
    networks = [{"name": "sbproxy", "ipv4": "a", "ipv6": "b"}, {"name": "sbapp", "ipv4": "a", "ipv6": "b"},
                {"name": "sbdb", "ipv4": "a", "ipv6": ""}]  # fmt: skip
    assert run(firewall, name, site_of(lxd_networks=networks), broken)
    assert run(firewall, name, site_of(firewall_ipv6=False), broken)


def test_the_box_reaches_the_listener_outside_by_each_protocol(load):
    firewall, broken = load("firewall"), world_of()
    change(broken, SILENT, from_="box", to="outside", address=OUT6)
    with pytest.raises(AssertionError, match="no listener there by IPv6"):
        run(firewall, CONTAINERS[2], site_of(), broken)
    assert run(firewall, CONTAINERS[2], site_of(firewall_ipv6=False), broken)


ECHO = "test_no_echo_passes_between_containers_or_to_the_world"


@pytest.mark.parametrize(
    ("result", "wanted", "why"),
    [
        ("answered", {"from_": "app1", "to": "outside", "address": OUT4}, r"ICMP passes: app1 to outside \(198"),
        ("answered", {"from_": "app1", "to": "db1", "address": "fd80::3:10"}, "ICMP passes: app1 to db1"),
        ("answered", {"from_": "outside", "to": "db1", "address": "10.80.3.10"}, "ICMP passes: outside to db1"),
        (SILENT, {"from_": "box", "to": "db1", "address": "fd80::3:10"}, "anyway.*box to fd80::3:10"),
        (SILENT, {"from_": "db1", "to": "db1", "address": "::1"}, "nobody answers.*anyway.*db1 to ::1"),
        (None, {"from_": "db1"}, "tried nothing: db1"),
    ],
)
def test_icmp(load, result, wanted, why):
    firewall, broken = load("firewall"), world_of()
    assert "24 echoes" in run(firewall, ECHO, site_of(), world_of())
    change(broken, result, "echoes", **wanted)
    with pytest.raises(AssertionError, match=why):
        run(firewall, ECHO, site_of(), broken)


def test_icmp_to_a_stranger_who_answers_nobody_was_not_tried(load):
    firewall, broken = load("firewall"), world_of()
    change(broken, SILENT, "echoes", from_="box", address=OUT6)
    with pytest.raises(skipped, match=f"a stranger at {OUT6} does not answer the box either"):
        run(firewall, ECHO, site_of(), broken)
    assert run(firewall, ECHO, site_of(firewall_ipv6=False), broken)
    broken.update(stranger={}, trouble="no scratch network")
    with pytest.raises(skipped, match="no scratch network"):
        run(firewall, ECHO, site_of(), broken)


def test_the_program_for_echoes_hears_who_answers():
    import socket
    import subprocess

    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except PermissionError:
        pytest.skip("raw sockets are root's")
    spec = importlib.util.spec_from_file_location("probe_world", SUITE / "probes/world.py")
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)
    # The last is of documentation's range (RFC 3849): nobody has it.
    command = [sys.executable, "-c", probe.ECHO, json.dumps(["127.0.0.1", "2001:db8::9"]), "0.6"]
    first, last = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert first == "answered"
    assert last != "answered"


# Logs, and who is trusted

LOG = "Nov 18 box kernel: [UFW BLOCK] IN=sbv1 OUT= SRC={address} DST=198.18.0.1 LEN=60"
RULES = [f"-A {chain} -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix [UFW BLOCK]" for chain in "ab"]


@pytest.mark.parametrize("address", [OUT4, "2001:0002:0000:0000:0001:0000:0000:0002"])
def test_drops_of_this_run_are_in_the_log(load, tmp_path, address):
    """The script itself is run here, on a log of our own."""
    import subprocess

    firewall, log = load("firewall"), tmp_path / "ufw.log"
    log.touch(0o640)
    world, name = world_of(), "test_drops_are_logged_at_a_limited_rate_to_a_file_of_their_own"
    world["stranger"]["IPv6"] = "2001:2::1:0:0:2"
    tools = "logrotate() { echo /var/log/ufw.log; }; iptables() { :; }; ip6tables() { :; }\n"

    def answer(script):
        script = tools + script.replace("/var/log/ufw.log.1", "/nowhere").replace("' '/var/log/ufw.log", "")
        script = script.replace("/var/log/ufw.log 2>", f"{log} 2>").replace("bytes' /var/log/ufw.log", f"bytes' {log}")
        text = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False).stdout
        return SimpleNamespace(lines=[line for line in text.splitlines() if line.strip()] + RULES)

    box = SimpleNamespace(run=answer)
    log.write_text(LOG.format(address="192.0.2.99") + "\n" + LOG.format(address="198.18.0.22") + "\n")
    with pytest.raises(AssertionError, match=r"no line of 198\.18\.0\.2 or 2001:0002:.*0002, who was dropped"):
        run(firewall, name, site_of(), world, box=box)
    with log.open("a") as stream:
        stream.write(LOG.format(address=address) + "\n")
    assert f"SRC={address} " in run(firewall, name, site_of(), world, box=box)
    world["scans"] = {}
    with pytest.raises(skipped, match="nobody was dropped"):
        run(firewall, name, site_of(), world, box=box)


def test_ports_of_trusted_networks_are_tried_by_somebody_else(load):
    firewall, name = load("firewall"), "test_trusted_networks_have_ports_of_their_own"
    networks = {"from": ["192.0.2.0/24"]}
    trusted = {"firewall_trusted": [{**networks, "ports": [9100], "why": "monitoring"},
                                    {**networks, "ports": [161], "why": "snmp", "proto": "udp"}]}  # fmt: skip
    lines = ["ufw allow from 192.0.2.0/24 to any port 9100 proto tcp comment 'monitoring'",
             "ufw allow from 192.0.2.0/24 to any port 161 proto udp comment 'snmp'"]  # fmt: skip
    box = SimpleNamespace(run=lambda _script: SimpleNamespace(lines=lines))
    assert run(firewall, name, site_of(**trusted), world_of(), box=box)
    for found in ({"open": [822, 9100]}, {"udp": {"161": "b'?'"}}):
        broken = world_of()
        broken["scans"]["IPv6"].update(found)
        with pytest.raises(AssertionError, match="IPv6: open to a stranger too"):
            run(firewall, name, site_of(**trusted), broken, box=box)
    broken = world_of()
    del broken["scans"]["IPv6"]
    with pytest.raises(skipped, match="nobody else was tried by IPv6"):
        run(firewall, name, site_of(**trusted), broken, box=box)


# The tunnel

TUNNEL = "test_ssh_answers_inside_the_tunnel_only"
BY_TUNNEL = "ufw limit in on wg0 to any port 822 proto tcp comment 'ssh'"
OTHERS = [
    "Added user rules (see 'ufw status' for running firewall):",
    "ufw deny in on sbdb to any port 822",
    "ufw allow 51820/udp comment 'WireGuard'",
    "ufw route allow in on eth0 to 10.80.1.10 port 443",
    "ufw allow in on sbdb to ::/0 port 547 proto udp",
    "ufw allow in on sbdb to any port 53",
]


def tunnel(load, world, *rules, **variables):
    said = lambda _host, _name: SimpleNamespace(lines=[*OTHERS, *rules])  # noqa: E731
    return run(load("wireguard"), TUNNEL, site_of(**{"firewall_ssh_from": ["wg0"], **variables}), world, said=said)


def test_ssh_inside_the_tunnel_only(load):
    assert "ufw lets ssh in by ufw limit in on wg0" in tunnel(load, world_of(public=()), BY_TUNNEL)
    with pytest.raises(AssertionError, match="ssh answers a stranger by IPv4"):
        tunnel(load, world_of(), BY_TUNNEL)
    with pytest.raises(AssertionError, match="no rule of ufw"):
        tunnel(load, world_of(public=()))


def test_while_ssh_is_open_the_tunnel_is_not_the_only_way(load):
    """It is no success, and no matter of the site's either: the control is not covered."""
    with pytest.raises(skipped, match=r"still open to everybody: firewall_ssh_from is empty.*wireguard\.md, step 3"):
        tunnel(load, world_of(), "ufw limit 822/tcp comment 'ssh'", firewall_ssh_from=[])
    with pytest.raises(skipped, match=r"let in elsewhere too: 192\.0\.2\.0/24"):
        tunnel(load, world_of(public=()), BY_TUNNEL, firewall_ssh_from=["wg0", "192.0.2.0/24"])


@pytest.mark.parametrize("rule", [
    "ufw allow from 192.0.2.7", "ufw allow from 192.0.2.7 to any port 22,822 proto tcp comment 'monitoring'",
    "ufw allow 800:900/tcp", "ufw limit 822", "ufw allow OpenSSH", "ufw allow in on wg01 to any port 822 proto tcp",
    "ufw allow from 192.0.2.7 port 53",
])  # fmt: skip
def test_any_rule_that_lets_ssh_in_is_told(load, rule):
    with pytest.raises(skipped, match=r"let in elsewhere too: ufw (allow|limit)"):
        tunnel(load, world_of(public=()), BY_TUNNEL, rule)


def test_a_tunnel_is_not_proved_by_the_silence_of_a_dead_way(load):
    world = world_of(public=())
    change(world, SILENT, from_="box", to="outside", address=OUT6)
    with pytest.raises(skipped, match="by IPv6"):
        tunnel(load, world, BY_TUNNEL)
    assert tunnel(load, world, BY_TUNNEL, firewall_ipv6=False)
    del world["scans"]["IPv6"]
    with pytest.raises(skipped, match="not tried by IPv6"):
        tunnel(load, world, BY_TUNNEL)


# Rules in ufw's own files

PACKAGE = "# a comment\n*filter\n:ufw-before-input - [0:0]\n\n-A y -i lo -j ACCEPT\n-A x -j DROP\nCOMMIT\n"
DOOR = "-A ufw-before-input -p tcp --dport 111 -j ACCEPT"


@pytest.fixture
def edited(tmp_path):
    """What the probe says of files; what is written is in use, the package's copies are in its second place."""
    spec = importlib.util.spec_from_file_location("probe_foreign", SUITE / "probes/foreign.py")
    probe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(probe)
    in_use, *pristine = places = [tmp_path / name for name in ("etc", "share", "share/iptables")]
    for place in places:
        place.mkdir()
        for name in probe.FILES if place != pristine[0] else ():
            (place / name).write_text(PACKAGE)

    def look(name="before.rules", text=PACKAGE, mode=0o640):
        (in_use / name).write_text(text)
        (in_use / name).chmod(mode)
        return [[line.removeprefix(f"{in_use}/") for line in found] for found in probe.edited(in_use, pristine)]

    return look


def test_comments_and_blank_lines_are_nobodys_rules(edited):
    assert edited(text=f"# {DOOR}\n\n  # mine\n{PACKAGE.replace('*filter', '*filter  ')}") == [[], [], []]


@pytest.mark.parametrize("name", ["before.rules", "before6.rules", "after.rules", "after6.rules"])
def test_a_rule_in_a_file_of_ufw_is_foreign(edited, name):
    found = edited(name, PACKAGE.replace("COMMIT", f"{DOOR}\nCOMMIT"))
    assert found == [[f"{name}, line 7: {DOOR}: not the package's"], [], []]


def test_a_rule_more_than_once_or_elsewhere_is_noticed(edited):
    twice = PACKAGE.replace("-A x -j DROP", "-A x -j DROP\n-A x -j DROP")
    assert edited(text=twice)[0] == ["before.rules, line 7: -A x -j DROP: not the package's"]
    turned = PACKAGE.replace("-A x -j DROP\n", "").replace("-A y", "-A x -j DROP\n-A y")
    assert edited(text=turned)[0] == ["before.rules: the package's rules, in another order"]


def test_a_rule_of_the_package_that_was_taken_out_is_gone(edited):
    found = edited(text=PACKAGE.replace("-A x -j DROP\n", ""))
    assert found == [[], ["before.rules: -A x -j DROP: the package's, and gone"], []]


def test_without_the_packages_copy_nothing_is_known(edited, tmp_path, load):
    (tmp_path / "share/iptables/before.rules").unlink()
    foreign, gone, unknown = edited()
    assert (foreign, gone) == ([], [])
    assert len(unknown) == 1 and "share/before.rules is gone (apt-get install --reinstall ufw)" in unknown[0]
    for name in ("test_nobody_opens_a_path_past_the_firewall", "test_what_the_firewall_says_is_in_force"):
        found = {"foreign": [], "gone": [], "unknown": []}
        assert run(load("firewall"), name, site_of(), {}, foreign=found)
        with pytest.raises(skipped, match="--reinstall ufw"):
            run(load("firewall"), name, site_of(), {}, foreign={**found, "unknown": unknown})


def test_a_hook_that_runs_is_looked_at_too(edited, tmp_path):
    (tmp_path / "share/after.init").write_text("exit 0\n")
    assert edited("after.init", "iptables -I INPUT -j ACCEPT\nexit 0\n")[0] == []
    found = edited("after.init", "iptables -I INPUT -j ACCEPT\nexit 0\n", 0o750)
    assert found == [["after.init, line 1: iptables -I INPUT -j ACCEPT: not the package's"], [], []]
