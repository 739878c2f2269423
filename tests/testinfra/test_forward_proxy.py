# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers' only way to the world."""

from __future__ import annotations

import re
import shlex

import pytest

# A name of nobody (RFC 2606), and one that leads to the box itself wherever one asks.
NOBODY, ITSELF = "securebox-verify.invalid", "localhost"
# Says by which status the proxy answers, and whether it is its own refusal.
ASK = r"""
import socket, sys
host, port, name, target = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
line = f"CONNECT {name}:443" if target == "443" else f"HEAD http://{name}/"
with socket.create_connection((host, port), 10) as stream:
    stream.settimeout(60)
    stream.sendall(f"{line} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    head = stream.recv(4000).split(b"\r\n\r\n")[0].decode("latin-1")
print(head.splitlines()[0] + (" (refused by the proxy)" if "ERR_ACCESS_DENIED" in head else ""))
"""
REFUSED = "(refused by the proxy)"
URL = re.compile(r"http://([A-Za-z0-9.-]+):([0-9]+)/?")


def goes_by(site, host):
    """The address and the port of the proxy that a container is told of, if it is the box's."""
    match = URL.fullmatch(site.get(host, "hardening_updates_proxy", ""))
    return match.groups() if match and match[1] in site.get(site.box, "forward_proxy_addresses", []) else None


def names(site, host):
    """What the container may reach: a name, and the port that says how, 443 for both."""
    own = set(site.addresses(host))
    access = site.get(site.box, "forward_proxy_access", [])
    return sorted({
        (name.removeprefix("."), "443" if 443 in item.get("ports", [80, 443]) else "80")
        for item in access if own & set(item["from"]) for name in item["to"]
    })


def by_http_only(site, host):
    listed = names(site, host)
    return [name for name, port in listed if port == "80" and (name, "443") not in listed]


def questions(site):
    def ask(host, name, port):
        return " ".join(["python3", "-c", shlex.quote(ASK), *goes_by(site, host), name, port])

    asked = {
        host: {
            **{f"may:{name}:{port}": ask(host, name, port) for name, port in names(site, host)},
            **{f"may-not:{name}": ask(host, name, "443") for name in (NOBODY, ITSELF, *by_http_only(site, host))},
            "names": "; ".join(f"timeout 20 getent hosts {name}" for name in (NOBODY, *dict(names(site, host)[:1]))),
        }
        for host in site.containers
        if goes_by(site, host)
    }
    return asked | {site.box: {"listens": "ss -Hltnp | grep '\"squid\"' || true", "unit": "systemctl is-active squid"}}


@pytest.fixture
def users(site, not_applicable):
    found = [host for host in site.containers if goes_by(site, host)]
    return found or not_applicable("no container is told to go by the box's proxy")


@pytest.mark.control("NET-6")
def test_a_container_reaches_the_names_that_are_listed_for_it(users, site, said, evidence):
    """Updates come this way. A name that does not answer at present is the world's trouble: it was not refused."""
    for host in users:
        for name, port in names(site, host):
            answer = said(host, f"may:{name}:{port}").text.strip()
            evidence(f"{host} to {name} at port {port}: {answer}")
            # At port 80 it is the server there that answers, whatever it thinks of the question.
            allowed = r"HTTP/1\.[01] (200|50[0-9])" if port == "443" else r"HTTP/1\.[01] [2345][0-9][0-9]"
            assert re.match(allowed, answer), f"{host}: {answer}"
            assert REFUSED not in answer, f"{host}: {answer}"


@pytest.mark.control("NET-6")
def test_a_container_reaches_no_other_name(users, site, said, evidence):
    """Neither somebody's server, where stolen data would go, nor the box; nor by https what is listed for http."""
    for host in users:
        for name in (NOBODY, ITSELF, *by_http_only(site, host)):
            answer = said(host, f"may-not:{name}").text.strip()
            evidence(f"{host} to {name} by https: {answer}")
            assert re.match(r"HTTP/1\.[01] 403", answer), f"{host}: {answer}"
            assert REFUSED in answer, f"{host}: {answer}"


@pytest.mark.control("NET-6")
def test_a_container_can_ask_nobody_for_names(users, site, said, evidence, not_applicable):
    """Who can ask for any name can tell by it what he likes: the proxy asks in their place."""
    without = site.get(site.box, "firewall_segments_without_dns", [])
    mute = [host for host in users if site.segment(host) in without]
    if not mute:
        not_applicable("firewall_segments_without_dns is empty")
    for host in mute:
        answer = said(host, "names")
        evidence(f"{host}: {answer.text.strip() or 'no answer'}")
        assert answer.text.strip() == ""


@pytest.mark.control("NET-7")
def test_the_proxy_listens_on_the_containers_side_only(users, site, said, evidence):
    """To the world it would be an open proxy's first half."""
    assert said(site.box, "unit").text.strip() == "active"
    places = {line.split()[3] for line in said(site.box, "listens").lines}
    evidence(f"squid listens on {', '.join(sorted(places))}")
    port = site.get(site.box, "forward_proxy_port", 3128)
    assert places == {f"{address}:{port}" for address in site.get(site.box, "forward_proxy_addresses", [])}
