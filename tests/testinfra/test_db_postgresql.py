# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is let in by the database. Tried with the protocol itself, so that no client and no password is needed."""

from __future__ import annotations

import pytest
from machine import python

# The first words of a connection: with or without TLS, as whom, and what the server answers to that.
KNOCK = r"""
import socket, ssl, struct
def knock(address, port, user, database, tls):
    try:
        s = socket.create_connection((address, port), 5)
        s.settimeout(15)
        if tls:
            s.sendall(struct.pack("!II", 8, 80877103))
            if s.recv(1) != b"S": return "no TLS"
            c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
            s = c.wrap_socket(s)
        body = struct.pack("!I", 196608) + b"user\0" + user.encode() + b"\0database\0" + database.encode() + b"\0\0"
        s.sendall(struct.pack("!I", len(body) + 4) + body)
        head = s.recv(5); kind = head[:1]; data = s.recv(struct.unpack("!I", head[1:5])[0] - 4)
        if kind == b"R":
            code = struct.unpack("!I", data[:4])[0]
            return {0: "no password asked for", 3: "password in clear", 5: "md5", 10: "scram"}.get(code, str(code))
        fields = {f[:1]: f[1:] for f in data.split(b"\0") if f}
        return "refused " + fields.get(b"C", b"").decode()
    except OSError as error: return "no way: " + str(error)
print(json.dumps([knock(*given) for given in GIVEN[0]]))
"""


def rules(site):
    host = site.first("db")
    return site.get(host, "db_postgresql_access", [])


def questions(site):
    db, app = site.first("db"), site.first("app")
    address, port = site.get(db, "securebox_address"), int(site.get(db, "db_postgresql_port", 5432))
    psql = "cd / && runuser -u postgres -- psql -XAtc "
    found = {
        db: {
            "settings": psql + "\"SELECT name || '=' || setting FROM pg_settings "
            "WHERE name IN ('ssl', 'password_encryption', 'listen_addresses')\"",
            "sessions": psql + "'SELECT a.usename, a.client_addr, s.ssl FROM pg_stat_activity a "
            "JOIN pg_stat_ssl s USING (pid) WHERE a.client_addr IS NOT NULL'",
            "superusers": psql + "'SELECT rolname FROM pg_roles WHERE rolsuper'",
        }
    }
    if rules(site):
        user, base = rules(site)[0]["user"], rules(site)[0]["database"]
        found[app] = {
            "knock": python(
                KNOCK,
                [
                    (address, port, user, base, True),
                    (address, port, user, base, False),
                    (address, port, "postgres", base, True),
                    (address, port, user, "postgres", True),
                ],
            )
        }
        found[db]["own"] = python(KNOCK, [(address, port, user, base, True)])
    return found


@pytest.mark.control("DB-1")
def test_the_application_is_asked_for_its_password_by_scram(site, said, unlocked, evidence):
    """The application's account, from its address, with TLS: the one way in."""
    tls, _plain, _other_user, _other_base = said(site.first("app"), "knock").json
    evidence(f"from {site.first('app')}, with TLS: {tls}")
    assert tls == "scram"


@pytest.mark.control("DB-1", "ENC-6")
def test_without_tls_nobody_is_let_in(site, said, unlocked, evidence):
    """The same account from the same address, without TLS, is refused before it could send a password."""
    tls, plain, _other_user, _other_base = said(site.first("app"), "knock").json
    evidence(f"without TLS: {plain}")
    assert tls == "scram"
    assert plain == "refused 28000"


@pytest.mark.control("DB-1")
def test_no_other_account_and_no_other_database(site, said, unlocked, evidence):
    """Neither the superuser over the network, nor the application in another database."""
    tls, _plain, other_user, other_base = said(site.first("app"), "knock").json
    evidence(f"as postgres: {other_user}; database postgres: {other_base}")
    assert tls == "scram"
    assert other_user == other_base == "refused 28000"


@pytest.mark.control("DB-1")
def test_no_other_address(site, said, unlocked, evidence):
    """The application's account from any other machine, here the database's own, is refused."""
    [answer] = said(site.first("db"), "own").json
    evidence(f"from {site.first('db')} itself: {answer}")
    assert answer.startswith("refused")


@pytest.mark.control("DB-1")
def test_the_running_server_says_the_same(site, said, unlocked, evidence):
    """TLS on, passwords kept as scram, listening at its own address, one superuser that has no way in by network."""
    host = site.first("db")
    settings = dict(line.split("=", 1) for line in said(host, "settings").lines)
    evidence(str(settings))
    assert settings["ssl"] == "on"
    assert settings["password_encryption"] == "scram-sha-256"
    assert "*" not in settings["listen_addresses"] and "0.0.0.0" not in settings["listen_addresses"]
    assert said(host, "superusers").lines == ["postgres"]


@pytest.mark.control("ENC-6", "DB-1")
def test_every_open_session_is_encrypted(site, said, unlocked, evidence):
    """Not what could be, but what is: the application's sessions at this moment."""
    sessions = [line.split("|") for line in said(site.first("db"), "sessions").lines]
    evidence(f"{len(sessions)} sessions by network")
    assert sessions, "the application has no session, so there is nothing to look at"
    assert {encrypted for _user, _address, encrypted in sessions} == {"t"}
    assert {user for user, _address, _encrypted in sessions} <= {rule["user"] for rule in rules(site)}
