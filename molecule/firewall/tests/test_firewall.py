# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is described passes; what is not, does not. Asked from outside, from behind, and of the kernel."""

from __future__ import annotations

import json
import re
import socket
import time

import pytest
from machines import ask, forget_callers, scan


@pytest.mark.control("NET-1")
def test_the_world_reaches_ssh_and_the_forwarded_ports_only(stranger, gate, family):
    """All 65,535 ports of tcp. Something listens at 111 to be found, if the firewall lets it."""
    gate.check_output("systemd-run --quiet --unit decoy /usr/local/bin/who 111 3306 || true")
    assert scan(stranger, family["gate"]) == {22, 80, 443} | ({9001} if "." in family["gate"] else set())
    assert ask(gate, "127.0.0.1", 111) == "127.0.0.1"


@pytest.mark.control("NET-3")
@pytest.mark.parametrize("port", [80, 443])
def test_the_machine_behind_sees_the_callers_own_address(stranger, family, port):
    """Bans, limits and logs of the proxy are about real clients."""
    assert ask(stranger, family["gate"], port) == family["stranger"]


@pytest.mark.control("NET-3")
def test_a_forward_may_change_the_port(stranger, lab):
    assert ask(stranger, lab.machines["gate"].address, 9001) == lab.machines["stranger"].address


@pytest.mark.control("NET-3")
def test_the_server_reaches_its_own_forwards(gate, family):
    """By its public address; its own loopback stays its own."""
    assert ask(gate, family["gate"], 443)
    assert ask(gate, "127.0.0.1", 443) is None


@pytest.mark.control("NET-3")
def test_the_machine_behind_reaches_itself_by_the_public_address(gate, family):
    assert ask(gate, family["gate"], 443, "ip netns exec proxy")


@pytest.mark.control("NET-4")
@pytest.mark.parametrize(("source", "target", "port", "passes"), [
    ("proxy", "10.91.2.10", 8443, True),
    ("proxy", "10.91.2.10", 5432, False),
    ("app", "10.91.1.10", 80, False),
    ("app", "10.91.1.1", 22, False),
    ("app", "10.91.2.1", 22, False),
    ("app", "10.91.1.1", 111, False),
])
def test_machines_behind_reach_each_other_only_by_a_flow(gate, source, target, port, passes):
    assert bool(ask(gate, target, port, f"ip netns exec {source}")) is passes


@pytest.mark.control("NET-4")
def test_machines_behind_see_each_others_own_address(gate):
    """Databases decide by the address of the caller, and logs name it."""
    assert ask(gate, "10.91.2.10", 8443, "ip netns exec proxy") == "10.91.1.10"


@pytest.mark.control("NET-4", "NET-6")
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_no_echo_passes_between_machines_or_to_the_world(gate, lab, version):
    """What an echo carries is free: it would be a tunnel that no rule shows. The server itself may ask everybody."""
    world = lab.machines["stranger"].address if version == "IPv4" else lab.machines["stranger"].address6
    inside = "10.91.1.10" if version == "IPv4" else "fd91:0:0:1::10"
    for target in (world, inside):
        assert gate.run(f"ping -c 1 -W 3 {target}").succeeded
        assert not gate.run(f"ip netns exec app ping -c 1 -W 2 {target}").succeeded


@pytest.mark.control("NET-4")
def test_who_asks_where_nobody_is_hears_it_at_once(gate):
    """Errors that belong to a connection pass: a port without a listener, behind a flow, says so."""
    say = "import socket; socket.create_connection(('10.91.2.10', 8443), 3)"
    caller = 'ip netns exec proxy python3 -c "' + say + '"'
    assert gate.run(caller).succeeded
    gate.check_output("ip netns exec app iptables -I INPUT -p tcp --dport 8443 -j REJECT")
    try:
        told = gate.run(caller)
    finally:
        gate.check_output("ip netns exec app iptables -D INPUT -p tcp --dport 8443 -j REJECT")
    assert "refused" in told.stderr, told.stderr


def test_the_world_sees_the_servers_address(gate, stranger, family):
    """The segments' addresses are private: nobody out there could answer them."""
    stranger.check_output("systemctl is-active -q archive80 || systemd-run -q --unit archive80 /usr/local/bin/who 80")

    assert ask(gate, family["stranger"], 80, "ip netns exec app") == family["gate"]


def test_a_segment_gets_names_and_addresses_from_the_server(gate):
    """But for one that needs no names, which is told so."""
    status = gate.check_output("ufw status")

    for segment in ("testproxy", "testapp", "notyet"):
        for service in (f"3142/tcp on {segment}", f"67/udp on {segment}", f"547/udp (v6) on {segment}"):
            assert service in status
        [names] = [line for line in status.splitlines() if line.startswith(f"53 on {segment} ")]
        assert ("REJECT" in names) is (segment == "notyet")


@pytest.mark.control("NET-2")
def test_the_sixth_connection_within_half_a_minute_is_refused(stranger, gate, family):
    """Guessing gets slow; the session that is open already goes on."""
    forget_callers(gate)
    script = """
import socket, sys
def call():
    try:
        caller = socket.create_connection((sys.argv[1], 22), 3)
        caller.settimeout(30)
        return caller if caller.recv(4) == b"SSH-" else None
    except OSError:
        return None
calls = [call() for _ in range(6)]
calls[0].sendall(b"SSH-2.0-still-here\\r\\n")
calls[0].settimeout(5)
print([bool(c) for c in calls], bool(calls[0].recv(1)))
"""
    try:
        answers = stranger.check_output("python3 - %s <<'EOF'\n" + script + "\nEOF", family["gate"])
    finally:
        forget_callers(gate)

    assert answers.strip() == "[True, True, True, True, True, False] True"


@pytest.mark.control("NET-2")
def test_a_running_playbook_survives_that_its_own_address_is_refused(gate, lab, start, tmp_path):
    """An administrator with too many windows: the run that has its connection goes on to its end."""
    book = tmp_path / "long.yml"
    steps = ["touch /run/begun", "timeout 60 sh -c 'until test -e /run/go; do sleep 0.1; done'", "touch /run/ended"]
    tasks = [{"ansible.builtin.command": {"cmd": step}} for step in steps]
    book.write_text(json.dumps([{"hosts": "gates", "gather_facts": False, "tasks": tasks}]))

    def answered():
        try:
            with socket.create_connection((lab.machines["gate"].address, 22), 3) as caller:
                caller.settimeout(30)
                return caller.recv(4) == b"SSH-"
        except OSError:
            return False

    forget_callers(gate)
    gate.check_output("rm -f /run/begun /run/go /run/ended")
    run = start(book)
    try:
        gate.check_output("timeout 60 sh -c 'until test -e /run/begun; do sleep 0.1; done'")
        answers = [answered() for _ in range(6)]
        gate.check_output("touch /run/go")
        # Each try begins the half minute anew.
        while run.poll() is None:
            answered()
            time.sleep(1)
        output = run.stdout.read()
        refused = not answered()
    finally:
        run.kill()
        forget_callers(gate)

    assert answers[0], answers
    assert not answers[-1], answers
    assert run.returncode == 0, output
    assert gate.file("/run/ended").exists
    assert refused, "it was let in again meanwhile: nothing is proved"


@pytest.mark.control("NET-1", "NET-3")
def test_any_number_of_reloads_leaves_each_rule_once(gate):
    """The recipe of ufw's manual leaves a copy for each reload."""
    def rules():
        tables = gate.check_output("nft list ruleset")
        return re.sub(r"counter packets \d+ bytes \d+", "", tables)

    before = rules()
    for _ in range(5):
        gate.check_output("ufw reload")

    assert rules() == before
    assert gate.check_output("nft list table inet firewall_forwards").count("tcp dport 443 dnat ip to") == 1


def test_rules_of_others_are_left_alone(gate):
    gate.check_output("ufw reload")
    assert "redirect to :6544" in gate.check_output("nft list table inet somebody_else")


def test_the_forwards_come_and_go_with_ufw(gate, stranger, lab):
    address = lab.machines["gate"].address
    gate.check_output("ufw disable")
    try:
        assert "firewall_forwards" not in gate.check_output("nft list tables")
        assert "somebody_else" in gate.check_output("nft list tables")
    finally:
        gate.check_output("ufw --force enable")

    assert ask(stranger, address, 80) == lab.machines["stranger"].address


@pytest.mark.control("NET-8")
def test_drops_are_logged_at_a_limited_rate(gate):
    """Each drop would fill the disk, and none would hide the attack."""
    logging = gate.check_output("iptables -S ufw-after-logging-input")

    assert "[UFW BLOCK]" in logging
    assert "--limit 3/min" in logging


@pytest.mark.control("NET-8")
def test_the_messages_that_a_network_needs_pass(stranger, family):
    assert stranger.run("ping -c 1 -W 3 %s", family["gate"]).rc == 0


@pytest.mark.control("NET-1")
def test_a_rule_made_by_hand_is_shown_and_removed(gate, play):
    """What nobody described, nobody remembers."""
    gate.check_output("ufw allow 6000/tcp")

    done = play()

    assert done.returncode == 0, done.stdout
    assert "-ufw allow 6000/tcp" in done.stdout
    assert "6000" not in gate.check_output("ufw status")


@pytest.mark.control("NET-3")
def test_a_table_that_somebody_flushed_comes_back(gate, play):
    gate.check_output("nft delete table inet firewall_forwards")

    assert play().returncode == 0
    assert "firewall_forwards" in gate.check_output("nft list tables")


@pytest.mark.control("REL-1")
@pytest.mark.parametrize(("variables", "why"), [
    ({"firewall_ssh_port": 2222}, "do not let root in at port 22"),
    ({"firewall_rules": ["allow in on eth0 from nowhere"]}, "allow in on eth0 from nowhere"),
    ({"firewall_forwards": [{"port": 22, "to": "10.91.1.10"}]}, "do not let root in at port 22"),
    ({"firewall_forwards": [{"port": 70000, "to": "10.91.1.10", "to_port": 80}]}, "Service out of range"),
    ({"firewall_forwards": [{"port": 80, "to": "not.an.address"}]}, "not.an.address"),
], ids=["ssh not let in", "not a rule", "ssh forwarded away", "a hook that fails", "not an address"])
def test_a_change_that_locks_out_is_undone(gate, play, stranger, lab, variables, why):
    """The run fails and says why, all is as it was, and ssh answers."""
    forget_callers(gate)
    before = gate.check_output("ufw show added; cat /etc/ufw/before.init; ls -l /etc/ufw/*.rules | cut -c-10")

    failed = play(**variables)

    assert failed.returncode != 0
    assert why in failed.stdout
    assert gate.check_output("ufw show added; cat /etc/ufw/before.init; ls -l /etc/ufw/*.rules | cut -c-10") == before
    assert "securebox-rollback" not in gate.check_output("systemctl list-timers")
    time.sleep(1)
    assert ask(stranger, lab.machines["gate"].address, 22).startswith("SSH-2.0")
