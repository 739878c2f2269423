# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both sides of each rule of the HTTP Observatory, and how points become a grade."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "testinfra"))

import observatory
from observatory import Answer, Finding, Page, Verdict, judge

BEST = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; form-action 'none'; frame-ancestors 'self'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "strict-origin-when-cross-origin",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
}


def points(rule, **more):
    """What one rule gives to the best answer with some headers changed; None takes one away."""
    given = {key: more.pop(key) for key in ("body", "verified", "route", "cors", "origin", "https") if key in more}
    changed = {**BEST, **{name.replace("_", "-"): value for name, value in more.items()}}
    headers = {name: value for name, value in changed.items() if value is not None}
    found = {item.rule: item for item in judge(Answer("site.example.org", headers, **given)).findings}
    return found[rule].modifier


CSP = "Content-Security-Policy"


@pytest.mark.parametrize(
    ("policy", "modifier"),
    [
        ("default-src 'none'; form-action 'none'", 10),
        ("default-src 'none'; style-src 'self'", 10),
        ("default-src 'self'", 5),
        ("default-src 'self' 'none'", 5),
        ("default-src 'self'; style-src 'unsafe-inline'", 0),
        ("default-src 'self'; style-src https:", 0),
        ("default-src 'self'; style-src 'sha256-x' 'unsafe-inline'", 5),
        ("default-src 'self'; script-src 'unsafe-inline'", -20),
        ("default-src 'self'; script-src data:", -20),
        ("default-src 'self'; script-src https:", -20),
        ("default-src 'self'; script-src https://cdn.example.org", 5),
        ("default-src 'self'; script-src 'nonce-x' 'unsafe-inline'", 5),
        ("default-src 'self'; script-src 'nonce-x' 'strict-dynamic' https: 'unsafe-inline'", 5),
        ("default-src 'self'; script-src 'strict-dynamic'", -25),
        ("default-src 'self'; object-src *", -20),
        ("script-src 'self'; style-src 'self'", -20),
        ("script-src 'self'; object-src 'none'", 0),
        ("script-src 'self'; object-src 'none'; style-src 'self'", 5),
        ("default-src 'self'; connect-src http://a.example.org", -20),
        ("default-src 'self'; connect-src https://a.example.org", 5),
        ("default-src 'self'; script-src 'self' 'unsafe-eval'", -10),
        ("default-src 'self'; img-src http:", -10),
        ("default-src 'self'; img-src https:", 5),
        ("default-src 'self'; default-src 'none'", -25),
        ("default-src 'self'; report-uri /a; report-uri /b", 0),
        ("default-src 'self'; report-uri /a", 5),
        ("DEFAULT-SRC 'NONE'", 10),
        ("x", -25),
        ("", -25),
        (None, -25),
    ],
)
def test_policy(policy, modifier):
    assert points(CSP, content_security_policy=policy) == modifier


@pytest.mark.parametrize(
    ("policies", "modifier"),
    [
        ("script-src 'unsafe-inline'; default-src 'self'\ndefault-src 'self'", 5),
        ("default-src 'self', default-src 'none'", 10),
        ("default-src 'self'; script-src 'unsafe-inline'\ndefault-src 'self'; script-src 'unsafe-inline'", -20),
        ("default-src *\ndefault-src 'self'", 5),
        ("frame-ancestors 'self'\ndefault-src 'self'", 5),
    ],
)
def test_of_several_policies_only_what_all_allow_counts(policies, modifier):
    assert points(CSP, content_security_policy=policies) == modifier


def test_a_policy_that_only_reports_forbids_nothing():
    report = {"content_security_policy": None, "content_security_policy_report_only": "default-src 'none'"}
    assert points(CSP, **report) == -25


def test_a_page_may_carry_its_policy_but_not_all_of_it():
    page = '<meta http-equiv="Content-Security-Policy" content="%s">'
    assert points(CSP, content_security_policy=None, body=page % "default-src 'none'") == 10
    only_frames = {"content_security_policy": None, "body": page % "frame-ancestors 'none'"}
    assert points(CSP, **only_frames) == -25
    assert points("X-Frame-Options", x_frame_options=None, **only_frames) == -20


@pytest.mark.parametrize(
    ("value", "policy", "modifier"),
    [
        ("DENY", "default-src 'none'", 5),
        ("sameorigin", "default-src 'none'", 5),
        ("ALLOW-FROM https://a.example.org", "default-src 'none'", 0),
        ("ALLOWALL", "default-src 'none'", -20),
        (None, "default-src 'none'", -20),
        (None, "default-src 'none'; frame-ancestors 'self'", 5),
        ("ALLOWALL", "default-src 'none'; frame-ancestors 'self'", 5),
        (None, "frame-ancestors 'self'; frame-ancestors 'none'", -20),
    ],
)
def test_frames(value, policy, modifier):
    assert points("X-Frame-Options", x_frame_options=value, content_security_policy=policy) == modifier


SAFE = "Path=/; Secure; HttpOnly"


@pytest.mark.parametrize(
    ("cookie", "modifier"),
    [
        (None, 0),
        (f"JSESSIONID=1; {SAFE}; SameSite=Lax", 5),
        (f"JSESSIONID=1; {SAFE}; SameSite=None", 5),
        (f"JSESSIONID=1; {SAFE}", 0),
        (f"a=1; {SAFE}; SameSite=Lax\nb=1; {SAFE}", 0),
        ("a=1; HttpOnly", -5),
        ("a=1; Secure", 0),
        ("JSESSIONID=1; HttpOnly", -10),
        ("JSESSIONID=1; Secure", -30),
        ("JSESSIONID=1", -30),
        (f"a=1; {SAFE}; SameSite=Sometimes", -20),
        (f"a=1; {SAFE}; SameSite", -20),
        (f"a=1; {SAFE}; SameSite=Sometimes; SameSite=Strict", -20),
        ("a=1; HttpOnly; SameSite=None", -20),
        (f"csrftoken=1; {SAFE}", -20),
        (f"csrftoken=1; {SAFE}; SameSite=Strict", 5),
        ("heroku-session-affinity=1", 0),
    ],
)
def test_cookies(cookie, modifier):
    assert points("cookies", set_cookie=cookie) == modifier


def test_cookies_of_a_site_without_hsts():
    assert points("cookies", set_cookie="a=1", strict_transport_security=None) == -20
    assert points("cookies", set_cookie="JSESSIONID=1; HttpOnly", strict_transport_security=None) == -40


@pytest.mark.parametrize(
    ("name", "value", "modifier"),
    [
        ("Cross-Origin-Opener-Policy", "same-origin", 10),
        ("Cross-Origin-Opener-Policy", 'same-origin-allow-popups; report-to="a"', 10),
        ("Cross-Origin-Opener-Policy", "noopener-allow-popups", 10),
        ("Cross-Origin-Opener-Policy", "unsafe-none", 0),
        ("Cross-Origin-Opener-Policy", None, 0),
        ("Cross-Origin-Opener-Policy", '"same-origin"', -5),
        ("Cross-Origin-Opener-Policy", "same-origin\nsame-origin", -5),
        ("Cross-Origin-Embedder-Policy", "require-corp", 10),
        ("Cross-Origin-Embedder-Policy", "credentialless", 10),
        ("Cross-Origin-Embedder-Policy", "unsafe-none", 0),
        ("Cross-Origin-Embedder-Policy", None, 0),
        ("Cross-Origin-Embedder-Policy", "always", -5),
        ("Cross-Origin-Resource-Policy", "same-origin", 10),
        ("Cross-Origin-Resource-Policy", "Same-Site", 10),
        ("Cross-Origin-Resource-Policy", "cross-origin", 0),
        ("Cross-Origin-Resource-Policy", None, 0),
        ("Cross-Origin-Resource-Policy", "same-origin, same-origin", -5),
        ("X-Content-Type-Options", "NoSniff", 0),
        ("X-Content-Type-Options", "sniff", -5),
        ("X-Content-Type-Options", None, -5),
        ("Referrer-Policy", "no-referrer", 5),
        ("Referrer-Policy", "unsafe-url, same-origin", 5),
        ("Referrer-Policy", "same-origin, unsafe-url", -5),
        ("Referrer-Policy", "same-origin, not-known-yet", 5),
        ("Referrer-Policy", "origin", -5),
        ("Referrer-Policy", "nonsense", -5),
        ("Referrer-Policy", None, 0),
        ("Strict-Transport-Security", "max-age=15552000; includeSubDomains", 0),
        ("Strict-Transport-Security", "max-age=15551999", -10),
        ("Strict-Transport-Security", "includeSubDomains", -20),
        ("Strict-Transport-Security", "max-age=63072000, max-age=63072000", -20),
        ("Strict-Transport-Security", None, -20),
    ],
)
def test_single_headers(name, value, modifier):
    assert points(name, **{name.lower().replace("-", "_"): value}) == modifier


def test_a_certificate_that_nobody_trusts_makes_promises_void():
    assert points("Strict-Transport-Security", verified=False) == -20
    assert points("redirection", verified=False, route=["http://a/", "https://a/"]) == -20


def test_over_http_nobody_believes_in_hsts():
    found = judge(Answer("a", {**BEST, "strict-transport-security": ""}, https=False))
    assert "Strict-Transport-Security" not in {item.rule for item in found.findings}


@pytest.mark.parametrize(
    ("route", "modifier"),
    [
        (["http://a/", "https://a/"], 0),
        (["http://a/", "https://a/", "https://a/login"], 0),
        ([], 0),
        (["http://a/"], -20),
        (["http://a/", "http://a/x", "https://a/"], -10),
        (["http://a/", "https://a/", "http://a/x"], -20),
        (["http://a/", "https://b/"], -5),
    ],
)
def test_the_way_to_https(route, modifier):
    assert points("redirection", route=route) == modifier


@pytest.mark.parametrize(
    ("origin", "credentials", "modifier"),
    [(None, None, 0), ("*", None, 0), ("*", "true", 0), ("https://b", "true", -50), ("https://b", None, 0),
     ("https://c", "true", 0)],
)  # fmt: skip
def test_sharing(origin, credentials, modifier):
    given = {"access-control-allow-origin": origin, "access-control-allow-credentials": credentials}
    cors = {name: value for name, value in given.items() if value}
    assert points("CORS", cors=cors, origin="https://b") == modifier


SUM = 'integrity="sha384-x"'


@pytest.mark.parametrize(
    ("body", "modifier"),
    [
        ("<p>no script</p>", 0),
        ("<script>1</script>", 0),
        ('<script src="/a.js"></script>', 0),
        (f'<script src="/a.js" {SUM}></script>', 5),
        ('<script src="https://site.example.org/a.js"></script>', 0),
        ('<script src="https://evilsite.example.org/a.js"></script>', -5),
        ('<script src="https://b/a.js"></script>', -5),
        (f'<script src="https://b/a.js" {SUM}></script>', 5),
        ('<script src="http://b/a.js"></script>', -50),
        ('<script src="//b/a.js"></script>', -50),
        (f'<script src="//b/a.js" {SUM}></script>', -20),
        (f'<script src="/a.js" {SUM}></script><script src="https://b/a.js"></script>', -5),
    ],
)
def test_scripts(body, modifier):
    assert points("subresource integrity", body=body) == modifier


def test_what_is_no_page_has_no_scripts():
    assert points("subresource integrity", body='<script src="//b/">', content_type="application/json") == 0


def verdict(*modifiers):
    return Verdict(tuple(Finding(str(number), modifier, "") for number, modifier in enumerate(modifiers)))


@pytest.mark.parametrize(
    ("modifiers", "score", "grade"),
    [
        ((), 100, "A+"),
        ((10, 10), 120, "A+"),
        ((-5,), 95, "A"),
        ((-5, 5), 100, "A+"),
        ((-10, 10), 100, "A+"),
        ((-15, 50), 85, "A-"),
        ((-10, -5, 50), 85, "A-"),
        ((-20,), 80, "B+"),
        ((-25,), 75, "B"),
        ((-35,), 65, "B-"),
        ((-40,), 60, "C+"),
        ((-50,), 50, "C"),
        ((-55,), 45, "C-"),
        ((-60,), 40, "D+"),
        ((-65,), 35, "D"),
        ((-75,), 25, "D-"),
        ((-80,), 20, "F"),
        ((-80, -80), 0, "F"),
    ],
)
def test_bonus_counts_from_90_on(modifiers, score, grade):
    found = verdict(*modifiers)
    assert (found.score, found.grade) == (score, grade)


def test_the_best_answer_and_what_is_said_of_it():
    found = judge(Answer("site.example.org", BEST))
    assert (found.score, found.grade) == (140, "A+")
    assert found.lost() == []
    assert str(found) == "140 points, A+ (none lost)"
    assert "    +10 Content-Security-Policy: nothing but what is named" in found.table()


def test_an_empty_answer():
    found = judge(Answer("site.example.org", {}))
    assert (found.score, found.grade) == (30, "D")
    assert [item.rule for item in found.lost("X-Frame-Options")] == [
        "Content-Security-Policy", "X-Content-Type-Options", "Strict-Transport-Security"]  # fmt: skip


def test_a_broken_page_is_judged_all_the_same():
    assert Page("<script src=<<>").scripts
    assert observatory.values({"a": "1\n2"}, "a") == ["1", "2"]
