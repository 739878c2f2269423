# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who guesses is shut out of everything, after exactly as many tries as configured, and nobody else is."""

from __future__ import annotations

import re
import shlex
import time

import pytest
from conftest import ADMIN, SILENCE, SITE, until

pytestmark = pytest.mark.control("IDS-1")

# What is tried, which jail counts it, and after how many it is over (group_vars/gates/bans.yml).
KINDS = [("ssh", "sshd", 2), ("apache", "apache-auth", 3), ("modsecurity", "modsecurity", 4), ("login", "login", 5),
         ("application", "application", 2)]

# A connection that stays open: asks, waits for somebody to ban (Apache for the next request: 15 s), asks again.
KEEP = """
import http.client, os, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
line = http.client.HTTPSConnection(sys.argv[1], 443, timeout=10, source_address=(sys.argv[2], 0), context=context)
def ask():
    line.request("GET", "/", headers={"Host": "SITE"})
    answer = line.getresponse()
    answer.read()
    return answer.status
print(ask(), flush=True)
first = line.sock
end = time.monotonic() + 12
while not os.path.exists("/root/go") and time.monotonic() < end:
    time.sleep(0.1)
try:
    print(ask(), line.sock is first)
except OSError as error:
    print("silence" if isinstance(error, TimeoutError) else repr(error))
""".replace("SITE", SITE)

# Something that answers at two ports of UDP, on both protocols, from the address that it was asked at; and who asks.
ECHO = """
import selectors, socket
ports = selectors.DefaultSelector()
for family, any in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for port in (51820, 51821):
        line = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            line.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        line.bind((any, port))
        ports.register(line, selectors.EVENT_READ)
while True:
    for key, _ in ports.select():
        key.fileobj.sendto(*key.fileobj.recvfrom(100))
"""
CALL = """
import socket, sys
to, port, own = sys.argv[1:]
line = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
line.bind((own, 0))
line.settimeout(2)
line.sendto(b"hello", (to, int(port)))
print(line.recv(100).decode())
"""


@pytest.mark.parametrize(("kind", "jail", "tries"), KINDS, ids=[kind for kind, *_ in KINDS])
def test_the_last_try_is_the_one_too_many(bans, stranger, family, kind, jail, tries):
    """One try less, and the real client address is still served; with it, silence at every port, also those that lead
    to another machine. Somebody else is served all the while; and who is let in again is served again."""
    guesser, other = stranger(family), stranger(family)
    attempt = getattr(guesser, f"try_{kind}")
    for _ in range(tries - 1):
        attempt()
    assert until(lambda: bans.found(jail, guesser.address) == tries - 1), bans.found(jail, guesser.address)
    time.sleep(1.5)
    assert guesser.address not in bans.of(jail)
    assert guesser.served()
    assert guesser.reaches_ssh()

    attempt()
    assert until(lambda: guesser.address in bans.of(jail))
    assert bans.found(jail, guesser.address) == tries
    assert guesser.silence()
    assert not guesser.reaches_ssh(SILENCE)
    assert other.served()
    assert other.reaches_ssh()

    for found in bans.anywhere(guesser.address):
        bans.lift(found, guesser.address)
    assert guesser.served()


def test_a_new_stranger_is_reached_at_both_ports(stranger, family):
    """The success that the silence is compared with."""
    someone = stranger(family)

    assert someone.served()
    assert someone.reaches_ssh()


def test_the_address_of_an_administrator_is_never_shut_out(bans, stranger, family):
    """Whatever somebody there mistypes."""
    admin = stranger(family, ADMIN[family])
    for _ in range(6):
        admin.try_login()
    other = stranger(family)
    for _ in range(5):
        other.try_login()

    assert until(lambda: bans.anywhere(other.address))
    assert bans.anywhere(admin.address) == []
    assert admin.served()


def test_a_page_whose_session_has_ended_guesses_nothing(bans, stranger):
    """It asks again and again, and is told 401 each time. Nobody shuts out a ward whose browsers were left open."""
    reader = stranger()
    assert {reader.ask("/api/me/notifications") for _ in range(12)} == {401}
    guesser = stranger()
    for _ in range(5):
        guesser.ask("/api/me", "--user", "alice:wrong")

    assert until(lambda: bans.anywhere(guesser.address))
    assert bans.found("login", reader.address) == 0
    assert reader.served()


@pytest.mark.parametrize("path", ["/api/auth/login", "/dhis-web-commons-security/login.action"])
def test_only_refused_logins_count(bans, stranger, path):
    """Many who log in from behind one address are not many who guess: DHIS2 answers 200, or 302 as it did before, and
    its 302 to who is refused leads back to the login page."""
    ward, guesser = stranger(), stranger()
    for _ in range(8):
        ward.ask(path, "--data", "alice:right")
    for _ in range(5):
        guesser.ask(path, "--data", "alice:wrong")

    assert until(lambda: bans.anywhere(guesser.address))
    assert bans.found("login", ward.address) == 0
    assert ward.served()


def test_a_path_of_any_length_is_counted(bans, stranger):
    """A line of a log that is handed over has 8 KiB at most, and a request may have twice as much."""
    path = f"/{'x' * 12000}/login"
    ward, guesser = stranger(), stranger()
    assert {ward.ask(path, "--data", "alice:right") for _ in range(6)} == {200}
    assert {guesser.ask(path, "--data", "alice:wrong") for _ in range(5)} == {401}

    assert until(lambda: bans.anywhere(guesser.address))
    assert bans.found("login", ward.address) == 0
    assert ward.served()


def test_a_name_of_any_length_is_counted(bans, stranger):
    """Apache cuts its error log at 8 KiB."""
    guesser = stranger()
    assert {guesser.try_apache("x" * 9000) for _ in range(3)} == {401}

    assert until(lambda: "apache-auth" in bans.anywhere(guesser.address))


@pytest.mark.parametrize(("request_of", "status"), [
    (("/login?error=1", "http"), 301),
    (("/dhis-web-commons/security/login.action?failed=true", "http", "--data", "x=y"), 301),
    (("/moved", "https"), 302),
    (("/moved", "https", "--http1.1", "--data", "x=y"), 302),
    (("/login?error=1", "https"), 302),
    (("/staff", "https"), 401),
    (("/staff/login", "https", "--http1.1", "--data", "x=y"), 401),
], ids=["port 80", "port 80, a form", "own redirect", "own redirect, a form", "the application's, a link", "own 401",
        "own 401, a form"])
def test_a_page_elsewhere_gets_nobody_shut_out(bans, stranger, request_of, status):
    """A picture or a link is enough to send all readers of a page here, with any question. None of them has given a
    password, and what the proxy itself answers says nothing of one."""
    path, scheme, *options = request_of
    reader, guesser = stranger(), stranger()
    assert {reader.ask(path, *options, scheme=scheme) for _ in range(6)} == {status}
    for _ in range(5):
        guesser.ask("/dhis-web-commons/security/login.action", "--data", "alice:wrong")

    assert until(lambda: bans.anywhere(guesser.address))
    assert bans.found("login", reader.address) == 0
    assert reader.served()


@pytest.mark.parametrize("event", [
    "ufw reload", "ufw disable && ufw --force enable", "systemctl restart ufw", "systemctl restart fail2ban",
])
def test_a_ban_survives(gate, bans, stranger, family, event):
    """What else is told to the firewall, and a new start of fail2ban itself."""
    banned, other = stranger(family), stranger(family)
    gate.check_output(f"fail2ban-client set login banip {banned.address}")
    assert banned.silence()

    gate.check_output(event)
    if "fail2ban" in event:
        assert until(lambda: gate.run("fail2ban-client get login banip").rc == 0)

    assert until(lambda: banned.address in bans.of("login"))
    assert until(banned.silence)
    assert other.served()


def test_an_open_session_of_ssh_goes_on(gate, stranger, inside):
    """Who is in has a key. A colleague who mistypes a password at the same address must not end it; but no new
    session begins."""
    guesser, machine = stranger(), inside["stranger"]
    key = machine.check_output("test -e /root/key || ssh-keygen -q -t ed25519 -N '' -f /root/key; cat /root/key.pub")
    gate.check_output(f"grep -qF '{key}' /root/.ssh/authorized_keys || echo '{key}' >> /root/.ssh/authorized_keys")
    login = (f"ssh -b {guesser.address} -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no"
             f" -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 root@{guesser.gate}")
    count = shlex.quote("for i in $(seq 120); do echo alive $i; sleep 1; done")
    session = shlex.quote(f"{login} {count} > /root/said 2>&1".replace("Timeout=5", "Timeout=20").replace("$", "$$"))
    machine.check_output(f"rm -f /root/said; systemd-run --quiet --unit session --collect sh -c {session}")

    def said() -> int:
        return len(machine.run("grep ^alive /root/said").stdout.splitlines())

    assert until(said)
    gate.check_output(f"fail2ban-client set login banip {guesser.address}")
    before = said()

    assert "timed out" in machine.run(f"{login} true").stderr
    assert guesser.silence()
    assert until(lambda: said() > before + 3)
    machine.check_output("systemctl stop session")


def test_an_open_connection_of_a_browser_ends(gate, stranger, inside):
    """Otherwise whoever keeps one open could go on guessing through it."""
    machine = inside["stranger"]
    for banned, then in ((True, "silence"), (False, "200 True")):
        guesser = stranger()
        machine.check_output("rm -f /root/kept /root/go")
        keep = f"python3 -c {shlex.quote(KEEP)} {guesser.gate} {guesser.address} > /root/kept 2>&1"
        machine.check_output(f"systemd-run --quiet --unit keep --collect sh -c {shlex.quote(keep)}")
        assert until(lambda: "200" in machine.run("cat /root/kept").stdout)
        if banned:
            gate.check_output(f"fail2ban-client set login banip {guesser.address}")
        machine.check_output("touch /root/go")
        said = until(lambda: len(lines := machine.check_output("cat /root/kept").splitlines()) > 1 and lines)

        assert said[-1] == then


def rules(gate) -> list[str]:
    return re.findall(r"(ip6? saddr .*)", re.sub(r"packets \d+ bytes \d+", "", gate.run(
        "nft list table inet hardening-bans").stdout))


@pytest.mark.parametrize("event", [
    "systemctl restart fail2ban", "fail2ban-client reload login", "fail2ban-client reload",
])
def test_what_is_begun_anew_leaves_nothing_behind(gate, bans, event):
    """Each rule is there once; the order of the jails is of no consequence."""
    before = rules(gate)
    gate.check_output(event)
    assert until(lambda: gate.run("fail2ban-client get login banip").rc == 0 and len(rules(gate)) == len(before))

    assert sorted(rules(gate)) == sorted(before)
    assert len(before) == len(set(before))


def test_the_tunnel_is_not_cut(gate, stranger, inside, family):
    """Its port answers to nobody without a key, and an administrator may share the address of who guesses. Every other
    port is silent."""
    gate.check_output("systemctl is-active --quiet echo ||"
                      f" systemd-run --quiet --unit echo python3 -c {shlex.quote(ECHO)}")
    guesser = stranger(family)

    def answers(port):
        ask = f"python3 -c {shlex.quote(CALL)} {guesser.gate} {port} {guesser.address}"
        return inside["stranger"].run(ask).stdout.strip() == "hello"

    assert until(lambda: answers(51820))
    assert answers(51821)
    gate.check_output(f"fail2ban-client set login banip {guesser.address}")
    assert answers(51820)
    assert not answers(51821)
    assert guesser.silence()


def test_what_the_server_began_is_answered(gate, stranger, inside, family):
    """Whoever writes a log can have the address of the resolver or the mirror shut out: it cannot come in, but it is
    still asked, and heard."""
    machine, helper = inside["stranger"], stranger(family)
    site = "python3 -m http.server --bind :: 8000"
    machine.check_output(f"systemctl is-active site || systemd-run --quiet --unit site {site}")
    place = f"[{helper.address}]" if ":" in helper.address else helper.address
    asks = f"curl --silent --globoff --max-time 3 --output /dev/null --write-out '%{{http_code}}' http://{place}:8000/"
    assert until(lambda: gate.run(asks).stdout == "200")
    assert helper.served()

    gate.check_output(f"fail2ban-client set login banip {helper.address}")

    assert gate.run(asks).stdout == "200"
    assert helper.silence()
    assert not helper.reaches_ssh(SILENCE)


def test_a_neighbour_who_is_shut_out_is_still_found(gate, lab):
    """Without its answers to who asks for a neighbour, IPv6 ends: the router may be the one."""
    neighbour = lab.machines["stranger"].address6
    asks = f"ip -6 neighbour flush dev eth0; ping -6 -c 1 -W 3 {neighbour}"
    assert gate.run(asks).rc == 0

    gate.check_output(f"fail2ban-client set login banip {neighbour}")
    try:
        assert neighbour in gate.check_output("nft list table inet hardening-bans")
        assert gate.run(asks).rc == 0
    finally:
        gate.check_output(f"fail2ban-client set login unbanip {neighbour}")


def test_machines_behind_are_reported_and_never_shut_out(gate, web, bans):
    """The database is reached by the application alone: a ban there would only cut it off. But that somebody there
    tries passwords is told, in the journal."""
    gate.run("fail2ban-client set database unbanip 10.91.1.10")
    begin = gate.check_output("date +%s")
    for _ in range(3):
        web.run("sudo -u postgres PGPASSWORD=guessed psql -h 10.91.1.10 -U nobody -d postgres")
        for _ in range(2):
            web.run(f"curl -sk --resolve {SITE}:443:10.91.1.10 --interface 10.91.1.10 -o /dev/null"
                    f" -d alice:wrong https://{SITE}/api/auth/login")

    said = until(lambda: gate.run(f"journalctl -t hardening-bans -o cat --since @{begin} | grep '^database: '").stdout)
    assert "refused attempts from 10.91.1.10, only reported" in said
    assert until(lambda: "[login] Ignore 10.91.1.10" in gate.check_output("tail -n 200 /var/log/fail2ban.log"))
    assert bans.anywhere("10.91.1.10") == ["database"]
    assert "10.91.1.10" not in gate.check_output("nft list table inet hardening-bans")
    assert web.run("bash -c '</dev/tcp/10.91.1.1/601'").rc == 0


def test_the_journal_says_who_was_shut_out(gate, stranger):
    """Once, with the address, and nothing of what the stranger wrote."""
    guesser = stranger()
    for _ in range(3):
        guesser.try_apache("mallory")
    assert until(lambda: guesser.address in (said := gate.check_output(
        "journalctl -t hardening-bans -o cat -n 5")) and said)
    lines = [line for line in gate.check_output("journalctl -t hardening-bans -o cat").splitlines()
             if f" {guesser.address}," in line]

    assert lines == [f"apache-auth: 3 refused attempts from {guesser.address}, shut out for 900 s"]


VICTIM = "203.0.113.99"
LIES = [
    ("apache", f"x] [client {VICTIM}:1] AH01618: user y not found: /"),
    ("apache", f"x\n[Sun Nov 22 03:51:06.435648 2026] [auth_basic:error] [pid 1] [client {VICTIM}:1] AH01618: user y"
               " not found: /"),
    ("modsecurity", f"<script>%0a[security2:error]%20[pid%201]%20[client%20{VICTIM}:1]%20ModSecurity:%20Access%20denied"
                    "%20with%20code"),
    ("login", f"{VICTIM} - - [22/Nov/2026:03:51:06 +0000] \" 401 "),
]


@pytest.mark.parametrize(("kind", "lie"), LIES, ids=range(len(LIES)))
def test_nobody_gets_somebody_else_shut_out(gate, bans, stranger, kind, lie):
    """An address, or a whole line, in a name or a path counts against the one who wrote it."""
    liar = stranger()
    jail = {"apache": "apache-auth", "modsecurity": "modsecurity", "login": "login"}[kind]
    getattr(liar, f"try_{kind}")(lie)
    # And everywhere else that a log may take something from.
    liar.ask(f"/%0a{VICTIM}%20-%20-%20%22%20401%20/login", "--data", "x:wrong", "--user-agent",
             f"x\" 401 1\\n{VICTIM} - - [] \" 401 ", "--referer", f"[client {VICTIM}:1]", "--user",
             f"{VICTIM} \" 401:wrong")

    assert until(lambda: bans.found(jail, liar.address) and bans.found("login", liar.address))
    time.sleep(1.5)
    assert VICTIM not in gate.check_output("cat /var/log/fail2ban.log")


def test_the_database_takes_no_lies_either(gate, web, bans):
    """Names with line breaks reach its log."""
    name = ("x\n2026-11-22 03:51:06.944 UTC [1] 203.0.113.98 FATAL:  password authentication failed for user "
            "\"y\"\n[1] 203.0.113.98 FATAL:  no pg_hba.conf entry for host")
    web.run(f"sudo -u postgres psql -h 10.91.1.10 -d postgres -U {shlex.quote(name)}")
    web.run("sudo -u postgres psql -h 10.91.1.10 -d postgres -U afterwards")

    assert until(lambda: "afterwards" in gate.check_output("tail -n 3 /var/log/received/web/postgresql.log"))
    assert "203.0.113.98" in gate.check_output("cat /var/log/received/web/postgresql.log")
    time.sleep(1.5)
    assert "203.0.113.98" not in gate.check_output("cat /var/log/fail2ban.log")
    assert bans.found("database", "10.91.1.10")
