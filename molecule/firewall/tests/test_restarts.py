# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever is restarted, in whatever order: the rules are the same afterwards."""

from __future__ import annotations

import os
import random
import re

import pytest
from machines import ask, rules

SEED = int(os.environ.get("FIREWALL_SEED") or random.SystemRandom().randrange(10**6))
ACTS = ("ufw reload", "systemctl restart ufw", "systemctl restart fail2ban", "fail2ban-client reload",
        "systemctl restart nftables", "systemctl reload nftables", "systemctl restart lxd", "netplan apply")
BRIDGE = "testlxd"


@pytest.fixture(scope="module")
def neighbours(gate):
    """fail2ban with a ban, and LXD with a bridge and rules of its own, as on many servers."""
    gate.check_output("""set -e
mkdir -p /etc/fail2ban/jail.d
printf '[sshd]\\nenabled = true\\nbackend = systemd\\nbanaction = nftables[type=multiport]\\nbantime = 1h\\n' \
    > /etc/fail2ban/jail.d/zz-test.local
systemctl restart fail2ban
for n in $(seq 60); do fail2ban-client get sshd banip && break; sleep 1; done
fail2ban-client set sshd banip 198.51.100.66
systemctl start lxd
lxc network show testlxd >/dev/null 2>&1 ||
    lxc network create testlxd ipv4.address=10.93.0.1/24 ipv4.nat=true ipv6.address=none""")
    gate.check_output("for n in $(seq 60); do nft list ruleset | grep -q 198.51.100.66 && break; sleep 1; done")
    yield
    gate.run("fail2ban-client unban --all; lxc network delete testlxd; systemctl stop fail2ban lxd lxd.socket;"
             " rm /etc/fail2ban/jail.d/zz-test.local")


def settled(gate):
    """The rules, when everybody who was restarted is done."""
    gate.run("for n in $(seq 60); do fail2ban-client get sshd banip && lxc network list && break; sleep 1; done")
    gate.run("for n in $(seq 120); do nft list ruleset | grep -q 198.51.100.66 && break; sleep 0.5; done")
    return rules(gate)


@pytest.mark.control("NET-1", "NET-3")
def test_in_ten_random_orders_the_rules_are_equal_to_before(gate, stranger, lab, neighbours):
    """Each of them believes that it is alone."""
    before = settled(gate)
    assert BRIDGE in str(before)
    assert "198.51.100.66" in str(before)
    order = random.Random(SEED)
    known = [act for act in ACTS if gate.run(f"command -v {act.split()[0]}").rc == 0]
    print(f"FIREWALL_SEED={SEED}")

    for _ in range(10):
        acts = order.sample(known, len(known))
        for act in acts:
            gate.run(act)
        assert settled(gate) == before, f"FIREWALL_SEED={SEED}: after {', '.join(acts)}"

    forwards = re.findall(r"tcp dport (\d+) dnat (ip6?) to", gate.check_output("nft list table inet firewall_forwards"))
    assert sorted(forwards) == sorted(set(forwards))
    assert ("443", "ip") in forwards
    assert gate.check_output("nft list ruleset").count("dport 443 dnat ip to ") == 1
    assert ask(stranger, lab.machines["gate"].address, 80) == lab.machines["stranger"].address


@pytest.mark.control("NET-1")
def test_nftables_service_cannot_flush_the_rules(gate):
    """Debian's own file begins with `flush ruleset`: without the mask everything would be open."""
    before = rules(gate)

    refused = gate.run("systemctl restart nftables")

    assert refused.rc != 0
    assert "masked" in refused.stderr
    assert rules(gate) == before


@pytest.mark.control("NET-1")
def test_rules_of_somebodys_own_are_not_lost_silently(gate, play):
    """Refused before the first change, until the owner has said what becomes of them."""
    gate.check_output("systemctl unmask nftables; cp -p /etc/nftables.conf /etc/nftables.conf.kept;"
                      " echo '# ours' >> /etc/nftables.conf; systemctl enable nftables")
    try:
        refused = play(firewall_rules=["allow 6000/tcp"])
        assert refused.returncode != 0
        assert "somebody's own rules" in refused.stdout
        assert "firewall_mask_nftables" in refused.stdout
        assert "6000" not in gate.check_output("ufw status")

        left = play(firewall_mask_nftables=False)
        assert left.returncode == 0, left.stdout
        assert gate.check_output("systemctl is-enabled nftables") == "enabled"
    finally:
        gate.check_output("systemctl disable nftables; mv /etc/nftables.conf.kept /etc/nftables.conf")

    assert play().returncode == 0
    assert gate.run("systemctl is-enabled nftables").stdout.strip() == "masked"


@pytest.mark.control("NET-1")
def test_chains_that_nothing_leads_to_any_more_are_noticed(gate, stranger, lab, play):
    """After `iptables -F INPUT` ufw calls itself active, and a restart of it would not mend it."""
    address = lab.machines["gate"].address
    before = rules(gate)
    # The policy would shut everybody out, Ansible too.
    gate.check_output("iptables -P INPUT ACCEPT; iptables -F INPUT")
    assert "active" in gate.check_output("ufw status")
    assert rules(gate) != before

    done = play()

    assert done.returncode == 0, done.stdout
    assert rules(gate) == before
    assert ask(stranger, address, 80)
    assert ask(stranger, address, 111) is None


@pytest.mark.control("NET-1")
@pytest.mark.parametrize("policy", ["iptables -P INPUT", "iptables -P FORWARD", "ip6tables -P INPUT"])
def test_a_policy_that_lets_everything_in_is_noticed(gate, play, policy):
    """What no rule is about, the kernel's own policy decides; ufw does not look at it."""
    before = rules(gate)
    gate.check_output(f"{policy} ACCEPT")
    assert "active" in gate.check_output("ufw status")

    done = play()

    assert done.returncode == 0, done.stdout
    assert "changed=1 " in done.stdout
    assert rules(gate) == before


TRY = """
import os, socket, sys, time
seen = tries = 0
while not os.path.exists("/run/knock.stop"):
    tries += 1
    if tries == 2:
        open("/run/knock.begun", "w").close()
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.05).close()
        seen += 1
    except OSError:
        time.sleep(0.01)
print(seen, tries)
"""


@pytest.fixture
def knocking(gate, stranger, lab):
    """A machine behind tries a port of the world that it may not use, all the while. Says how often it came through."""
    start = "systemd-run -q --unit archive8080 /usr/local/bin/who 8080"
    stranger.check_output(f"systemctl is-active -q archive8080 || {start}")

    def meanwhile(act):
        gate.check_output("rm -f /run/knock*; cat > /run/knock.py <<'EOF'\n" + TRY + "\nEOF")
        gate.check_output("systemd-run -q --unit knock --property StandardOutput=file:/run/knocked"
                          " ip netns exec app python3 /run/knock.py %s 8080", lab.machines["stranger"].address)
        gate.check_output("timeout 60 sh -c 'until test -e /run/knock.begun; do sleep 0.1; done'")
        try:
            act()
        finally:
            gate.check_output("touch /run/knock.stop; while systemctl is-active -q knock; do sleep 0.2; done")
        came, tried = map(int, gate.check_output("cat /run/knocked").split())
        assert tried > 20
        return came

    return meanwhile


@pytest.mark.control("NET-4", "NET-6")
def test_nothing_comes_through_while_ufw_starts_anew(gate, play, knocking):
    """A change of logging needs a restart. By ufw's own, who waits for the moment gets through, and stays."""
    before = rules(gate)
    assert knocking(lambda: gate.check_output("/lib/ufw/ufw-init force-stop; sleep 1; /lib/ufw/ufw-init start"))

    done = []
    assert knocking(lambda: done.append(play(firewall_logging="medium"))) == 0

    assert done[0].returncode == 0, done[0].stdout
    assert "changed=1 " in done[0].stdout
    assert "firewall_restart" not in gate.check_output("nft list tables")
    assert play().returncode == 0
    assert rules(gate) == before


@pytest.mark.control("NET-1")
def test_who_changes_a_rule_meanwhile_waits(gate, play, start):
    """`ufw` writes all rules that it has read before: side by side, one of the two would undo the other."""
    hold = ("import fcntl, os, time; f = open('/run/ufw.lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
            "open('/run/held', 'w').close(); end = time.time() + 300\n"
            "while not os.path.exists('/run/go') and time.time() < end: time.sleep(0.2)")
    # It asks for the lock too, every few minutes.
    gate.check_output("systemctl stop firewall-names.timer; rm -f /run/held /run/go")
    gate.check_output("systemd-run -q --unit hold python3 -c %s", hold)
    gate.check_output("timeout 60 sh -c 'until test -e /run/held; do sleep 0.1; done'")
    run = start(firewall_rules=["allow 6000/tcp"])
    try:
        # Somebody else has the file open: the module, on its way to the lock.
        waits = "test \"$(find /proc/[0-9]*/fd -lname /run/ufw.lock 2>/dev/null | wc -l)\" -ge 2"
        gate.check_output(f"timeout 240 sh -c 'until {waits}; do sleep 0.2; done'")
        gate.check_output("sleep 5")
        assert run.poll() is None, "it did not wait"
        assert "6000" not in gate.check_output("cat /etc/ufw/user.rules")
        gate.check_output("touch /run/go")
        output, _ = run.communicate(timeout=300)
        assert run.returncode == 0, output
        assert "6000/tcp" in gate.check_output("ufw status")
    finally:
        gate.check_output("touch /run/go")
        if run.poll() is None:
            run.wait(300)
        assert play().returncode == 0
        gate.check_output("systemctl start firewall-names.timer")
