# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 is either as closed as IPv4 or not there; and nobody behind tells the server where the world is."""

from __future__ import annotations

import pytest
from machines import ask, rules, scan

# An announcement of a router, with a prefix to take an address from. Runs behind the gate.
ANNOUNCE = """
import socket, struct
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 1800, 1800, 0, socket.inet_pton(socket.AF_INET6, "2001:db8:bad::"))
route = struct.pack("!BBBBI8s", 24, 2, 48, 0, 1800, socket.inet_pton(socket.AF_INET6, "2001:db8:bee::")[:8])
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix + route
for _ in range(3):
    out.sendto(advertisement, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
"""

# Waits for an answer, or for being told that there is none.
CALL = "python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], 80), 20)' "


def announce(gate, namespace):
    gate.check_output("ip netns exec %s python3 - <<'EOF'\n" + ANNOUNCE + "\nEOF", namespace)
    gate.check_output("sleep 1")


def ways(gate):
    """What a router's announcement changes: routes and addresses. Without how long they still hold."""
    return gate.check_output("{ ip -6 route; ip -6 -oneline address; } | sort"
                             " | sed -E 's/(expires|valid_lft|preferred_lft) [^ ]+//g'")


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("forwarding", [1, 0])
def test_a_machine_behind_tells_the_server_no_routes(gate, forwarding):
    """Who takes over a container would otherwise have all of the server's traffic come by."""
    gate.check_output(f"sysctl -qw net.ipv6.conf.all.forwarding={forwarding} net.ipv6.conf.testapp.accept_ra=2")
    try:
        before = ways(gate)
        announce(gate, "app")
        assert ways(gate) == before
    finally:
        # The bridge alone would have believed it: what was sent is an announcement that counts.
        gate.check_output("nft flush chain inet firewall_forwards no_routers_behind")
        announce(gate, "app")
        believed = ways(gate)
        gate.run("ip -6 route flush dev testapp proto ra; ip -6 address flush dev testapp mngtmpaddr;"
                 " ip -6 address flush dev testapp dynamic")
        gate.check_output("sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.testapp.accept_ra=1; ufw reload")
    assert "2001:db8:bad:" in believed
    assert "flush" not in gate.check_output("nft list chain inet firewall_forwards no_routers_behind")


@pytest.mark.control("NET-1")
def test_bridges_that_forward_believe_nobody(gate):
    """The kernel's own switch says the same as the firewall."""
    assert gate.check_output("cat /proc/sys/net/ipv6/conf/testapp/forwarding") == "1"
    assert gate.check_output("cat /proc/sys/net/ipv6/conf/testapp/accept_ra") != "2"


@pytest.mark.control("NET-1", "NET-4")
def test_without_ipv6_nothing_of_it_passes(gate, stranger, lab, play):
    """Switched off, it is closed: to the server, from it and through it, as a second run finds."""
    gate.check_output("systemctl is-active -q decoy || systemd-run -q --unit decoy /usr/local/bin/who 111 3306")
    address, address6 = lab.machines["gate"].address, lab.machines["gate"].address6
    stranger.check_output("systemctl is-active -q archive80 || systemd-run -q --unit archive80 /usr/local/bin/who 80")
    before = rules(gate)
    assert ask(stranger, address6, 22)
    gate.check_output(CALL + lab.machines["stranger"].address6)

    done = play(firewall_ipv6=False)
    try:
        assert done.returncode == 0, done.stdout
        assert scan(stranger, address6) == set()
        assert stranger.run(f"ping -c 1 -W 2 {address6}").rc != 0
        for target in ("fd91:0:0:1::10", "fd91:0:0:2::10"):
            stranger.run(f"ip -6 route replace {target} via {address6}")
            assert ask(stranger, target, 443) is None
            stranger.run(f"ip -6 route delete {target}")
        assert ask(gate, "fd91:0:0:2::10", 8443, "ip netns exec proxy") is None
        # Programs of the server are told, so that they take the other way.
        told = gate.run(CALL + lab.machines["stranger"].address6)
        assert "Connection refused" in told.stderr, told
        assert ask(gate, "::1", 111) == "::1"
        # The same machine answers by IPv4.
        assert all(ask(stranger, address, port) for port in (22, 80, 443))
        assert "v6" not in gate.check_output("ufw status")
        assert "changed=0" in play(firewall_ipv6=False).stdout
    finally:
        back = play()
    assert back.returncode == 0, back.stdout
    assert rules(gate) == before
    assert all(ask(stranger, address6, port) for port in (22, 80, 443))
