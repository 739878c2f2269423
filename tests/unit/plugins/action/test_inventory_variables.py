# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leaves Ansible for another program holds no secret, and yet lets it look for each."""

from __future__ import annotations

import hashlib
import hmac
import json

from ansible_collections.securebox.stack.plugins.action.inventory_variables import canaries, found_secrets, without

VALUES = {
    "vault_db_postgresql_password": "database-secret",
    "db_postgresql_users": [{"name": "dhis2", "password": "database-secret"}],
    "app_tomcat_dhis_conf": {
        "connection.url": "jdbc:postgresql://db1/x?password=database-secret",
        "connection.password": "database-secret",
        "encryption.password": "encryption-secret",
    },
    "internal_ca_private_key": "/etc/ssl/private/securebox.key",
    "hardening_admins": [{"name": "admin", "keys": ["ssh-ed25519 AAAA"]}],
    "encrypted_volume_passphrase": "short",
}


def known():
    return {value: name for name, value in found_secrets(VALUES)}


def test_secrets_are_found_at_any_depth():
    assert set(known()) == {"database-secret", "encryption-secret"}
    assert known()["encryption-secret"] == "app_tomcat_dhis_conf.encryption.password"


def test_no_secret_is_left_not_even_inside_another_value():
    text = json.dumps(without(VALUES, known()))

    for secret in (*known(), "short"):
        assert secret not in text
    assert "/etc/ssl/private/securebox.key" in text
    assert "jdbc:postgresql://db1" in text
    assert "ssh-ed25519 AAAA" in text


def test_each_secret_can_be_recognised_but_not_read():
    given = canaries(known())
    key = bytes.fromhex(given["key"])

    def look(word):
        return given["digests"].get(hmac.new(key, word.encode(), hashlib.sha256).hexdigest())

    assert look("encryption-secret") == "app_tomcat_dhis_conf.encryption.password"
    assert look(given["sample"]) == "(sample)"
    assert look("something else") is None
    assert "secret" not in json.dumps(list(given["digests"]))


def test_the_key_is_new_each_time():
    assert canaries(known())["key"] != canaries(known())["key"]
