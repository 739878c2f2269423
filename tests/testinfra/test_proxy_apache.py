# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What browsers meet."""

from __future__ import annotations

import re

import outside
import pytest

UNWANTED = {"autoindex", "cgi", "cgid", "dav", "info", "status", "userdir", "include"}


def questions(site):
    client = f"openssl s_client -connect 127.0.0.1:443 -servername {site.domain}"
    shown = f"{client} </dev/null 2>/dev/null | openssl x509 -noout"
    proxy = {
        "modules": "apache2ctl -M 2>/dev/null || apachectl -M",
        "certificate": f"{shown} -subject -issuer -enddate -ext subjectAltName",
        "valid": f"{shown} -checkend 864000",
        "renewal": "systemctl is-active certbot.timer; systemctl is-enabled certbot.timer; "
        "systemctl list-timers --all --no-legend",
    }
    return {host: dict(proxy) for host in site.groups.get("proxy", [])}


@pytest.mark.control("PRX-1")
def test_http_leads_to_https(site, front, evidence):
    """A browser that comes without TLS is sent to the site's own name with TLS."""
    status, headers, _body = front.get("/some/page?x=1", tls=False)
    evidence(f"{status} {headers.get('location')}")
    assert status in (301, 308)
    assert headers["location"] == f"https://{site.domain}/some/page?x=1"


@pytest.mark.control("PRX-1")
@pytest.mark.parametrize("version", ["SSL 3.0", "TLS 1.0", "TLS 1.1"])
def test_old_tls_is_refused(site, front, evidence, version):
    """The server itself refuses, while the same question with TLS 1.2 is taken."""
    answer = outside.offers(front.address, front.port(443), site.domain, version)
    evidence(f"{version}: {answer}")
    assert outside.offers(front.address, front.port(443), site.domain, "TLS 1.2") == "accepted"
    assert answer != "accepted"


@pytest.mark.control("PRX-1")
def test_new_tls_and_http2_are_spoken(site, front, evidence):
    """TLS 1.3 with HTTP/2 for browsers of today."""
    found = outside.handshake(front.address, front.port(443), site.domain)
    evidence(str(found))
    assert found["version"] == "TLSv1.3"
    assert found["protocol"] == "h2"


@pytest.mark.control("PRX-1")
def test_browsers_are_told_to_stay_with_tls(front, evidence):
    """Strict-Transport-Security for at least half a year, on errors too."""
    for path in ("/", "/there-is-no-such-page"):
        status, headers, _body = front.get(path)
        value = headers.get("strict-transport-security", "")
        evidence(f"{path}: {status}, {value}")
        age = re.search(r"max-age=(\d+)", value)
        assert age, f"{path}: no such header"
        assert int(age.group(1)) >= 15768000


@pytest.mark.control("PRX-1")
def test_only_needed_modules_are_loaded(site, said, evidence):
    """What is not loaded has no holes."""
    for host in site.groups["proxy"]:
        modules = set(re.findall(r"(\w+)_module", said(host, "modules").text))
        evidence(f"{host}: {len(modules)} modules, {', '.join(sorted(modules))}")
        assert modules, "the modules could not be listed"
        assert not modules & UNWANTED


@pytest.mark.control("PRX-1")
def test_the_server_does_not_say_its_version(front, evidence):
    """Nor does its error page."""
    for path in ("/", "/there-is-no-such-page"):
        _status, headers, body = front.get(path)
        evidence(f"{path}: Server: {headers.get('server')}")
        assert not re.search(r"\d", headers.get("server", ""))
        assert "x-powered-by" not in headers
        assert not re.search(r"(Apache|Tomcat|OpenSSL)/\d", body)


@pytest.mark.control("PRX-4")
def test_the_certificate_is_the_sites_and_not_about_to_end(site, said, evidence):
    """It bears the public name, and is good for ten more days at least."""
    for host in site.groups["proxy"]:
        text = said(host, "certificate").text
        evidence(f"{host}: {' '.join(text.split())}")
        assert f"DNS:{site.domain}" in text or f"IP Address:{site.domain}" in text
        assert said(host, "valid").code == 0, "it ends within ten days"


@pytest.mark.control("PRX-4")
def test_browsers_trust_the_certificate(site, front, evidence):
    """The authorities that this machine trusts vouch for it; SSL_CERT_FILE names another one, if it is your own."""
    kind = site.get(site.first("proxy"), "proxy_apache_certificate", "self_signed")
    if kind == "self_signed":
        pytest.skip("it is self-signed, so browsers warn: docs/runbooks/certificate.md says how to get one they trust")
    trust = outside.trusts(front.address, front.port(443), front.name)
    evidence(f"{front.name}: {trust}")
    assert trust == "trusted"


@pytest.mark.control("PRX-4")
def test_the_certificate_is_renewed_by_itself(site, said, evidence, not_applicable):
    """A timer renews it: certificates live weeks now, and nobody is reminded any more."""
    for host in site.groups["proxy"]:
        if site.get(host, "proxy_apache_certificate") != "letsencrypt":
            not_applicable(f"proxy_apache_certificate is {site.get(host, 'proxy_apache_certificate', 'self_signed')}")
        text = said(host, "renewal").text
        evidence(f"{host}: {' '.join(text.split()[:2])}")
        assert text.split()[:2] == ["active", "enabled"]


@pytest.mark.control("PRX-4")
def test_the_end_of_the_certificate_is_watched(site, said, evidence):
    """Whoever issued it: a certificate that nears its end is noticed before the browsers do."""
    for host in site.groups["proxy"]:
        watching = [line for line in said(host, "renewal").lines if "certificate-check" in line]
        evidence(f"{host}: {' '.join(' '.join(watching).split()) or 'no timer'}")
        assert watching


@pytest.mark.control("PRX-6")
def test_a_locked_box_shows_the_maintenance_page(in_maintenance, front, evidence):
    """503 with Retry-After, and a page for people: browsers and programs know that it will be back."""
    code, headers, body = front.get("/")
    retry, kind = headers.get("retry-after"), headers.get("content-type")
    evidence(f"{code}, Retry-After: {retry}, {kind}, {len(body)} characters")
    assert code == 503
    assert int(headers["retry-after"]) > 0
    assert "<html" in body.lower()
