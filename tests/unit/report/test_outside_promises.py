# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""VER-1: what judges and pages say becomes a promise kept, broken, or not tried; never silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
SAMPLES = Path(__file__).resolve().parents[1] / "lab" / "judges"
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'"
STRICT = "default-src 'none'; frame-ancestors 'self'"
HEADERS = {
    "content-type": "text/html",
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=()",
    "referrer-policy": "same-origin",
    "server": "Apache",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}


@pytest.fixture
def suite(load):
    module = load("outside")
    module.time = SimpleNamespace(sleep=lambda _seconds: None)
    return module


def site_of(suite, **variables):
    forwards = [{"port": port, "to": "10.0.0.1", "to6": "fd00::1"} for port in (80, 443)]
    own = {"ansible_host": "127.0.0.1", "hardening_ssh_port": 822, "firewall_forwards": forwards}
    proxy = {"proxy_apache_server_name": "a.example.org", "proxy_apache_content_security_policy": POLICY}
    for name, value in variables.items():
        (proxy if name.startswith("proxy_") else own)[name] = value
    scanner = own.pop("scanner", {})
    return suite.machine.Site(
        hosts={"box": own, "proxy1": proxy}, groups={"box": ["box"], "proxy": ["proxy1"]}, scanner=scanner
    )


class Front:
    """A site whose answers are given: {path: (status, headers, body)}; over http all leads to https."""

    name, address = "a.example.org", "192.0.2.1"

    def __init__(self, **pages):
        self.pages = {f"/{path}": page for path, page in pages.items()}

    def port(self, port):
        return port

    def get(self, path="/", tls=True, method="GET", headers=None):
        if not tls:
            return 301, {**HEADERS, "location": f"https://{self.name}{path}"}, ""
        return self.pages.get(path, (404, HEADERS, ""))


# Ports


def scanned(suite, monkeypatch, version="IPv4", addresses6="", udp=None, **more):
    found = {"way": True, "seconds": 1, "asked": 65535, "open": [80, 443, 822], "refused": 0, "refused_ports": [],
             "udp_asked": 1, "udp": udp or {}, **more.pop("found", {})}  # fmt: skip
    monkeypatch.setattr(suite.machine, "scan", lambda _site, address, _udp: {**found, "address": address})
    said = SimpleNamespace(text=addresses6)
    evidence = []

    def not_applicable(reason):
        raise LookupError(reason)

    request = SimpleNamespace(getfixturevalue=lambda _name: {"tcp": "open", "udp": "b'?'"})
    suite.test_of_all_ports_ssh_and_the_site_answer(
        site_of(suite, **more), lambda *_: said, not_applicable, evidence.append, request, version, [53]
    )
    return "\n".join(evidence)


def test_ports_that_are_open_are_told_with_who_asked(suite, monkeypatch):
    assert "127.0.0.1, asked by this machine" in scanned(suite, monkeypatch)
    elsewhere = scanned(suite, monkeypatch, scanner={"name": "far"}, securebox_verify_ports={"443": 10443})
    assert "asked by far" in elsewhere


def test_a_port_that_leads_on_by_ipv4_alone_is_closed_by_ipv6(suite, monkeypatch):
    forwards = {"firewall_forwards": [{"port": 80, "to6": "fd00::1"}, {"port": 443}]}
    address = {"securebox_verify_address6": "2a01::1"}
    scanned(suite, monkeypatch, **forwards)
    scanned(suite, monkeypatch, "IPv6", **forwards, **address, found={"open": [80, 822]})
    with pytest.raises(AssertionError):
        scanned(suite, monkeypatch, "IPv6", **forwards, **address)


@pytest.mark.parametrize("found", [{"open": [22, 80, 443, 822]}, {"open": [80, 822]}, {"asked": 9}])
def test_other_ports_break_the_promise(suite, monkeypatch, found):
    with pytest.raises(AssertionError):
        scanned(suite, monkeypatch, found=found)


def test_where_ssh_comes_by_the_tunnel_the_world_reaches_the_site_alone(suite, monkeypatch):
    closed = {"firewall_ssh_from": ["wg0"]}
    assert "open [80, 443]" in scanned(suite, monkeypatch, **closed, found={"open": [80, 443]})
    with pytest.raises(AssertionError):
        scanned(suite, monkeypatch, **closed)
    address = {"securebox_verify_address6": "2a01::1"}
    with pytest.raises(pytest.skip.Exception, match="nothing of the box is meant to be open by IPv6"):
        scanned(suite, monkeypatch, "IPv6", **closed, **address, firewall_forwards=[], found={"open": []})


def test_an_answer_by_udp_breaks_the_promise(suite, monkeypatch):
    with pytest.raises(AssertionError):
        scanned(suite, monkeypatch, udp={"47004": "b'?'"})


def test_without_a_way_nothing_was_tried(suite, monkeypatch):
    with pytest.raises(pytest.skip.Exception, match="this machine has no way to 2a01::1: securebox_verify_from"):
        scanned(suite, monkeypatch, "IPv6", securebox_verify_address6="2a01::1", found={"way": False})


@pytest.mark.parametrize("said", ["2: eth0 inet6 fd80::1/64 scope global", ""])
def test_a_box_without_an_address_in_the_world_has_nothing_to_try(suite, monkeypatch, said):
    with pytest.raises(LookupError, match="no address of IPv6"):
        scanned(suite, monkeypatch, "IPv6", said)
    assert "2a01:4f8::1, asked" in scanned(suite, monkeypatch, "IPv6", "2: eth0 inet6 2a01:4f8::1/64 scope global")


def test_forwarded_ports_are_somebody_elses(suite, monkeypatch):
    with pytest.raises(LookupError, match="NET-1"):
        scanned(suite, monkeypatch, securebox_verify_ports={"443": 10443})


def test_the_scanner_runs_on_another_host_by_its_own_settings(suite, monkeypatch):
    calls = []

    def run(command, **_more):
        calls.append(command)
        return SimpleNamespace(stdout='{"way": true}', stderr="")

    monkeypatch.setattr(suite.machine.subprocess, "run", run)
    host = {"name": "far", "ansible_host": "192.0.2.9", "ansible_port": "2222", "ansible_user": "me"}
    assert suite.machine.scan(site_of(suite, scanner=host), "2001:db8::1", [53]) == {"way": True}
    login, program = calls[0][:-1], calls[0][-1]
    assert login[-1] == "192.0.2.9"
    assert "2222" in login and "me" in login
    assert program == "python3 - 2001:db8::1 '[53]'"
    suite.machine.scan(site_of(suite), "192.0.2.1", [])
    assert calls[1][:2] == [sys.executable, "-"]


def test_the_scanner_finds_what_is_open_and_what_refuses():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            [sys.executable, SUITE / "probes/scan.py", "127.0.0.1", "[9]"], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout)
    assert (found["asked"], found["way"]) == (65535, True)
    assert port in found["open"]
    assert found["refused"] > 60000
    assert "9" in found["udp"], "a refusal by UDP is an answer"


# TLS

CERTIFICATE = {"certificate_path_validation": "Certificate path validation failed for CN=a.",
               "maximum_certificate_lifespan": "Certificate life span is 825 days, should be less."}  # fmt: skip
CURVE = {"tls_curves": "TLS curves {'X448'} are supported, but should be rejected."}


def printed(issues):
    word = "FAILED - Not compliant." if issues else "OK - Compliant."
    lines = "".join(f"        * {name}: {words}\n" for name, words in issues.items())
    return f" COMPLIANCE AGAINST TLS CONFIGURATION\n ----\n\n    a.example.org:443: {word}\n{lines}"


def document():
    suites = {f"{part}_cipher_suites": {"result": {"accepted_cipher_suites": []}}
              for part in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")}  # fmt: skip
    accepted = [{"cipher_suite": {"name": "TLS_AES_128_GCM_SHA256"}}]
    suites["tls_1_3_cipher_suites"]["result"]["accepted_cipher_suites"] = accepted
    curves = {"elliptic_curves": {"result": {"supported_curves": [{"name": "X25519"}]}}}
    return json.dumps({"sslyze_version": "6.3.1", "server_scan_results": [{"scan_result": {**suites, **curves}}]})


def tls(suite, monkeypatch, issues, kind="self_signed"):
    evidence = []
    monkeypatch.setattr(suite.judges, "program", lambda name: f"/bin/{name}")
    found = suite.judges.read_sslyze(printed(issues), document())
    monkeypatch.setattr(suite.judges, "sslyze", lambda *_: found)
    suite.test_tls_is_what_mozilla_recommends(site_of(suite, proxy_apache_certificate=kind), Front(), evidence.append)
    return "\n".join(evidence)


def test_a_self_signed_certificate_is_told_and_does_not_count(suite, monkeypatch):
    told = tls(suite, monkeypatch, CERTIFICATE)
    assert "not counted here (self-signed): Certificate path validation failed" in told
    assert "compliant" in told
    assert "TLS 1.3: TLS_AES_128_GCM_SHA256" in told


@pytest.mark.parametrize(("issues", "kind"), [(CURVE, "self_signed"), ({**CERTIFICATE, **CURVE}, "self_signed"),
                                              (CERTIFICATE, "own")])  # fmt: skip
def test_anything_else_does(suite, monkeypatch, issues, kind):
    with pytest.raises(AssertionError, match=r"X448|825 days"):
        tls(suite, monkeypatch, issues, kind)


def test_without_a_verdict_nothing_was_tried(suite, monkeypatch):
    with pytest.raises(suite.judges.Silent, match="no verdict"):
        suite.judges.read_sslyze("a.example.org:443 => ERROR: Connection timed out", "{}")
    monkeypatch.setattr(suite.judges, "program", lambda _name: None)
    with pytest.raises(pytest.skip.Exception, match="pipx install sslyze"):
        suite.test_tls_is_what_mozilla_recommends(site_of(suite), Front(), print)


# Headers


def test_the_proxys_own_pages_are_held_to_the_best_grade(suite):
    evidence = []
    strict = {**HEADERS, "content-security-policy": STRICT}
    path = ".well-known/acme-challenge/there-is-no-such-file"
    suite.test_the_proxys_own_pages_have_the_best_grade(
        Front(**{path: (404, strict, "")}), (True, "trusted"), evidence.append, None, "404"
    )
    assert "404: 130 points, A+" in evidence[0]
    with pytest.raises(AssertionError, match="scripts may come from 'unsafe-inline'"):
        suite.test_the_proxys_own_pages_have_the_best_grade(Front(), (True, ""), evidence.append, None, "404")


@pytest.mark.parametrize(
    "wrong", [{"permissions-policy": ""}, {"server": "Apache/2.4.62"}, {"x-powered-by": "PHP/8.2"}]
)
def test_an_answer_without_a_header_or_with_a_version_is_found(suite, wrong):
    promise, evidence = suite.test_every_answer_has_the_headers_and_tells_no_version, []
    promise(Front(**{"": (200, HEADERS, "")}), evidence.append, "/", True)
    assert "/, 200: server: Apache" in evidence

    with pytest.raises(AssertionError):
        promise(Front(**{"": (200, {**HEADERS, **wrong}, "")}), print, "/", True)


def graded(suite, headers, **variables):
    evidence = []
    front = Front(**{"": (302, HEADERS, ""), "login": (200, headers, "")})
    front.pages["/"] = (302, {**HEADERS, "location": "/login", "set-cookie": "JSESSIONID=1; Secure; HttpOnly"}, "")
    suite.test_the_site_is_graded_as_the_observatory_would(
        site_of(suite, **variables), None, front, (True, "trusted"), evidence.append
    )
    return "\n".join(evidence)


def test_the_sites_policy_may_cost_what_it_says_and_nothing_else_anything(suite):
    told = graded(suite, HEADERS)
    assert "what the site's own policy costs: -20" in told
    assert "https://a.example.org/login, 200: 80 points, B+" in told
    assert "http://a.example.org/ leads to https://a.example.org/" in told
    for name in ("X-Frame-Options", "Strict-Transport-Security", "X-Content-Type-Options"):
        with pytest.raises(AssertionError, match=name):
            graded(suite, {key: value for key, value in HEADERS.items() if key != name.lower()})
    with pytest.raises(AssertionError, match="unsafe-inline"):
        graded(suite, HEADERS, proxy_apache_content_security_policy="default-src 'self'")


# ssh


def ssh(suite, monkeypatch, release, answer, differences=(), asked=None, **variables):
    evidence, asked = [], [] if asked is None else asked
    monkeypatch.setattr(suite.judges, "program", lambda name: f"/bin/{name}")
    monkeypatch.setattr(suite.judges, "policy", lambda _command, name: f"Hardened {name} (version 1)")
    monkeypatch.setattr(suite.judges, "read_ssh_audit_policy", lambda _answer: list(differences))
    monkeypatch.setattr(suite.judges, "ask_ssh_audit", lambda *words: asked.append(words) or answer)
    said = SimpleNamespace(text=release)
    suite.test_ssh_audit_finds_nothing_weak(site_of(suite, **variables), lambda *_: said, Front(), evidence.append)
    return "\n".join(evidence)


GOOD = {"kex": [{"algorithm": "mlkem768x25519-sha256", "notes": {"info": ["new"]}}]}
OLD = {"kex": [{"algorithm": "curve25519-sha256", "notes": {"warn": ["a quantum computer"]}}]}


def test_algorithms_and_the_policy_of_the_release(suite, monkeypatch):
    assert "Hardened Debian 13 (version 1): passed" in ssh(suite, monkeypatch, "debian 13", GOOD)
    with pytest.raises(AssertionError, match="MACs: not x"):
        ssh(suite, monkeypatch, "debian 13", GOOD, ["MACs: not x"])
    assert "policy of Debian 12 is not asked" in ssh(suite, monkeypatch, "debian 12", GOOD, ["MACs: not x"])


def test_what_is_warned_of_is_let_in_only_by_choice(suite, monkeypatch):
    with pytest.raises(AssertionError, match="warned of: curve25519-sha256"):
        ssh(suite, monkeypatch, "debian 12", OLD)
    assert "curve25519" in ssh(suite, monkeypatch, "debian 12", OLD, hardening_ssh_classic_kex=True)
    bad = {"kex": [{"algorithm": "diffie-hellman-group1-sha1", "notes": {"fail": ["broken"]}}]}
    with pytest.raises(AssertionError, match="group1"):
        ssh(suite, monkeypatch, "debian 12", bad, hardening_ssh_classic_kex=True)


def test_ssh_is_asked_where_it_answers(suite, monkeypatch):
    public = {"ansible_host": "10.99.0.1", "ansible_port": 822, "securebox_bootstrap_host": "192.0.2.1"}
    assert "asked at 192.0.2.1, port 822" in ssh(suite, monkeypatch, "debian 13", GOOD, **public)
    closed = {**public, "firewall_ssh_from": ["wg0"]}
    asked = []
    assert "asked at 10.99.0.1, port 822" in ssh(suite, monkeypatch, "debian 13", GOOD, asked=asked, **closed)
    assert {call[1:3] for call in asked} == {("10.99.0.1", 822)}


def test_an_ssh_audit_that_says_nothing_proves_nothing(suite, monkeypatch):
    with pytest.raises(pytest.skip.Exception, match="no algorithm"):
        ssh(suite, monkeypatch, "debian 12", {})
    monkeypatch.setattr(suite.judges, "program", lambda _name: None)
    with pytest.raises(pytest.skip.Exception, match="pipx install ssh-audit"):
        suite.test_ssh_audit_finds_nothing_weak(site_of(suite), print, Front(), print)


def test_what_ssh_audit_writes_is_read(suite):
    found = suite.judges.read_ssh_audit(json.loads((SAMPLES / "ssh-audit.json").read_text(encoding="utf-8")))
    assert "hmac-sha1" in found.failing
    policy = json.loads((SAMPLES / "ssh-audit-policy.json").read_text(encoding="utf-8"))
    assert suite.judges.read_ssh_audit_policy(policy)[0] == "Host keys: not ecdsa-sha2-nistp256"
    assert suite.judges.read_ssh_audit_policy({"errors": [], "passed": True}) == []


def test_the_newest_policy_of_a_release_is_chosen(suite, monkeypatch):
    listed = "\n".join(f'  * "Hardened Debian 13 (version {number})"' for number in (1, 12, 9))
    monkeypatch.setattr(suite.judges.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=listed))
    assert suite.judges.policy("ssh-audit", "Debian 13") == "Hardened Debian 13 (version 12)"
    assert suite.judges.policy("ssh-audit", "Debian 1") is None
