# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The box as the world judges it: all ports, TLS, every kind of page, ssh. By rules and programs that are not ours."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
import urllib.parse

import judges
import machine
import observatory
import outside
import pytest
from machine import LIMIT_SECONDS, Unreachable

DECOY = 47004
# How long it listens: two scans, and some room.
DECOY_SECONDS = 300
ORIGIN = "https://another.example.net"


def questions(site):
    return {
        site.box: {
            "release": ". /etc/os-release; echo $ID $VERSION_ID",
            "addresses6": "ip -6 -o address show scope global -deprecated",
        }
    }


# Ports


@pytest.fixture(scope="module")
def decoy(box):
    """A listener on the box that nobody outside may reach."""
    try:
        heard = box.program("decoy", {"port": DECOY, "seconds": DECOY_SECONDS})
    except Unreachable as error:
        pytest.fail(str(error), pytrace=False)
    yield heard
    box.run(f"kill {int(heard['pid'])}")


def resolved(name, family):
    try:
        return socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return ""


def public_address6(site, said):
    """The box's own in the world: from the inventory, by its name, or as it says itself."""
    known = site.get(site.box, "securebox_verify_address6") or resolved(site.outside_address, socket.AF_INET6)
    found = re.findall(r"inet6 ([0-9a-f:]+)", "" if known else said(site.box, "addresses6").text)
    return known or next((word for word in found if ipaddress.ip_address(word) in ipaddress.ip_network("2000::/3")), "")


def forwarded(site, six):
    """The public ports of that protocol."""
    forwards = site.get(site.box, "firewall_forwards", [])
    return [int(item["port"]) for item in forwards if not six or item.get("to6")]


@pytest.mark.control("VER-1")
@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_of_all_ports_ssh_and_the_site_answer(site, said, not_applicable, evidence, request, version, all_udp):
    """All 65,535 ports of TCP and the 100 most used of UDP, from outside, and one where somebody listens on the box."""
    if site.is_forwarded and not site.scanner:
        not_applicable("ports are forwarded here (securebox_verify_ports); a stranger next to the box asks all: NET-1")
    six = version == "IPv6"
    address = public_address6(site, said) if six else resolved(site.outside_address, socket.AF_INET)
    if not address:
        not_applicable(f"the box has no address of {version} in the world")
    wanted = sorted({*site.public_ssh, *forwarded(site, six)})
    decoy = request.getfixturevalue("decoy")
    try:
        found = machine.scan(site, address, [*all_udp, DECOY])
    except Unreachable as error:
        pytest.skip(str(error))
    who = site.scanner.get("name") or "this machine"
    if not found["way"]:
        pytest.skip(f"{who} has no way to {address}: securebox_verify_from names a host of the inventory that has one")
    evidence(
        f"{address}, asked by {who} in {found['seconds']} s: {found['asked']} ports of TCP: open {found['open']}, "
        f"refused by the box or on the way {found['refused']} {found['refused_ports']}, the rest silent; "
        f"{found['udp_asked']} of UDP: answered {found['udp'] or 'none'}; "
        f"on the box itself port {DECOY} says {decoy['tcp']} and {decoy['udp']}"
    )
    assert found["asked"] == 65535
    assert found["open"] == wanted
    assert found["udp"] == {}
    if not wanted:
        pytest.skip(f"nothing of the box is meant to be open by {version}, so the silence may be anybody's on the way")


# TLS


def excused(issues, kind):
    """Issues that are about who vouches for the certificate: PRX-4 asks that. One's own may also be valid longer."""
    return {name for name in issues if name == judges.TRUST or (name == judges.LIFE and kind == "self_signed")}


@pytest.mark.control("VER-1")
def test_tls_is_what_mozilla_recommends(site, front, evidence):
    """sslyze compares versions, ciphers, groups and known holes with Mozilla's guideline `intermediate`."""
    command = judges.program("sslyze")
    if not command:
        pytest.skip(judges.SSLYZE)
    kind = site.get(site.first("proxy"), "proxy_apache_certificate", "self_signed")
    try:
        found = judges.sslyze(command, front.address, front.port(443), front.name)
    except judges.Silent as error:
        pytest.skip(str(error))
    for version, suites in found.spoken.items():
        evidence(f"{version}: {', '.join(suites)}")
    evidence(f"groups: {', '.join(found.groups)}")
    said = excused(found.issues, kind)
    for name in sorted(said):
        evidence(f"not counted here ({'self-signed' if kind == 'self_signed' else 'PRX-4'}): {found.issues[name]}")
    broken = {name: words for name, words in found.issues.items() if name not in said}
    evidence(f"sslyze, Mozilla's {judges.GUIDELINE}: {'; '.join(broken.values()) or 'compliant'}")
    assert not broken, "; ".join(broken.values())


# Headers

HEADERS = (
    "content-security-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
)


@pytest.mark.control("PRX-2")
@pytest.mark.parametrize(
    ("path", "tls"),
    [("/", True), ("/there-is-no-such-page", True), ("/.well-known/acme-challenge/none", True), ("/", False)],
    ids=["the site", "an unknown page", "an error of the proxy", "the redirect"],
)
def test_every_answer_has_the_headers_and_tells_no_version(front, evidence, path, tls):
    """Policy, frames, types, referrer and permissions: on what the application says, and on what the proxy says."""
    status, headers, _body = front.get(path, tls=tls)
    for name in (*HEADERS, "server"):
        evidence(f"{path}, {status}: {name}: {headers.get(name, 'none')}")
    assert [name for name in HEADERS if not headers.get(name)] == []
    assert not re.search(r"[0-9]", headers.get("server", "")), "the server tells its version"
    assert "x-powered-by" not in headers


@pytest.fixture(scope="module")
def trusted(site, front):
    """Whether headers are judged as under a certificate that browsers trust, and why."""
    found = outside.trusts(front.address, front.port(443), front.name)
    if found != "trusted" and site.get(site.first("proxy"), "proxy_apache_certificate", "self_signed") == "self_signed":
        return True, "judged as if the certificate were trusted, but it is self-signed: browsers warn (PRX-4)"
    return found == "trusted", f"certificate: {found}"


OWN = {
    "redirect to https": 301,
    "404": 404,
    "400, malformed": 400,
    "405": 405,
    "413, too large": 413,
}


def own_page(front, kind):
    """An answer that the proxy makes itself."""
    if kind == "redirect to https":
        return front.get("/some/page?x=1", tls=False)
    if kind == "404":
        return front.get("/.well-known/acme-challenge/there-is-no-such-file")
    if kind == "400, malformed":
        return outside.malformed(front.address, front.port(443), front.name)
    if kind == "405":
        return front.get("/", method="TRACE")
    return front.get("/", method="POST", headers={"Content-Length": str(10**12)})


@pytest.mark.control("VER-1")
@pytest.mark.parametrize("kind", OWN)
def test_the_proxys_own_pages_have_the_best_grade(front, trusted, evidence, request, kind):
    """A+ by the HTTP Observatory's rules on whatever the proxy says itself: errors are what attackers ask for."""
    if kind in ("405", "413, too large"):
        # In maintenance there is one answer to everything.
        request.getfixturevalue("unlocked")
    status, headers, body = own_page(front, kind)
    verdict = observatory.judge(
        observatory.Answer(front.name, headers, body, trusted[0], https=kind != "redirect to https")
    )
    evidence(f"{status}: {verdict.table()}")
    evidence(trusted[1])
    assert status == OWN[kind]
    assert verdict.grade == "A+", f"{kind}: {verdict}"


@pytest.mark.control("VER-1")
def test_the_maintenance_page_has_the_best_grade(site, status, front, trusted, evidence, request):
    """A+ for the page itself; as the answer to everything (503) where the box is locked, or may be disrupted."""
    path, wanted = "/.maintenance", 200
    if site.disruptive or status["state"] == "locked":
        request.getfixturevalue("in_maintenance")
        path, wanted = "/", 503
    code, headers, body = front.get(path)
    verdict = observatory.judge(observatory.Answer(front.name, headers, body, trusted[0]))
    evidence(f"{path}, {code}: {verdict.table()}")
    evidence(trusted[1])
    assert code == wanted
    assert verdict.grade == "A+", str(verdict)


def follow(front, url):
    """The answers from there on, each as (url, status, headers, body), as long as they lead to the site itself."""
    seen = []
    while len(seen) < 10:
        parts = urllib.parse.urlsplit(url)
        if parts.hostname != front.name or parts.scheme not in ("http", "https"):
            break
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        seen.append((url, *front.get(target, tls=parts.scheme == "https")))
        _url, status, headers, _body = seen[-1]
        if not (300 <= status < 400 and "location" in headers):
            break
        url = urllib.parse.urljoin(url, headers["location"])
    return seen


def promised(site):
    """The points that the site's own policy costs, whatever the application says beside it."""
    text = site.get(site.first("proxy"), "proxy_apache_content_security_policy", "")
    headers = {"content-security-policy": " ".join(text.split())} if text.strip() else {}
    return observatory.content_security_policy(headers, observatory.Page(""))


def hold(verdict, site):
    """All points, but for what the site's policy lets an application do that needs it."""
    policy, found = promised(site), {item.rule: item for item in verdict.findings}
    lost = verdict.lost(policy.rule)
    if found[policy.rule].modifier < policy.modifier:
        lost.append(found[policy.rule])
    assert not lost, "; ".join(map(str, lost))


@pytest.mark.control("VER-1")
def test_the_site_is_graded_as_the_observatory_would(site, unlocked, front, trusted, evidence):
    """From http on, by all redirects, to the page that people see: the proxy loses no point, and the site's policy no
    more than it says (proxy_apache_content_security_policy). Each step inside https is looked at as well."""
    steps = follow(front, f"http://{front.name}/")
    cookies = [headers["set-cookie"] for _url, _status, headers, _body in steps if "set-cookie" in headers]
    _code, shared, _body = front.get("/", method="OPTIONS", headers={
        "Origin": ORIGIN, "Access-Control-Request-Method": "GET"})  # fmt: skip
    route = [url for url, *_rest in steps]
    assert route[-1].startswith("https:"), f"the site does not come to https: {route}"
    # A redirect is the last one if it leads to somebody else, who signs people in.
    assert steps[-1][1] < 404 and len(steps) < 10, f"there is no page to judge: {route[-1]} is {steps[-1][1]}"
    evidence(trusted[1])
    evidence(f"what the site's own policy costs: {promised(site)}")
    for url, status, headers, body in steps[1:]:
        last = url == route[-1]
        if last and cookies:
            headers = {**headers, "set-cookie": "\n".join(cookies)}
        verdict = observatory.judge(
            observatory.Answer(
                front.name, headers, body, trusted[0], route if last else None, shared if last else None, ORIGIN
            )
        )
        evidence(f"{url}, {status}: {verdict.table()}")
        hold(verdict, site)


@pytest.mark.control("VER-1")
def test_an_error_of_the_application_has_the_headers_too(site, unlocked, front, trusted, evidence):
    """A page that is not there: some applications answer it by themselves, without what protects the others."""
    for url, status, headers, body in follow(front, f"https://{front.name}/there-is-no-such-page"):
        verdict = observatory.judge(observatory.Answer(front.name, headers, body, trusted[0]))
        evidence(f"{url}, {status}: {verdict.table()}")
        hold(verdict, site)


# ssh

# Where the release's policy and what ssh-audit warns of agree: docs/decisions/hardening-deviations.md
HELD = ("Debian 13",)
NAMES = {"debian": "Debian", "ubuntu": "Ubuntu Server"}
# Safe but for a quantum computer; only where hardening_ssh_classic_kex lets older clients in.
CLASSIC = {"curve25519-sha256", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512",
           "diffie-hellman-group18-sha512"}  # fmt: skip


def patiently(ask):
    """The firewall counts new connections, and new servers shut out who only looks: once more after that."""
    try:
        return ask()
    except judges.Silent:
        time.sleep(LIMIT_SECONDS)
        return ask()


@pytest.mark.control("VER-1")
def test_ssh_audit_finds_nothing_weak(site, said, front, evidence):
    """ssh-audit fails and warns of no algorithm, and finds the release's policy kept, where the two do not differ."""
    command = judges.program("ssh-audit")
    if not command:
        pytest.skip(judges.SSH_AUDIT)
    kind, version = [*said(site.box, "release").text.split(), "", ""][:2]
    release = f"{NAMES.get(kind, kind)} {version}"
    # Where ssh does not answer the world, it is asked where it answers this suite.
    address, port = (front.address, front.port(site.ssh_port)) if site.public_ssh else site.login
    evidence(f"asked at {address}, port {port}")
    differences = []
    try:
        found = judges.read_ssh_audit(patiently(lambda: judges.ask_ssh_audit(command, address, port)))
        evidence(f"fails: {', '.join(found.failing) or 'nothing'}; warned of: {', '.join(found.warned) or 'nothing'}")
        policy = judges.policy(command, release) if release in HELD else None
        if policy:
            time.sleep(LIMIT_SECONDS)
            differences = judges.read_ssh_audit_policy(
                patiently(lambda: judges.ask_ssh_audit(command, address, port, "-P", policy))
            )
            evidence(f"{policy}: {'; '.join(differences) or 'passed'}")
        else:
            evidence(f"ssh-audit's policy of {release} is not asked: docs/decisions/hardening-deviations.md says why")
    except judges.Silent as error:
        pytest.skip(str(error))
    chosen = CLASSIC if str(site.get(site.box, "hardening_ssh_classic_kex", False)).lower() == "true" else set()
    assert not found.failing, f"fails: {', '.join(found.failing)}"
    assert not set(found.warned) - chosen, f"warned of: {', '.join(sorted(set(found.warned) - chosen))}"
    assert not differences, f"{policy}: {'; '.join(differences)}"
