# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pytest runs with: the site, the questions of all tests put together, and the collection of what came out."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import outside
import pytest
from machine import PROBES, Answer, Box, Site, Unreachable, ask


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--site", help="JSON file that describes the box (playbooks/verify.yml writes it)")
    parser.addoption("--outcomes", help="JSON file to write what came out to")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "control(*ids): ids of the controls (controls.yml) that a test proves")
    config.addinivalue_line("markers", "last: ends the service, so it runs after all others")
    config.pluginmanager.register(Collector(config.getoption("--outcomes")), "outcomes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends the service comes last."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


class Collector:
    """Keeps one outcome a test. What was collected and never ran stays `not run`: that must not look like success."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._outcomes: dict[str, dict[str, t.Any]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            controls = [name for mark in item.iter_markers("control") for name in mark.args]
            promise = (getattr(item, "obj", None).__doc__ or item.name).strip()
            self._outcomes[item.nodeid] = {
                "test": item.name,
                "controls": controls,
                "promise": " ".join(promise.split()),
                "outcome": "not run",
                "reason": "the suite ended before it",
                "evidence": [],
                "scans": {},
                "reach": [],
                "seconds": 0.0,
            }

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> t.Iterator[None]:
        report = (yield).get_result()
        entry = self._outcomes.get(item.nodeid)
        if entry is None:
            return
        entry["seconds"] = round(entry["seconds"] + report.duration, 2)
        entry["evidence"] = [value for name, value in item.user_properties if name == "evidence"]
        entry["scans"] = dict(value for name, value in item.user_properties if name == "scan")
        entry["reach"] = [way for name, value in item.user_properties if name == "reach" for way in value]
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            entry.update(outcome="failed", reason=(crash.message if crash else str(report.longrepr))[:3000])
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            reason = reason.removeprefix("Skipped: ")
            kind = "not applicable" if reason.startswith("not applicable: ") else "not run"
            entry.update(outcome=kind, reason=reason.removeprefix("not applicable: "))
        elif report.when == "call":
            entry.update(outcome="passed", reason="")

    def pytest_sessionfinish(self) -> None:
        if self._path:
            Path(self._path).write_text(json.dumps(list(self._outcomes.values())), encoding="utf-8")


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Site:
    path = request.config.getoption("--site")
    if not path:
        pytest.skip("no box: give --site, or run the playbook securebox.stack.verify")
    return Site(**json.loads(Path(path).read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def box(site: Site) -> t.Iterator[Box]:
    connection = Box(site)
    yield connection
    connection.close()


class Answers:
    """The answers to the questions of all test modules: `answers(host, name)`."""

    def __init__(self, box: Box, modules: t.Iterable[t.Any]) -> None:
        questions: dict[str, dict[str, str]] = {}
        for module in modules:
            for host, named in module.questions(box.site).items():
                questions.setdefault(host, {}).update(
                    {f"{module.__name__}.{name}": text for name, text in named.items()}
                )
        self._answers = ask(box, questions)

    def __call__(self, module: str, host: str, name: str) -> Answer:
        return self._answers[host][f"{module}.{name}"]


@pytest.fixture(scope="session")
def all_answers(request: pytest.FixtureRequest, box: Box) -> Answers | Unreachable:
    modules = {item.module for item in request.session.items if hasattr(item.module, "questions")}
    try:
        return Answers(box, sorted(modules, key=lambda module: module.__name__))
    except Unreachable as error:
        return error


@pytest.fixture
def said(request: pytest.FixtureRequest, all_answers: Answers | Unreachable) -> t.Callable[[str, str], Answer]:
    """The answer of a host to a question of this module."""
    if isinstance(all_answers, Unreachable):
        pytest.fail(str(all_answers), pytrace=False)

    def answer(host: str, name: str) -> Answer:
        given = all_answers(request.module.__name__, host, name)
        if given.code == 125 and "not running" in given.text:
            # Only a locked box has containers that may be down.
            request.getfixturevalue("unlocked")
        assert given.code != 125 or not given.text.startswith("not answered"), f"{host}: {given.text}"
        return given

    return answer


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> t.Callable[[str], None]:
    """Keeps a sentence, or some output, for the report."""
    return lambda text: request.node.user_properties.append(("evidence", str(text)[:4000]))


@pytest.fixture
def scanned(request: pytest.FixtureRequest) -> t.Callable[[str, dict[str, t.Any]], None]:
    """Keeps what the scanners of a machine found, for the report's table."""
    return lambda host, result: request.node.user_properties.append(("scan", (host, result)))


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> t.Callable[[str, str, t.Iterable[t.Any]], None]:
    """Keeps which ports of one machine another one reached, for the report's drawing."""
    return lambda source, target, ports: request.node.user_properties.append(
        ("reach", [{"from": source, "to": target, "ports": list(ports)}])
    )


@pytest.fixture
def not_applicable() -> t.Callable[[str], None]:
    """The site is made so that there is nothing to prove."""
    return lambda reason: pytest.skip(f"not applicable: {reason}")


@pytest.fixture
def having(site: Site, evidence: t.Callable[[str], None], not_applicable: t.Callable[[str], None]):
    """The machines on which a subject is on: `having("hardening_logging")`, or of the box alone `(…, site.box)`."""

    def machines(variable: str, *only: str) -> list[str]:
        asked = list(only) or site.machines
        on = [host for host in asked if site.on(host, variable)]
        if not on:
            not_applicable(f"{variable} is off")
        for host in asked:
            if host not in on:
                evidence(f"{host}: not looked at, because {variable} is off there")
        return on

    return machines


@pytest.fixture
def own_kernel(site: Site, said: t.Callable[[str, str], Answer], not_applicable: t.Callable[[str], None]) -> None:
    """For what only a machine with a kernel of its own has. The module asks `container` (machine.CONTAINER)."""
    if said(site.box, "container").code == 0:
        not_applicable("the box is itself a container here, without a kernel of its own")


@pytest.fixture(scope="session")
def stranger(box: Box) -> Answer:
    """What ssh tells somebody without a key (`errors`), with all that was negotiated before."""
    without_key = ("PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive")
    return box.attempt("-vv", *(part for option in without_key for part in ("-o", option)))


@pytest.fixture
def disruptive(site: Site) -> None:
    """For tests that users would notice: they run only when asked for."""
    if not site.disruptive:
        pytest.skip("it would interrupt the service for a moment; allow it with -e securebox_verify_disruptive=true")


@pytest.fixture(scope="session")
def status(box: Box) -> dict[str, t.Any]:
    """What the command on the box says about itself."""
    answer = box.run("securebox status --json")
    try:
        return answer.json
    except ValueError:
        pytest.fail(f"`securebox status --json` said: {answer.text} {answer.errors}", pytrace=False)


@pytest.fixture
def in_maintenance(box: Box, site: Site, status: dict[str, t.Any], request: pytest.FixtureRequest) -> t.Iterator[None]:
    """The site shows its maintenance page: because the box is locked, or for this moment, where that is allowed."""
    if status["state"] == "locked":
        yield
        return
    request.getfixturevalue("disruptive")
    command = f"lxc exec {site.instance(site.first('proxy'))} -- /usr/local/sbin/securebox-maintenance"
    assert box.run(f"{command} on </dev/null").code == 0
    try:
        yield
    finally:
        back = box.run(f"{command} off </dev/null")
        assert back.code == 0, back.text


@pytest.fixture
def unlocked(status: dict[str, t.Any]) -> None:
    if status["state"] == "locked":
        pytest.skip("the box is locked: unlock it, then verify again")


# Tried between all machines, beside the ports that the site itself uses.
PORTS = (22, 53, 80, 443, 5432, 8080, 8443)
# The ports of UDP where something answers most often, as nmap counted.
_UDP = """
    7 9 17 19 49 53 67 68 69 80 88 111 120 123 135 136 137 138 139 158 161 162 177 427 443 445 497 500 514 515 518 520
    593 623 626 631 996 997 998 999 1022 1023 1025 1026 1027 1028 1029 1030 1433 1434 1645 1646 1701 1718 1719 1812 1813
    1900 2000 2048 2049 2222 2223 3283 3456 3703 4444 4500 5000 5060 5353 5632 9200 10000 17185 20031 30718 31337 32768
    32769 32771 32815 33281 49152 49153 49154 49156 49181 49182 49185 49186 49188 49190 49191 49192 49193 49194 49200
    49201 65024
"""
UDP = [int(port) for port in _UDP.split()]


@pytest.fixture(scope="session")
def all_udp() -> list[int]:
    return UDP


@pytest.fixture(scope="session")
def world(box: Box) -> dict[str, t.Any]:
    """Who reaches whom, tried out (probes/world.py)."""
    site = box.site
    flows, services = (site.get(site.box, name, []) for name in ("firewall_flows", "firewall_segment_services"))
    # What trusted networks have, nobody else may reach.
    listed = site.get(site.box, "firewall_trusted", [])
    trusted = [int(port) for item in listed if item.get("proto") == "udp" for port in item["ports"]]
    bridges = [
        str(network[family]).split("/", maxsplit=1)[0]
        for network in site.get(site.box, "lxd_networks", [])
        for family in ("ipv4", "ipv6")
        if network.get(family)
    ]
    given = {
        "containers": {
            host: {"instance": site.instance(host), "addresses": site.addresses(host)} for host in site.containers
        },
        "ports": sorted({int(item["port"]) for item in [*flows, *services]} | {*PORTS, site.ssh_port}),
        "udp": sorted({*UDP, *trusted}),
        # Its program goes along: it runs with the stranger.
        "scan": (PROBES / "scan.py").read_text(encoding="utf-8"),
        "bridges": bridges,
        "ssh_port": site.ssh_port,
        "forwarded": site.public_ports,
    }
    try:
        return box.program("world", given)
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)


class Front:
    """The box as browsers see it."""

    def __init__(self, site: Site) -> None:
        self.site, self.address, self.name = site, site.outside_address, site.domain

    def port(self, port: int) -> int:
        found = self.site.outside_port(port)
        if found is None:
            pytest.skip(f"port {port} of the box is not reached from here (securebox_verify_ports)")
        return found

    def get(self, path: str = "/", tls: bool = True, **more: t.Any) -> tuple[int, dict[str, str], str]:
        return outside.request(self.address, self.port(443 if tls else 80), self.name, path, tls, **more)


@pytest.fixture(scope="session")
def front(site: Site) -> Front:
    return Front(site)
