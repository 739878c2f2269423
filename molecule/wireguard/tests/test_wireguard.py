# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has a key comes in by the tunnel; nobody else does, and no mistake locks the owner out.

Ansible comes from the desk, whose tunnel it is: its ssh is handed on there, to the address inside.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

SCENARIO = Path(__file__).parents[1]
INSIDE, INSIDE6 = "10.99.0.1", "fd99::1"
OTHER_KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
OTHER_PEER = {"name": "other", "public_key": OTHER_KEY, "addresses": ["10.99.0.3"]}
CLOSED = {"firewall_ssh_from": ["wg0"]}
# Seconds that Ansible tries a tunnel that is meant to be dead. The way past it has to be found in that time as well.
DEAD = 15

ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 22), 4) as caller:
    print(caller.recv(8).decode())
"""

# Nobody answers, but it is counted. Far more than keeps a tunnel alive.
SEND = """
import socket, sys
caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(50):
    caller.sendto(bytes(1000), (sys.argv[1], 9))
"""


@pytest.fixture(scope="module")
def gate(inside):
    return inside["gate"]


@pytest.fixture(scope="module")
def desk(inside):
    return inside["desk"]


@pytest.fixture(scope="module")
def stranger(inside):
    return inside["stranger"]


def ssh_answers(machine, address):
    return machine.run(f"python3 -c '{ASK}' {address}").stdout.startswith("SSH-2.0")


def reaches(machine, address):
    """Who is meant to get in: a handshake that was lost is repeated after five seconds, which is more than one try."""
    return any(ssh_answers(machine, address) for _ in range(5))


@pytest.fixture(scope="module")
def public(lab):
    machine = lab.machines["gate"]
    return machine.address, machine.address6


@pytest.fixture(scope="module")
def converge(lab, gate, play, tmp_path_factory):
    """Run the scenario's playbook: as an inventory of before has it, or with the address inside the tunnel."""
    known = yaml.safe_load((lab.directory / "inventory.yml").read_text())["all"]["hosts"]["gate"]
    # (Not by its long name: Ansible would take it for an option of its own connection.)
    jump = f"ssh -F {lab.directory}/ssh_config -S none -W %h:%p desk"
    tunnel = tmp_path_factory.mktemp("inventory") / "tunnel.yml"
    tunnel.write_text(yaml.safe_dump({"all": {"hosts": {"gate": {
        "ansible_host": INSIDE,
        "securebox_bootstrap_host": known["ansible_host"],
        "ansible_ssh_common_args": f"{known['ansible_ssh_common_args']} -o HostKeyAlias={known['ansible_host']}"
                                   f" -o ProxyCommand='{jump}'",
    }}}}))

    # A shared connection through a tunnel that is gone says so after a quarter of a minute.
    quick = {"ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=5"}

    def run(*options, through_tunnel=False, patience=30, **variables):
        # Whom the limit on ssh has counted so far.
        gate.run("ufw reload")
        inventories = [tunnel] if through_tunnel else []
        # Two handshakes of ssh, one within the other.
        environment = {**quick, "ANSIBLE_TIMEOUT": str(patience)}
        done = play("converge.yml", *options, inventories=inventories, environment=environment, **variables)
        gate.run("ufw reload")
        return done

    return run


@pytest.fixture(scope="module")
def dial(desk, gate, public):
    """Bring the desk's end of the tunnel up, as the runbook says, with these keys."""
    def up(private="/etc/wireguard/key", server=None, preshared=""):
        server = server or gate.check_output("wg show wg0 public-key")
        lines = ["[Interface]", "Address = 10.99.0.2/32, fd99::2/128",
                 f"PostUp = wg set %i private-key {private}",
                 "[Peer]", f"PublicKey = {server}", *([f"PresharedKey = {preshared}"] if preshared else []),
                 f"Endpoint = {public[0]}:51820", f"AllowedIPs = {INSIDE}/32, {INSIDE6}/128",
                 "PersistentKeepalive = 25"]
        desk.run("wg-quick down box")
        desk.check_output("umask 077; cat > /etc/wireguard/box.conf <<'EOF'\n" + "\n".join(lines) + "\nEOF")
        # The kernel's stand-in is sometimes asked before it listens; wg-quick takes everything back then.
        desk.check_output("for n in 1 2 3 4 5; do wg-quick up box 2>&1 && break; sleep 2; done; wg show box >/dev/null")

    return up


@pytest.fixture
def tunnel(dial, converge):
    dial()


@pytest.fixture
def closed(converge, tunnel, stranger, desk, public):
    """ssh only in the tunnel; before and afterwards everywhere."""
    assert reaches(stranger, public[0])
    done = converge(through_tunnel=True, **CLOSED)
    assert done.returncode == 0, done.stdout
    yield done
    opened = converge(through_tunnel=True)
    assert opened.returncode == 0, opened.stdout
    assert reaches(stranger, public[0])


@pytest.mark.control("NET-10")
def test_a_peer_comes_in_and_who_has_another_key_does_not(dial, desk):
    dial()
    assert reaches(desk, INSIDE)
    assert reaches(desk, INSIDE6)

    desk.check_output("umask 077; wg genkey > /etc/wireguard/wrong")
    dial(private="/etc/wireguard/wrong")
    assert not ssh_answers(desk, INSIDE)

    dial()
    assert reaches(desk, INSIDE)


@pytest.mark.control("NET-10")
def test_the_servers_private_key_is_nowhere_but_in_its_file(gate, converge):
    """Made there, read there: neither Ansible nor any other file or log has it; and what peers need is shown."""
    key = gate.check_output("cat /etc/wireguard/wg0.key")
    assert gate.check_output("wg show wg0 private-key") == key
    assert gate.check_output("stat -c '%a %U' /etc/wireguard/wg0.key") == "600 root"

    shown = converge("-vvv", wireguard_show=True)

    assert shown.returncode == 0, shown.stdout[-3000:]
    assert gate.check_output("wg show wg0 public-key") in shown.stdout
    assert key not in shown.stdout
    found = gate.run("grep -rlF -f /etc/wireguard/wg0.key /etc /var /root /tmp /run --exclude-dir=journal").stdout
    assert found.split() == ["/etc/wireguard/wg0.key"]
    assert key not in gate.check_output("journalctl --no-pager")


@pytest.mark.control("NET-10", "NET-1")
def test_ssh_answers_in_the_tunnel_only(closed, gate, desk, stranger, public):
    """Over both protocols; the desk itself gets nothing past its tunnel either."""
    for address in public:
        assert not ssh_answers(stranger, address)
        assert not ssh_answers(desk, address)
    for address in (INSIDE, INSIDE6):
        assert reaches(desk, address)
        # By the right address, and not through the tunnel.
        stranger.run(f"ip route replace {address} via {public[1] if ':' in address else public[0]}")
        assert not ssh_answers(stranger, address)
        stranger.run(f"ip route delete {address}")
    assert "on wg0" in gate.check_output("ufw status")


@pytest.mark.control("NET-10")
def test_a_second_run_through_the_tunnel_changes_nothing(closed, converge):
    done = converge(through_tunnel=True, **CLOSED)

    assert done.returncode == 0, done.stdout
    assert re.search(r"gate +: ok=\d+ +changed=0", done.stdout), done.stdout


@pytest.mark.control("NET-10", "REL-1")
def test_with_a_wrong_key_ssh_is_open_again_by_itself(dial, converge, desk, stranger, gate, public):
    """The tunnel that ssh should come by does not work: the run says so, and everybody is where they were."""
    desk.check_output("umask 077; wg genkey > /etc/wireguard/wrong")
    dial(private="/etc/wireguard/wrong")
    before = gate.check_output("ufw show added")

    failed = converge(through_tunnel=True, patience=DEAD, **CLOSED)

    assert failed.returncode != 0
    assert f"do not let root in at port 22 of {INSIDE}" in failed.stdout
    assert "The old settings are back" in failed.stdout
    assert gate.check_output("ufw show added") == before
    assert all(reaches(stranger, address) for address in public)
    # With the right one it is a matter of a moment.
    dial()
    assert converge(through_tunnel=True, **CLOSED).returncode == 0
    assert not ssh_answers(stranger, public[0])
    assert converge(through_tunnel=True).returncode == 0


@pytest.mark.control("NET-10")
def test_the_inventory_of_the_tunnel_finds_a_server_whose_tunnel_is_down(dial, desk, converge):
    """As one that was installed anew: it is reached by its public address, and made what the inventory says."""
    desk.run("wg-quick down box")

    done = converge(through_tunnel=True, patience=DEAD)

    assert done.returncode == 0, done.stdout
    assert re.search(r"gate +: ok=\d+ +changed=0", done.stdout), done.stdout
    dial()


@pytest.mark.control("REL-1", "NET-10")
def test_who_removes_the_peer_that_one_comes_through_gets_it_back(closed, converge, desk, gate):
    """Ansible's own connection is cut by this change, so nobody is left to put it back but the timer."""
    before = gate.check_output("cat /etc/wireguard/wg0.conf")

    failed = converge(through_tunnel=True, wireguard_peers=[OTHER_PEER], wireguard_login_seconds=15, **CLOSED)

    assert failed.returncode != 0
    end = time.monotonic() + 60
    while not ssh_answers(desk, INSIDE):
        assert time.monotonic() < end, "the tunnel did not come back"
    assert gate.check_output("cat /etc/wireguard/wg0.conf") == before


def received(gate):
    """The bytes that came from each peer."""
    lines = gate.check_output("wg show wg0 transfer").splitlines()
    return {key: int(came) for key, came, _ in map(str.split, lines)}


@pytest.mark.control("NET-10")
def test_another_peer_ends_nobodys_session(tunnel, converge, gate, desk):
    """Peers come and go while the tunnel runs."""
    assert reaches(desk, INSIDE)
    mine = desk.check_output("cat /etc/wireguard/public")
    desk.check_output(f"python3 -c '{SEND}' {INSIDE}")
    before = received(gate)

    peer = {"name": "desk", "public_key": mine, "addresses": ["10.99.0.2", INSIDE6[:-1] + "2"]}
    done = converge(wireguard_peers=[peer, OTHER_PEER])
    after = received(gate)

    assert done.returncode == 0, done.stdout
    assert "+# other" in done.stdout
    assert set(after) == {mine, OTHER_KEY}
    assert after[mine] >= before[mine] > 0, "a peer that went and came again is counted from the beginning"
    assert reaches(desk, INSIDE)
    assert converge().returncode == 0
    assert OTHER_KEY not in gate.check_output("wg show wg0 peers")


@pytest.mark.control("NET-10")
def test_a_preshared_key_is_needed_and_shown_nowhere(dial, converge, desk, gate):
    secret = gate.check_output("wg genpsk")
    done = converge("-vvv", desk_preshared_key=secret)
    assert done.returncode == 0, done.stdout[-3000:]
    # On the command line of this test it stands; what Ansible did with it is what counts.
    told = done.stdout[done.stdout.index("TASK ["):]
    assert "+PresharedKey = (secret)" in told
    assert secret not in told

    dial()
    assert not ssh_answers(desk, INSIDE)
    dial(preshared=secret)
    assert reaches(desk, INSIDE)

    done = converge("-vvv")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "-PresharedKey = (secret)" in done.stdout
    assert secret not in done.stdout


@pytest.mark.control("NET-10")
def test_it_comes_up_again_by_itself(gate, desk, dial):
    """At boot, and after somebody stopped it."""
    assert gate.service("wg-quick@wg0").is_enabled
    # The kernel's stand-in may fail the first time here too; systemd tries again.
    gate.run("systemctl restart wg-quick@wg0")
    gate.check_output("for n in $(seq 60); do systemctl -q is-active wg-quick@wg0 && exit 0; sleep 1; done; exit 1")
    dial()
    assert reaches(desk, INSIDE)


@pytest.mark.control("NET-10")
@pytest.mark.parametrize(("variables", "why"), [
    ({"wireguard_peers": [{**OTHER_PEER, "public_key": OTHER_KEY[:-2]}]}, "is no key of WireGuard"),
    ({"wireguard_peers": [OTHER_PEER, {**OTHER_PEER, "name": "twin", "public_key": "1" + OTHER_KEY[1:]}]},
     "10.99.0.3 is there twice"),
    ({"wireguard_peers": [{**OTHER_PEER, "addresses": [INSIDE]}]}, "10.99.0.1 is there twice"),
    ({"wireguard_peers": [{**OTHER_PEER, "addresses": ["10.99.0.3/24"]}]}, "without a prefix"),
    ({"wireguard_peers": [{**OTHER_PEER, "preshared_key": "hunter2hunter2"}]}, "no key of WireGuard"),
    ({"wireguard_interface": "wg/0"}, "wireguard_interface is wg/0"),
    ({"firewall_ssh_from": ["wg0;reboot"]}, "firewall_ssh_from is"),
], ids=["a key cut off", "the same address", "the server's address", "a network", "a password", "no interface",
        "neither network nor interface"])
def test_wrong_input_is_refused_before_the_first_change(converge, gate, variables, why):
    before = gate.check_output("wg showconf wg0; ufw show added")

    failed = converge(**variables)

    assert failed.returncode != 0
    assert why in failed.stdout
    assert "hunter2hunter2" not in failed.stdout
    assert "changed=0" in failed.stdout
    assert gate.check_output("wg showconf wg0; ufw show added") == before


@pytest.mark.control("NET-10")
def test_without_peers_there_is_no_tunnel(converge, gate, desk, dial):
    """Off again, and nothing of it is left running; on again, the same peers find the same server."""
    rehearsed = converge("--check", wireguard_peers=[])
    assert rehearsed.returncode == 0, rehearsed.stdout
    assert "wg0" in gate.check_output("wg show interfaces")

    done = converge(wireguard_peers=[])
    assert done.returncode == 0, done.stdout
    assert gate.check_output("wg show interfaces") == ""
    assert not gate.service("wg-quick@wg0").is_enabled
    assert gate.run("ls /etc/wireguard/*.conf /etc/systemd/system/wg-quick@*").rc != 0
    assert re.search(r"gate +: ok=\d+ +changed=0", converge(wireguard_peers=[]).stdout)

    assert converge().returncode == 0
    assert ssh_answers(desk, INSIDE) or dial() or reaches(desk, INSIDE)
