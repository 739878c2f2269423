# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some may use ports that the world may not."""

from __future__ import annotations

import pytest
from machines import ask

PORT = 3306


@pytest.fixture
def listening(gate):
    gate.check_output("systemctl is-active -q decoy || systemd-run -q --unit decoy /usr/local/bin/who 111 3306")


@pytest.mark.control("NET-9")
def test_a_trusted_network_has_ports_of_its_own(gate, stranger, lab, play, listening):
    """Over both protocols, with the reason beside; and who is not in it has not."""
    me, server = lab.machines["stranger"], lab.machines["gate"]
    trusted = [{"from": [f"{me.address}/32", me.address6], "ports": [PORT, 9100], "why": "monitoring"}]
    assert ask(stranger, server.address, PORT) is None

    done = play(firewall_trusted=trusted)
    try:
        assert done.returncode == 0, done.stdout
        assert ask(stranger, server.address, PORT) == me.address
        assert ask(stranger, server.address6, PORT) == me.address6
        assert ask(stranger, server.address, 111) is None
        assert gate.check_output("ufw status").count("# monitoring") == 2
        assert "changed=0" in play(firewall_trusted=trusted).stdout

        other = [{"from": ["192.0.2.0/24", "2001:db8::/32"], "ports": [PORT], "why": "monitoring"}]
        assert play(firewall_trusted=other).returncode == 0
        assert ask(stranger, server.address, PORT) is None
        assert ask(stranger, server.address6, PORT) is None
        assert ask(gate, "127.0.0.1", PORT)
    finally:
        assert play().returncode == 0


@pytest.mark.control("NET-9", "NET-10")
def test_ssh_answers_only_where_it_is_said(gate, stranger, lab, play):
    """The network that Ansible comes from, in both protocols, or one address of it."""
    me, server = lab.machines["stranger"], lab.machines["gate"]
    controller = server.address.rpartition(".")[0] + ".1"
    done = play(firewall_ssh_from=[f"{controller}/32"])
    try:
        assert done.returncode == 0, done.stdout
        assert ask(stranger, server.address, 22) is None
        assert ask(stranger, server.address6, 22) is None
        assert play(firewall_ssh_from=[f"{controller}/32", me.address6]).returncode == 0
        assert ask(stranger, server.address, 22) is None
        assert ask(stranger, server.address6, 22).startswith("SSH-2.0")
    finally:
        assert play().returncode == 0
    assert ask(stranger, server.address, 22).startswith("SSH-2.0")


@pytest.mark.control("NET-9")
@pytest.mark.parametrize(("variables", "why"), [
    ({"firewall_trusted": [{"from": [], "ports": [9100], "why": "x"}]}, "firewall_trusted is"),
    ({"firewall_trusted": [{"from": ["192.0.2.0/24"], "ports": [91000], "why": "x"}]}, "between 1 and 65535"),
    ({"firewall_trusted": [{"from": ["192.0.2.0/99"], "ports": [9100], "why": "x"}]}, "192.0.2.0/99"),
    ({"firewall_ssh_from": ["testapp"]}, "never gets ssh"),
], ids=["nobody", "no port", "no network", "a segment"])
def test_wrong_input_is_refused(gate, play, variables, why):
    before = gate.check_output("ufw show added")

    failed = play(**variables)

    assert failed.returncode != 0
    assert why in failed.stdout
    assert gate.check_output("ufw show added") == before
