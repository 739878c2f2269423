# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of this scenario share: strangers with addresses of their own, and the gate's word on bans."""

from __future__ import annotations

import itertools
import re
import shlex
import time

import pytest

SITE = "web.example.org"
# Each run has other strangers: what fail2ban remembers of the last one's is of no consequence.
RUN = int(time.time()) // 10 % 240
NETWORKS = {"IPv4": f"198.18.{RUN}.{{}}", "IPv6": f"2001:db8:51::{RUN}:{{}}"}
ADMIN = {"IPv4": "198.19.0.250", "IPv6": "2001:db8:51::250"}
HELLO = """
import socket, sys
with socket.create_connection((sys.argv[1], 22), float(sys.argv[3]), (sys.argv[2], 0)) as caller:
    print(caller.recv(20).decode())
"""
# Seconds after which nobody answers, and those that an answer may take where one is expected: a machine may be busy.
SILENCE, PATIENCE = 3, 20
# No two tests come from the same address: bans last longer than tests.
NUMBERS = itertools.count(10)


def until(question, seconds=60):
    """The first answer that is true, or the last one."""
    end = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < end:
        time.sleep(0.25)
    return answer


class Stranger:
    """Somebody out there with one address."""

    def __init__(self, machine, gate: str, address: str) -> None:
        self.machine, self.gate, self.address = machine, gate, address

    def ask(self, path: str = "/", *options: str, scheme: str = "https", patience: float = PATIENCE) -> int:
        """The status of the answer; 0 for silence."""
        target = f"[{self.gate}]" if ":" in self.gate else self.gate
        words = ["curl", "--silent", "--insecure", "--globoff", "--max-time", str(patience),
                 "--interface", self.address, "--resolve", f"{SITE}:443:{target}", "--resolve", f"{SITE}:80:{target}",
                 "--output", "/dev/null", "--write-out", "%{http_code}", *options,
                 f"{scheme}://{SITE}{path}"]
        done = self.machine.run(shlex.join(words))
        # 28: nobody answered in time. Anything else (refused, broken TLS) would be another story.
        assert done.rc in (0, 28), f"curl says {done.rc}: {done.stderr}"
        return int(done.stdout)

    def served(self) -> bool:
        return self.ask() == 200

    def silence(self) -> bool:
        return self.ask(patience=SILENCE) == 0

    def ssh(self, user: str = "nobody-here") -> str:
        """What sshd says to a login without a key."""
        words = ["ssh", "-b", self.address, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o",
                 "UserKnownHostsFile=/dev/null", "-o", f"ConnectTimeout={PATIENCE}", "-o",
                 "PreferredAuthentications=none", f"{user}@{self.gate}", "true"]
        return self.machine.run(shlex.join(words)).stderr

    def reaches_ssh(self, patience: float = PATIENCE) -> bool:
        """Whether sshd says hello. Who goes away then has not tried anything."""
        heard = self.machine.run(f"python3 -c '{HELLO}' {self.gate} {self.address} {patience}").stdout
        return heard.startswith("SSH-2.0")

    # One refused attempt at each thing that is watched.
    def try_ssh(self):
        return self.ssh()

    def try_apache(self, user: str = "alice"):
        return self.ask("/staff", "--user", f"{user}:wrong")

    def try_modsecurity(self, what: str = "<script>"):
        return self.ask(f"/search?q={what}")

    def try_login(self, user: str = "alice"):
        return self.ask("/api/auth/login", "--data", f"{user}:wrong")

    def try_application(self, user: str = "alice"):
        return self.ask("/quiet/login", "--data", f"{user}:wrong")


class Bans:
    """fail2ban's own word."""

    def __init__(self, gate) -> None:
        self.gate = gate

    def found(self, jail: str, address: str) -> int:
        """How often it has counted a try of this address."""
        log = self.gate.check_output("cat /var/log/fail2ban.log")
        return len(re.findall(rf"\[{jail}\] Found {re.escape(address)} ", log))

    def of(self, jail: str) -> list[str]:
        # While fail2ban starts it answers, and has no jails yet.
        done = self.gate.run(f"fail2ban-client get {jail} banip")
        return done.stdout.split() if done.succeeded else []

    def anywhere(self, address: str) -> list[str]:
        jails = self.gate.check_output("fail2ban-client status").rsplit(":", 1)[-1].replace(",", " ").split()
        return [jail for jail in jails if address in self.of(jail)]

    def lift(self, jail: str, address: str) -> None:
        self.gate.check_output(f"fail2ban-client set {jail} unbanip {address}")


@pytest.fixture(scope="session")
def gate(inside):
    return inside["gate"]


@pytest.fixture(scope="session")
def web(inside):
    return inside["web"]


@pytest.fixture(scope="session")
def bans(gate):
    return Bans(gate)


@pytest.fixture(scope="session")
def stranger(inside, lab):
    """A stranger nobody has seen before, or one with a certain address."""

    def come(family: str = "IPv4", address: str = "") -> Stranger:
        gate = lab.machines["gate"].address if family == "IPv4" else lab.machines["gate"].address6
        return Stranger(inside["stranger"], gate, address or NETWORKS[family].format(next(NUMBERS)))

    return come


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request):
    return request.param
