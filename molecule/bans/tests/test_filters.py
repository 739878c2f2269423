# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each filter by itself, asked by fail2ban-regex: genuine lines count against who wrote them, all others are none."""

from __future__ import annotations

import shlex

import pytest

pytestmark = pytest.mark.control("IDS-1")

# As this server writes it before each line that was handed over.
AT = "2026-11-22T03:51:06.436206+00:00 "
ERROR = "[Sun Nov 22 03:51:06.435648 2026] "
AUTH, SECURITY = f"{ERROR}[auth_basic:error] [pid 3763] ", f"{ERROR}[security2:error] [pid 3617:tid 3620] "
DENIED = 'ModSecurity: Access denied with code 403 (phase 2). String match "<script" at ARGS:q. [file "/etc/x.conf"]'
LOGIN = '- - [22/Nov/2026:03:51:06 +0000] "POST /api/auth/login HTTP/2.0" 401 670 "curl" web.example.org TLSv1.3 45367'
# What login-refused.log of the role proxy_apache has.
REFUSED = '- - [22/Nov/2026:03:51:06 +0000] "-" 401 670 web.example.org TLSv1.3 45367'
POSTGRES = "2026-11-22 03:51:06.900 UTC [3832] "

# (filter, line, the address that it counts against)
GENUINE = [
    ("apache-auth", f"{AUTH}[client 192.0.2.7:55348] AH01618: user bob not found: /staff", "192.0.2.7"),
    ("apache-auth", f'{AUTH}[client 192.0.2.7:5] AH01617: user bob: authentication failure for "/": Password Mismatch',
     "192.0.2.7"),
    ("apache-auth", f"{AUTH}[client 2001:db8::7:55348] AH01618: user bob not found: /staff", "2001:db8::7"),
    ("apache-auth", f"{ERROR}[auth_digest:error] [pid 1:tid 2] [client 192.0.2.7:1] AH01790: user `bob' in realm"
                    " `staff' not found: /staff", "192.0.2.7"),
    ("modsecurity", f"{SECURITY}[client 192.0.2.7:55354] [client 192.0.2.7] {DENIED}", "192.0.2.7"),
    ("modsecurity", f"{SECURITY}[client 2001:db8::7:55354] [client 2001:db8::7] {DENIED}", "2001:db8::7"),
    ("modsecurity", f"{ERROR}[:error] [pid 3617] [client 192.0.2.7:55354] [client 192.0.2.7] {DENIED}", "192.0.2.7"),
    ("web-login", f"192.0.2.7 {LOGIN}", "192.0.2.7"),
    ("web-login", f"2001:db8::7 {LOGIN}", "2001:db8::7"),
    ("web-login", f"192.0.2.7 {REFUSED}", "192.0.2.7"),
    # Cut off, before the status.
    ("web-login", f"192.0.2.7 - - [22/Nov/2026:03:51:06 +0000] \"POST /{'x' * 8000}", "192.0.2.7"),
    ("apache-auth", f"{AUTH}[client 192.0.2.7:55348] AH01618: user {'x' * 8000}", "192.0.2.7"),
    ("postgresql", f'{POSTGRES}192.0.2.7 FATAL:  password authentication failed for user "bob"', "192.0.2.7"),
    ("postgresql", f'{POSTGRES}2001:db8::7 FATAL:  no pg_hba.conf entry for host "2001:db8::7", user "x", database "y",'
                   " no encryption", "2001:db8::7"),
    ("postgresql", f'{POSTGRES}192.0.2.7 FATAL:  role "bob" is not permitted to log in', "192.0.2.7"),
]
# What a stranger may have written somewhere in it still counts against the stranger.
TWISTED = [
    ("apache-auth", f"{AUTH}[client 192.0.2.7:1] AH01618: user x] [client 203.0.113.9:1] AH01618: user y not found: /",
     "192.0.2.7"),
    ("apache-auth", f"{AUTH}[client 192.0.2.7:1] AH01618: user a\\n{AUTH}[client 203.0.113.9:1] AH01618: user b not"
                    " found: /", "192.0.2.7"),
    ("modsecurity", f"{SECURITY}[client 192.0.2.7:1] [client 192.0.2.7] {DENIED} [data \"x\\n{SECURITY}"
                    f"[client 203.0.113.9:1] [client 203.0.113.9] {DENIED}\"]", "192.0.2.7"),
    ("web-login", '192.0.2.7 - 203.0.113.9 - - \\" 401 [22/Nov/2026:03:51:06 +0000] "GET /\\n203.0.113.9 HTTP/1.1" 401'
                  ' 1 "203.0.113.9 - - [22/Nov/2026:03:51:06 +0000] \\" 401 " x', "192.0.2.7"),
    ("postgresql", f'{POSTGRES}192.0.2.7 FATAL:  password authentication failed for user "x 203.0.113.9 FATAL:  '
                   'password authentication failed for user "', "192.0.2.7"),
]
# And what only looks like it is nobody's.
NOTHING = [
    ("apache-auth", f"{ERROR}[core:error] [pid 1] [client 192.0.2.7:1] AH00126: Invalid URI in request GET [client"
                    " 203.0.113.9:1] AH01618: user b not found: /"),
    ("apache-auth", f"{ERROR}[authz_core:error] [pid 1] [client 192.0.2.7:1] AH01630: client denied by server"
                    " configuration: /x"),
    ("apache-auth", f"#012{AUTH}[client 203.0.113.9:1] AH01618: user b not found: /"),
    ("modsecurity", f"{SECURITY}[client 192.0.2.7:1] [client 192.0.2.7] ModSecurity: Warning. String match"
                    f" [data \"[client 203.0.113.9:1] {DENIED}\"]"),
    ("modsecurity", f"{ERROR}[proxy:error] [pid 1] [client 192.0.2.7:1] [client 203.0.113.9] {DENIED}"),
    ("web-login", f"refused 203.0.113.9 {LOGIN}"),
    ("postgresql", f"{POSTGRES}LOG:  checkpoint starting: 192.0.2.7 FATAL:  password authentication failed for user"),
    ("postgresql", f'#011{POSTGRES}203.0.113.9 FATAL:  password authentication failed for user "x"'),
    ("postgresql", f'{POSTGRES}192.0.2.7 ERROR:  relation "203.0.113.9 FATAL:  password authentication failed for'
                   ' user"'),
    ("postgresql", f"{POSTGRES}192.0.2.7 LOG:  connection authorized: user=app database=app SSL enabled"),
]


def against(gate, name: str, line: str) -> str:
    """Who the line counts against."""
    words = ["fail2ban-regex", "--out", "ip", line, f"/etc/fail2ban/filter.d/hardening-{name}.conf"]
    return gate.run(shlex.join(words)).stdout.strip()


@pytest.mark.parametrize("before", ["", AT], ids=["of this server", "handed over"])
@pytest.mark.parametrize(("name", "line", "address"), GENUINE + TWISTED)
def test_it_counts_against_who_wrote_it(gate, name, line, address, before):
    """On a server without containers the logs are its own; they have no other time before their own."""
    assert against(gate, name, before + line) == address


@pytest.mark.parametrize("before", ["", AT], ids=["of this server", "handed over"])
@pytest.mark.parametrize(("name", "line"), NOTHING)
def test_it_counts_against_nobody(gate, name, line, before):
    assert against(gate, name, before + line) == ""
