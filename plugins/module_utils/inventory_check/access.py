# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may log in, through which port."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site, integer

KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MAIL = re.compile(r"[^@\s]+@[A-Za-z0-9.-]+")


def ssh_port(site: Site) -> t.Iterator[Problem]:
    value = site.get(site.box, "hardening_ssh_port")
    port = integer(value)
    if value is None or port is None:
        return
    if not 1 <= port <= 65535:
        yield site.problem(site.box, "hardening_ssh_port", "no port: it has to be between 1 and 65535")
    elif port in (80, 443):
        yield site.problem(site.box, "hardening_ssh_port", f"port {port} is the application's, and goes to the proxy")
    elif port in [integer(forward.get("port")) for forward in site.items("firewall_forwards")]:
        yield site.problem(site.box, "hardening_ssh_port", f"firewall_forwards takes port {port} to a container")

    firewall = site.get(site.box, "firewall_ssh_port")
    if firewall is not None and integer(firewall) != port:
        yield site.problem(
            site.box,
            "firewall_ssh_port",
            f"sshd listens on hardening_ssh_port ({port}); the firewall would lock everybody out",
        )


def administrators(site: Site) -> t.Iterator[Problem]:
    admins = site.items("hardening_admins")
    if not admins and "hardening_admins" not in site.broken.get(site.box, {}):
        yield site.problem(
            site.box,
            "hardening_admins",
            "nobody could log in after the run: at least one administrator with a public key",
        )
    for admin in admins:
        name = str(admin.get("name", ""))
        where = f"hardening_admins[{name}]"
        if name == "root":
            yield site.problem(site.box, where, "root never logs in by ssh: take a named account", name)
        elif name and not _ACCOUNT.fullmatch(name):
            yield site.problem(site.box, where, "no account name: lower-case letters, digits, _ and -", name)
        keys = admin.get("keys") or []
        if not keys:
            yield site.problem(
                site.box,
                f"{where}.keys",
                "no public key, and passwords open no session: at least one line of an id_*.pub file",
                keys,
            )
        for number, key in enumerate(keys if isinstance(keys, list) else [keys], start=1):
            trouble = key_trouble(str(key))
            if trouble:
                shown = "(a private key, not shown)" if "PRIVATE" in str(key) else str(key)[:40]
                yield site.problem(site.box, f"{where}.keys[{number}]", trouble, shown)


def key_trouble(text: str) -> str:
    """What is wrong with one line of an authorized_keys file without options; empty when nothing is."""
    if "PRIVATE KEY" in text:
        return "this is the private key! Give the public one, from the file that ends in .pub"
    lines = text.strip().splitlines()
    if len(lines) != 1:
        return "not one line: give each key as an entry of its own" if lines else "it is empty"
    parts = lines[0].split(None, 2)
    if parts[0] not in KEY_TYPES:
        return f"no public key of a type that sshd takes here ({', '.join(KEY_TYPES[:3])}, ...)"
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (IndexError, binascii.Error):
        return "the key is cut off or mistyped: its second word is not base64"
    fields = _fields(blob)
    if not fields or fields[0] != parts[0].encode():
        return "the key is cut off or mistyped: its text does not hold what its first word says"
    if parts[0] == "ssh-rsa" and (len(fields) < 3 or len(fields[2].lstrip(b"\0")) * 8 < 3072):
        return "an RSA key of less than 3072 bits; make one with: ssh-keygen -t ed25519"
    return ""


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed fields of an ssh key; empty when they do not add up."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return []
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields


def account_is_an_administrator(site: Site) -> t.Iterator[Problem]:
    # On a bare server the bootstrap play has put the delivered account in the place of the inventory's, and kept that.
    login = site.get(site.box, "securebox_login", {})
    delivered = None if login.get("user") else site.get(site.box, "securebox_bootstrap_user")
    user = login.get("user") or site.get(site.box, "ansible_user")
    names = [str(admin.get("name")) for admin in site.items("hardening_admins")]
    if not names or user is None or user in [*names, delivered]:
        return
    yield site.problem(
        site.box,
        "ansible_user",
        f"Ansible would be locked out: no such administrator in hardening_admins ({', '.join(names)})",
    )


def mail(site: Site) -> t.Iterator[Problem]:
    value = site.get(site.box, "securebox_admin_email")
    if value is not None and not _MAIL.fullmatch(str(value)):
        yield site.problem(site.box, "securebox_admin_email", "no mail address: who@where")


RULES = (ssh_port, administrators, account_is_an_administrator, mail)
