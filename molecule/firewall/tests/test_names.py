# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine behind reaches a name in the world, and no more than that. The stranger is the world."""

from __future__ import annotations

import json

import pytest
from machines import ask

SEEN = "/var/lib/firewall-names/seen.json"


@pytest.fixture(scope="module")
def archive(stranger):
    """Something listens on two ports of the world."""
    for port in (80, 8080):
        start = f"systemd-run -q --unit archive{port} /usr/local/bin/who {port}"
        stranger.check_output(f"systemctl is-active -q archive{port} || {start}")


@pytest.fixture
def hosts(gate):
    """What names mean can be changed, and means the same as before afterwards. The resolver looks every two seconds."""
    gate.check_output("cp /etc/hosts /root/hosts")
    yield lambda expression: gate.check_output("sed -i %s /etc/hosts; sleep 3", expression)
    gate.check_output("cp /root/hosts /etc/hosts && sleep 3 && systemctl start firewall-names || true")


def look_up(gate):
    """As the timer does every few minutes. The exit code of the last look: closed names make it a failure."""
    gate.run("systemctl start firewall-names")
    return int(gate.check_output("systemctl show -p ExecMainStatus --value firewall-names"))


def grow_old(gate, seconds):
    """As if all addresses had been seen for the last time so many seconds earlier."""
    seen = json.loads(gate.file(SEEN).content_string)
    older = {name: {address: when - seconds for address, when in found.items()} for name, found in seen.items()}
    gate.check_output("echo %s > " + SEEN, json.dumps(older))


@pytest.mark.control("NET-6")
def test_a_segment_reaches_the_name_it_may_at_its_port(gate, archive, family):
    assert ask(gate, family["stranger"], 80, "ip netns exec app") == family["gate"]


@pytest.mark.control("NET-6")
def test_nothing_else_of_the_world(gate, archive, family):
    """Neither another port there, nor the other segment; the server itself does, so somebody listens."""
    assert ask(gate, family["stranger"], 8080, "ip netns exec app") is None
    assert ask(gate, family["stranger"], 80, "ip netns exec proxy") is None
    assert ask(gate, family["stranger"], 8080) == family["gate"]


@pytest.mark.control("NET-6")
def test_a_name_with_an_address_inside_opens_nothing_inside(gate):
    """Who is master of a name in the world would be master of the firewall: only what leaves is opened."""
    assert "10.91.1.10 80/tcp on eth0" in " ".join(gate.check_output("ufw status").split())
    assert ask(gate, "10.91.1.10", 80, "ip netns exec app") is None
    assert ask(gate, "10.91.1.10", 80)


@pytest.mark.control("NET-6")
def test_the_status_of_ufw_shows_each_address_with_its_name(gate, lab):
    status = gate.check_output("ufw status")
    for address in (lab.machines["stranger"].address, lab.machines["stranger"].address6):
        lines = [line for line in status.splitlines() if address in line]
        assert [line for line in lines if "by name archive.example.org: packages" in line]


@pytest.mark.control("NET-6")
def test_a_name_without_address_is_closed_and_alerted(gate):
    """The unit fails, and the journal says which name, as an error."""
    assert look_up(gate) == 1
    said = gate.check_output("journalctl --sync; journalctl -u firewall-names -p err -n 5 -o cat --no-pager")
    assert "gone.example.org has no address: it is closed" in said
    assert "firewall-names.service" in gate.check_output("systemctl list-units --failed --plain --no-legend")
    assert "archive.example.org" not in said


@pytest.mark.control("NET-6")
def test_a_name_follows_its_address(gate, archive, lab, hosts):
    """The new address is open at once, the old one for a day. A name that is gone stays open as long, and no longer."""
    old = lab.machines["stranger"].address
    hosts("s/^[0-9.]* archive/192.0.2.77 archive/")
    look_up(gate)
    added = gate.check_output("ufw show added")
    assert "to 192.0.2.77 port 80 proto tcp comment" in added
    assert ask(gate, old, 80, "ip netns exec app")

    hosts("/archive.example.org/d")
    grow_old(gate, 86000)
    look_up(gate)
    assert ask(gate, old, 80, "ip netns exec app")
    assert "archive.example.org has no address at present: closed in" in gate.check_output(
        "journalctl --sync; journalctl -u firewall-names -p warning -n 9 -o cat --no-pager")

    grow_old(gate, 500)
    assert look_up(gate) == 1
    assert ask(gate, old, 80, "ip netns exec app") is None
    assert "archive.example.org" not in gate.check_output("ufw show added")


@pytest.mark.control("NET-6")
def test_the_timer_looks_again_and_a_second_run_changes_nothing(gate, play):
    assert gate.service("firewall-names.timer").is_enabled
    assert gate.service("firewall-names.timer").is_running
    done = play()
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


@pytest.mark.control("NET-6")
def test_a_change_of_the_rules_leaves_the_addresses_open(gate, archive, lab, play):
    """There is no moment without them: they are kept, not made anew."""
    done = play(firewall_rules=["allow from 192.0.2.0/24 to any port 9100 proto tcp"])
    assert done.returncode == 0, done.stdout
    assert "by name" not in done.stdout
    assert ask(gate, lab.machines["stranger"].address, 80, "ip netns exec app")
    assert play().returncode == 0


@pytest.mark.control("NET-6")
def test_a_port_of_all_the_world_is_open_to_every_segment_where_it_is_said(gate, archive, lab, play):
    """To the world only: what lies inside stays closed, and so do the world's other ports."""
    world = lab.machines["stranger"]
    done = play(firewall_segment_ports=[8080])
    try:
        assert done.returncode == 0, done.stdout
        for namespace in ("app", "proxy"):
            for address in (world.address, world.address6):
                assert ask(gate, address, 8080, f"ip netns exec {namespace}"), (namespace, address)
        assert ask(gate, world.address, 80, "ip netns exec proxy") is None
        assert ask(gate, "10.91.1.10", 80, "ip netns exec app") is None
        assert gate.check_output("ufw status").count("testapp reaches the world") == 2
    finally:
        assert play().returncode == 0
    assert ask(gate, world.address, 8080, "ip netns exec app") is None


@pytest.mark.control("NET-6")
def test_a_reason_may_be_a_text_of_several_lines(gate, archive, lab, play):
    flows = [{"from": "testapp", "to": "archive.example.org", "port": 80, "why": "packages,\nand more\n"},
             {"from": "10.91.1.10", "to": "10.91.2.10", "port": 8443, "why": "requests\nof people\n"}]
    done = play(firewall_flows=flows)
    try:
        assert done.returncode == 0, done.stdout
        assert look_up(gate) == 0
        assert "by name archive.example.org: packages, and more" in gate.check_output("ufw status")
        assert ask(gate, lab.machines["stranger"].address, 80, "ip netns exec app")
        assert "changed=0" in play(firewall_flows=flows).stdout
    finally:
        assert play().returncode == 0


@pytest.mark.control("NET-6")
def test_without_names_nothing_looks_them_up(gate, archive, lab, play):
    flows = [{"from": "10.91.1.10", "to": "10.91.2.10", "port": 8443, "why": "requests"}]
    # As the timer would, between the moment when the rules go and the one when the program goes.
    rule = ("route allow in on testapp out on eth0 to 192.0.2.99 port 80 proto tcp"
            " comment 'by name late.example.org: late'")
    gate.check_output("systemd-run -q --unit late sh -c %s",
                      f"while test -e /usr/local/sbin/firewall-names; do ufw {rule}; sleep 0.5; done")
    done = play(firewall_flows=flows)
    assert done.returncode == 0, done.stdout
    assert "by name" not in gate.check_output("ufw show added")
    assert ask(gate, lab.machines["stranger"].address, 80, "ip netns exec app") is None
    for path in ("/etc/ufw/names.json", "/usr/local/sbin/firewall-names", "/etc/systemd/system/firewall-names.timer"):
        assert not gate.file(path).exists
    assert "firewall-names" not in gate.check_output("systemctl list-units --all --plain --no-legend")
    assert play().returncode == 0


@pytest.mark.parametrize(("flow", "why"), [
    ({"from": "nowhere", "to": "archive.example.org"}, "firewall_flows[1].from is nowhere: neither an address nor"),
    ({"from": "testapp", "to": "archive"}, "firewall_flows[1].to is archive: neither an address nor a full name"),
    ({"from": "testapp", "to": "*.example.org"}, "wildcards have no address"),
])
def test_a_wrong_flow_is_refused_before_any_change(play, flow, why):
    done = play(firewall_flows=[{**flow, "port": 80, "why": "x"}])
    assert done.returncode != 0
    assert why in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout
