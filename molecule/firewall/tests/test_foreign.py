# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that open a path past ufw are found and named, by the program that `verify` runs on a box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machines import ask

PROBE = Path(__file__).parents[3] / "tests/testinfra/probes/foreign.py"


NOTHING = {"foreign": [], "gone": [], "unknown": []}


@pytest.fixture
def look(gate):
    return lambda: json.loads(gate.check_output("python3 - <<'END'\n" + PROBE.read_text() + "\nEND"))


@pytest.fixture
def planted(gate):
    """Rules as somebody else makes them, gone afterwards. The firewall's own come back by a restart."""

    def plant(*lines):
        for line in lines:
            gate.check_output(line)

    yield plant
    gate.run("iptables -t nat -F; iptables -t nat -X DOCKER; iptables -D FORWARD -j DOCKER-USER; "
             "iptables -F DOCKER-USER; iptables -X DOCKER-USER; nft delete table inet backdoor; "
             "iptables -P INPUT DROP; iptables -D INPUT -p tcp --dport 111 -j ACCEPT")
    gate.check_output("/lib/ufw/ufw-init force-reload")


@pytest.fixture(autouse=True, scope="module")
def without_somebody_else(gate):
    """The scenario has somebody else's redirection, which these tests would always find."""
    gate.check_output("nft delete table inet somebody_else")
    yield
    chain = "'{ type nat hook prerouting priority dstnat + 5; }'"
    gate.check_output(f"nft add table inet somebody_else; nft add chain inet somebody_else prerouting {chain}; "
                      "nft add rule inet somebody_else prerouting tcp dport 6543 redirect to 6544")


@pytest.mark.control("NET-11")
def test_ufws_own_rules_are_not_foreign(look, gate):
    """Looking changes nothing, and what ufw made is known, also after a reload."""
    before = gate.check_output("iptables-save -t filter | grep -v '^#' | sed 's/\\[.*//'")
    assert look() == NOTHING
    gate.check_output("ufw reload")
    assert look() == NOTHING
    assert gate.check_output("iptables-save -t filter | grep -v '^#' | sed 's/\\[.*//'") == before
    assert gate.check_output("sysctl -n net.ipv4.ip_forward").strip() == "1"


@pytest.mark.control("NET-11")
def test_a_port_published_past_the_firewall_is_found(look, planted, stranger, lab):
    """As Docker does it: the port opens, though ufw's status says otherwise. Two rules do it, and both are named."""
    address = lab.machines["gate"].address
    assert ask(stranger, address, 9090) is None
    planted(
        "iptables -N DOCKER-USER", "iptables -A DOCKER-USER -j ACCEPT", "iptables -I FORWARD -j DOCKER-USER",
        "iptables -t nat -N DOCKER", "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "iptables -t nat -A DOCKER -p tcp --dport 9090 -j DNAT --to-destination 10.91.1.10:9000",
    )
    assert ask(stranger, address, 9090)
    found = look()["foreign"]
    assert "iptables -A FORWARD -j DOCKER-USER: not ufw's" in found
    assert "iptables -A DOCKER-USER -j ACCEPT: not ufw's" in found
    redirections = [line for line in found if line.startswith("table ip nat: ")]
    assert [line for line in redirections if "9090" in line and "10.91.1.10:9000" in line]


@pytest.mark.control("NET-11")
@pytest.mark.parametrize(("rule", "named"), [
    ("iptables -I INPUT -p tcp --dport 111 -j ACCEPT",
     "iptables -A INPUT -p tcp -m tcp --dport 111 -j ACCEPT: not ufw's"),
    ("ip6tables -I ufw6-user-input -p tcp --dport 111 -j ACCEPT",
     "ip6tables -A ufw6-user-input -p tcp -m tcp --dport 111 -j ACCEPT: not ufw's"),
    ("iptables -P INPUT ACCEPT", "iptables :INPUT ACCEPT: not ufw's"),
    ("nft 'table inet backdoor { chain door { type nat hook prerouting priority -90; "
     "tcp dport 8888 redirect to :22; }; }'",
     "table inet backdoor: tcp dport 8888 redirect to :22"),
], ids=["before ufw's", "among ufw's", "a policy", "a redirection"])
def test_a_rule_by_hand_is_found(look, planted, rule, named):
    planted(rule)
    assert named in look()["foreign"]


@pytest.mark.control("NET-11")
def test_a_rule_of_ufw_that_somebody_took_away_is_missed(look, planted):
    planted("iptables -D ufw-user-input -i testapp -p tcp -m tcp --dport 22 -j DROP")
    assert look()["gone"] == ["iptables -A ufw-user-input -i testapp -p tcp -m tcp --dport 22 -j DROP: ufw's, and gone"]


@pytest.mark.control("NET-11")
@pytest.mark.parametrize("name", ["before.rules", "after6.rules"])
def test_a_rule_in_ufws_own_files_is_found(look, gate, name):
    """Loaded or not yet: ufw takes it for its own, and its status does not show it."""
    chain = f"ufw{'6' if '6' in name else ''}-{name.split('.')[0].rstrip('6')}-input"
    rule = f"-A {chain} -p tcp --dport 111 -j ACCEPT"
    gate.check_output(f"cp -p /etc/ufw/{name} /root/kept && sed -i 's/^COMMIT$/{rule}\\nCOMMIT/' /etc/ufw/{name}")
    try:
        for reload in ("true", "ufw reload"):
            gate.check_output(reload)
            found = look()["foreign"]
            assert [line for line in found if line.startswith(f"/etc/ufw/{name}, line ") and f": {rule}: not" in line]
    finally:
        gate.check_output(f"cp -p /root/kept /etc/ufw/{name} && rm /root/kept && ufw reload")
    assert look() == NOTHING
