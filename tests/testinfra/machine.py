# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the suite reaches the box and its containers: one ssh connection, many questions at once.

Each round trip costs up to a second and each `lxc exec` more, so the questions of all tests are put together first and
asked in one go, all machines side by side (probes/ask.py). Nothing here needs Ansible: the site comes as plain data.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

PROBES = Path(__file__).parent / "probes"
# How long the firewall remembers new connections of an address.
LIMIT_SECONDS = 31
# A question: succeeds where the machine has no kernel of its own.
CONTAINER = "systemd-detect-virt --container"


class Unreachable(Exception):
    """The box did not answer at all; no promise can be looked at."""


@dataclass(frozen=True)
class Answer:
    """What one question got: exit status and what was printed. `errors` is apart for a script on the box only."""

    code: int
    text: str
    errors: str = ""

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]

    @property
    def json(self) -> t.Any:
        return json.loads(self.text)


@dataclass
class Site:
    """The box as its inventory describes it. `hosts` holds the variables of each host, without any secret."""

    hosts: dict[str, dict[str, t.Any]]
    groups: dict[str, list[str]]
    version: str = "0"
    # May the suite do what users notice for a moment? May it lock the box in the end?
    disruptive: bool = False
    lock: bool = False
    # {"key": ..., "digests": {HMAC of a secret: its variable}}
    canaries: dict[str, t.Any] = field(default_factory=dict)
    # The host that looks at the box from outside in place of this machine: {"name": ..., "ansible_host": ...}
    scanner: dict[str, t.Any] = field(default_factory=dict)

    @property
    def box(self) -> str:
        return self.groups["box"][0]

    @property
    def containers(self) -> list[str]:
        return self.groups.get("tiers", [])

    @property
    def machines(self) -> list[str]:
        return [self.box, *self.containers]

    def get(self, host: str, variable: str, default: t.Any = None) -> t.Any:
        value = self.hosts[host].get(variable)
        return default if value is None else value

    def on(self, host: str, variable: str) -> bool:
        """Whether a subject is on, which it is unless somebody switched it off."""
        return str(self.get(host, variable, True)).lower() not in ("false", "no", "off", "0")

    def first(self, group: str) -> str:
        return self.groups[group][0]

    def instance(self, host: str) -> str:
        return self.get(host, "ansible_lxd_ssh_instance", host)

    def segment(self, host: str) -> str:
        """The bridge that a container is on."""
        instances = {item["name"]: item for item in self.get(self.box, "lxd_instances", [])}
        return str(instances.get(self.instance(host), {}).get("network", ""))

    def addresses(self, host: str) -> list[str]:
        return [a for a in (self.get(host, "securebox_address"), self.get(host, "securebox_address6")) if a]

    @property
    def domain(self) -> str:
        return self.get(self.first("proxy"), "proxy_apache_server_name") or self.get(self.box, "securebox_domain")

    @property
    def ssh_port(self) -> int:
        return int(self.get(self.box, "hardening_ssh_port", 22))

    @property
    def public_ssh(self) -> list[int]:
        """ssh's port where it answers everywhere; none where it does inside a tunnel or to some networks only."""
        return [] if self.get(self.box, "firewall_ssh_from", []) else [self.ssh_port]

    @property
    def public_ports(self) -> list[int]:
        return [int(forward["port"]) for forward in self.get(self.box, "firewall_forwards", [])]

    @property
    def login(self) -> tuple[str, int]:
        """Where this suite itself reaches ssh."""
        return self.get(self.box, "ansible_host", self.box), int(self.get(self.box, "ansible_port", 22))

    @property
    def outside_address(self) -> str:
        # Where ssh comes by a tunnel, the world has another address.
        names = ("securebox_verify_address", "securebox_bootstrap_host", "ansible_host")
        return next(filter(None, (self.get(self.box, name) for name in names)), self.box)

    @property
    def is_forwarded(self) -> bool:
        """Whether something between here and the box forwards ports, as a lab does."""
        return bool(self.get(self.box, "securebox_verify_ports"))

    def outside_port(self, port: int) -> int | None:
        """Where a port of the box is reached from here; None if a lab's port forwarding leaves it out."""
        ports = self.get(self.box, "securebox_verify_ports") or {}
        return int(ports[str(port)]) if str(port) in ports else None if ports else port


def ssh_command(given: dict[str, t.Any], host: str, *options: str, shared: str | None = None) -> list[str]:
    """The beginning of an ssh command to a host of an inventory; `shared` is the socket of a shared connection."""
    command = ["ssh", *options, "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
    command += ["-p", str(given.get("ansible_port") or 22)]
    if shared:
        command += ["-o", "ControlMaster=auto", "-o", f"ControlPath={shared}", "-o", "ControlPersist=120"]
    else:
        command += ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
    account = given.get("ansible_user")
    command += ["-l", account] if account else []
    key = given.get("ansible_ssh_private_key_file") or given.get("ansible_private_key_file")
    command += ["-i", str(Path(key).expanduser())] if key else []
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        command += shlex.split(given.get(name) or "")
    return [*command, host]


def scan(site: Site, address: str, udp: list[int], timeout: int = 240) -> dict[str, t.Any]:
    """All ports of an address (probes/scan.py), asked by this machine, or by the host that the site names for it."""
    source = (PROBES / "scan.py").read_text(encoding="utf-8")
    command = [sys.executable, "-", address, json.dumps(udp)]
    if site.scanner:
        login = ssh_command(site.scanner, site.scanner.get("ansible_host") or site.scanner["name"])
        command = [*login, shlex.join(["python3", *command[1:]])]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=timeout, check=False)
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"the scan was not done within {timeout} s") from error
    except ValueError as error:
        who = site.scanner.get("name", "this machine")
        raise Unreachable(f"{who} could not scan: {done.stderr.strip()[-400:]}") from error


class Box:
    """The ssh connection to the box. Every command runs as root there."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._directory = tempfile.TemporaryDirectory(prefix="sb-")
        self.host, self.port = site.login
        self.user = site.get(site.box, "ansible_user", "")

    def ssh(self, *options: str, user: str | None = None, shared: bool = True) -> list[str]:
        """The beginning of an ssh command, with the inventory's own settings."""
        given = dict(self.site.hosts[self.site.box])
        if user is not None:
            given["ansible_user"] = user
        return ssh_command(given, self.host, *options, shared=f"{self._directory.name}/ssh" if shared else None)

    def attempt(self, *options: str, user: str | None = None) -> Answer:
        """A login of its own that is meant to be refused; `errors` says how."""
        for _attempt in range(2):
            done = subprocess.run(
                [*self.ssh(*options, user=user, shared=False), "true"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                errors="replace",
            )
            answered = re.search(r"Permission denied|Unable to negotiate|^command-line", done.stderr, re.M)
            if done.returncode == 0 or answered:
                break
            # Maybe the limit on new connections (NET-2) came before.
            time.sleep(LIMIT_SECONDS)
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())

    def run(self, script: str, timeout: int = 120) -> Answer:
        """A shell script as root on the box."""
        return self._run("sh -s", script, timeout)

    def program(self, name: str, data: t.Any, timeout: int = 270) -> t.Any:
        """A program of probes/ as root on the box, with data handed to it; it prints JSON."""
        source = (PROBES / f"{name}.py").read_text(encoding="utf-8")
        answer = self._run("python3 -", f"GIVEN = {json.dumps(data)!r}\n{source}", timeout)
        try:
            return json.loads(answer.text)
        except ValueError as error:
            raise Unreachable(
                f"{name} gave no answer (exit {answer.code}): {answer.text[-400:]} {answer.errors[-400:]}"
            ) from error

    def _run(self, command: str, text: str, timeout: int, retried: bool = False) -> Answer:
        root = "" if self.user == "root" else "sudo -n "
        try:
            done = subprocess.run(
                [*self.ssh(), root + command], input=text, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"no answer from {self.host} within {timeout} s") from error
        if done.returncode == 255 and not retried and re.search(r"refused|timed out|reset", done.stderr):
            # Maybe the limit on new connections: other tools may have come from here just now.
            time.sleep(LIMIT_SECONDS)
            return self._run(command, text, timeout, retried=True)
        if done.returncode == 255:
            raise Unreachable(f"ssh to {self.user}@{self.host}:{self.port} failed: {done.stderr.strip()}")
        return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())

    def close(self) -> None:
        subprocess.run([*self.ssh(), "-O", "exit"], capture_output=True, check=False)
        self._directory.cleanup()


def ask(box: Box, questions: dict[str, dict[str, str]]) -> dict[str, dict[str, Answer]]:
    """Ask all questions, {host: {name: shell script}}, in one round trip."""
    site = box.site
    instances = {host: site.instance(host) for host in questions if host != site.box}
    answers = box.program("ask", {"questions": questions, "instances": instances})
    return {host: {name: Answer(*pair) for name, pair in named.items()} for host, named in answers.items()}


def python(source: str, *arguments: t.Any) -> str:
    """A question that is a small Python program; its arguments come in as JSON."""
    given = json.dumps(list(arguments))
    program = f"import json, sys\nGIVEN = json.loads(sys.argv[1])\n{source}"
    return f"python3 - {shlex.quote(given)} <<'PROGRAM'\n{program}\nPROGRAM"
