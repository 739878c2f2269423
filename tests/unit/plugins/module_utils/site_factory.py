# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the input check begin with: what the example inventory leaves open, filled in."""

from __future__ import annotations

import base64
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode() + " me@desk"
UNSET = object()

# What nobody can know beforehand, and so the example leaves open.
FILLED_IN = {
    "all": {
        "securebox_domain": "dhis.clinic-oslo.net",
        "vault_encrypted_volume_passphrase": "correct horse battery staple",
        "vault_internal_ca_passphrase": "rather-long-and-random-1",
        "vault_db_postgresql_password": "rather-long-and-random-2",
        "vault_app_tomcat_encryption_password": "rather-long-and-random-number-3",
    },
    "box": {"hardening_admins": [{"name": "admin", "keys": [KEY]}], "encrypted_volume_initialise": True},
    "app": {"app_tomcat_war_sha256": "0" * 64},
    "proxy": {"letsencrypt_accept_terms": True},
}

ROLES = {
    "box": ["hardening", "wireguard", "firewall", "encrypted_volume", "lxd", "forward_proxy"],
    "tiers": ["hardening", "internal_ca"],
    "db": ["db_postgresql"],
    "app": ["app_tomcat"],
    "proxy": ["proxy_apache", "letsencrypt"],
}
