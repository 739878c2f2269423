# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLS between the tiers, with certificates that are checked."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from machine import python

CONNECT = r"""
import socket, ssl, struct
def connect(address, name, port, ca, postgres):
    try:
        c = ssl.create_default_context(cafile=ca)
        s = socket.create_connection((address, port), 5)
        s.settimeout(20)
        if postgres:
            s.sendall(struct.pack("!II", 8, 80877103))
            if s.recv(1) != b"S": return "no TLS"
        with c.wrap_socket(s, server_hostname=name) as t: return "verified " + t.version()
    except ssl.SSLCertVerificationError as error: return "not verified: " + error.verify_message
    except OSError as error: return "no way: " + str(error)
print(json.dumps([connect(*given) for given in GIVEN[0]]))
"""


def questions(site):
    proxy, app, db = (site.first(group) for group in ("proxy", "app", "db"))
    backend = urlsplit(site.get(proxy, "proxy_apache_backend", ""))
    found = {}
    for source, name, port, postgres in (
        (proxy, backend.hostname or app, backend.port or 443, False),
        (app, db, int(site.get(db, "db_postgresql_port", 5432)), True),
    ):
        ca = site.get(source, "internal_ca_bundle")
        system = "/etc/ssl/certs/ca-certificates.crt"
        found[source] = {
            "next": python(
                CONNECT,
                [
                    (name, name, port, ca, postgres),
                    (name, "somebody-else.test", port, ca, postgres),
                    (name, name, port, system, postgres),
                ],
            )
        }
    return found


@pytest.mark.control("ENC-6")
@pytest.mark.parametrize(("group", "hop"), [("proxy", "proxy to application"), ("app", "application to database")])
def test_every_hop_is_tls_to_a_proven_machine(site, said, unlocked, evidence, group, hop):
    """The site's own CA vouches for the other side, for its name only; by another name, or to others, it is nobody."""
    right, wrong_name, public = said(site.first(group), "next").json
    evidence(f"{hop}: {right}; by another name: {wrong_name}; by public CAs: {public}")
    assert right in ("verified TLSv1.3", "verified TLSv1.2")
    assert wrong_name.startswith("not verified")
    assert public.startswith("not verified")
