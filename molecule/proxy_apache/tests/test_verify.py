# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `verify` says of a proxy, by its own modules, with pages that a box in use does not show."""

import sys
from pathlib import Path

import pytest
from web import SITE, configured, reload, start

sys.path.insert(0, str(Path(__file__).parents[3] / "tests/testinfra"))

import judges
import observatory
import outside
from observatory import Answer


@pytest.fixture(scope="module")
def ask(lab):
    """A request as `verify` makes it: status, headers, body."""
    address = str(lab.machines["gate"].address)

    def asked(path="/", tls=True, **more):
        return outside.request(address, 443 if tls else 80, SITE, path, tls, **more)

    asked.address = address
    return asked


def verdict(answer, **more):
    status, headers, body = answer
    found = observatory.judge(Answer(SITE, headers, body, **more))
    print(status, found.table())
    return found


@pytest.mark.control("VER-1")
def test_sslyze_finds_mozillas_guideline_kept(lab):
    """But for the certificate, which this machine signed itself."""
    command = judges.program("sslyze")
    assert command, "make judges"
    found = judges.sslyze(command, str(lab.machines["gate"].address), 443, SITE)
    print(found)

    assert set(found.issues) == {judges.TRUST, judges.LIFE}
    assert set(found.spoken) == {"TLS 1.2", "TLS 1.3"}


@pytest.mark.control("VER-1")
def test_sslyze_finds_what_is_too_old(gate, lab):
    """The pair of the test above."""
    with configured(gate, "SSLProtocol -all +TLSv1.2 +TLSv1.3", "SSLProtocol -all +TLSv1.1 +TLSv1.2"):
        gate.check_output("sed -i 's/^SSLCipherSuite .*/SSLCipherSuite ALL:@SECLEVEL=0/' /etc/apache2/apache2.conf")
        reload(gate)
        found = judges.sslyze(judges.program("sslyze"), str(lab.machines["gate"].address), 443, SITE)

    assert {"tls_versions", "ciphers"} <= set(found.issues)


@pytest.mark.control("VER-1", "PRX-2")
def test_what_the_proxy_says_itself_has_the_best_grade(ask, opened):
    answers = {
        301: ask("/some/page", tls=False),
        404: ask("/.well-known/acme-challenge/none"),
        400: outside.malformed(ask.address, 443, SITE),
        405: ask("/", method="TRACE"),
        413: ask("/", method="POST", headers={"Content-Length": str(10**12)}),
        411: ask("/", method="POST", headers={"Transfer-Encoding": "chunked"}),
    }

    assert {status: answer[0] for status, answer in answers.items()} == {status: status for status in answers}
    grades = {status: verdict(answer, https=status != 301).grade for status, answer in answers.items()}
    assert set(grades.values()) == {"A+"}, grades


@pytest.mark.control("VER-1", "PRX-6")
def test_the_maintenance_page_has_the_best_grade(gate, wiki, ask):
    """Switched on, looked at by its own address, and in place of an application that is dead or somebody else."""
    gate.check_output("/usr/local/sbin/securebox-maintenance on")
    shown = ask("/")
    gate.check_output("/usr/local/sbin/securebox-maintenance off")
    direct = ask("/.maintenance")
    with configured(gate, "https://wiki1:8443/", "https://wiki1:8444/"):
        wrong = ask("/")
    wiki.check_output("systemctl stop wiki")
    dead = ask("/")
    start(wiki)

    assert (shown[0], direct[0], dead[0]) == (503, 200, 503)
    assert wrong[0] in (500, 502)
    assert {verdict(answer).grade for answer in (shown, direct, wrong, dead)} == {"A+"}


@pytest.mark.control("VER-1", "PRX-2")
@pytest.mark.parametrize("path", ["/", "/status/302", "/status/404", "/status/500"])
def test_the_application_loses_points_by_the_sites_policy_alone(ask, opened, path):
    found = verdict(ask(path), route=[f"http://{SITE}/", f"https://{SITE}/"], cors={})

    assert [(item.rule, item.modifier) for item in found.lost()] == [("Content-Security-Policy", -20)]
    assert found.grade == "B+"


@pytest.mark.control("VER-1")
def test_headers_that_are_missing_are_found(gate, ask, opened):
    """The pair of the tests above."""
    with configured(gate, "Header always set X-Content-Type-Options", "Header always set X-Something-Else"):
        found = verdict(ask("/"))

    assert "X-Content-Type-Options" in {item.rule for item in found.lost()}
