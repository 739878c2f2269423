# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, certificates, secrets, and what the three tiers need of one another."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from urllib.parse import urlsplit

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import (
    Problem,
    Site,
    address,
    interface,
)

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
# Names that no public CA gives a certificate for.
PRIVATE_SUFFIXES = (
    "local",
    "localhost",
    "test",
    "invalid",
    "example",
    "internal",
    "lan",
    "home",
    "corp",
    "home.arpa",
    "example.org",
    "example.com",
    "example.net",
)
ENCRYPTION_PASSWORD_LENGTH = 24
PASSWORD_LENGTH = 12


def domain(site: Site) -> t.Iterator[Problem]:
    host = site.first("proxy") or site.box
    value = site.get(host, "securebox_domain")
    if value is not None:
        trouble = name_trouble(str(value))
        if trouble:
            yield site.problem(host, "securebox_domain", trouble)


def name_trouble(name: str) -> str:
    """What is wrong with the name that browsers use; empty when nothing is."""
    if "://" in name or "/" in name:
        return "a URL: give the name alone, such as dhis.example.org"
    if address(name) is not None:
        return ""
    if ":" in name:
        return "the name alone, without a port: the application is at 443"
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "no full name of a host: letters, digits and - between dots, such as dhis.example.org"
    return ""


def certificate(site: Site) -> t.Iterator[Problem]:
    for host in site.groups.get("proxy", []):
        kind = site.get(host, "proxy_apache_certificate")
        if kind == "letsencrypt":
            yield from _letsencrypt(site, host)
        elif kind == "own":
            yield from _own(site, host)


def _letsencrypt(site: Site, host: str) -> t.Iterator[Problem]:
    if not site.flag(host, "letsencrypt_accept_terms") and "letsencrypt_accept_terms" not in site.broken.get(
        host, {}
    ):
        yield site.problem(
            host,
            "letsencrypt_accept_terms",
            "read the terms of service at https://letsencrypt.org/repository/ "
            "and set it to true, or set proxy_apache_certificate to self_signed or own",
        )
    for name in site.get(host, "letsencrypt_domains", []):
        trouble = name_trouble(str(name))
        own_ca = "letsencrypt.org" not in site.get(host, "letsencrypt_directory_url", "letsencrypt.org")
        if not trouble and not own_ca:
            if address(name) is not None:
                trouble = "an address: it gives certificates to names only"
            elif any(str(name).lower().endswith("." + suffix) for suffix in PRIVATE_SUFFIXES):
                trouble = "not a public name, so Let's Encrypt cannot check that it is yours: use the real one"
        if trouble:
            yield site.problem(host, "letsencrypt_domains", trouble, name)


def _own(site: Site, host: str) -> t.Iterator[Problem]:
    for variable in ("proxy_apache_certificate_file", "proxy_apache_certificate_key_file"):
        value = site.get(host, variable)
        if not value:
            yield site.problem(host, variable, "proxy_apache_certificate is own: name the PEM file on this workstation")
        else:
            trouble = site.controller.file_trouble(str(value))
            if trouble:
                yield site.problem(host, variable, f"{trouble}, on this workstation")


def application(site: Site) -> t.Iterator[Problem]:
    for host in site.groups.get("app", []):
        yield from _war(site, host)
        conf = site.get(host, "app_tomcat_dhis_conf", {})
        if not isinstance(conf, dict):
            continue
        password = conf.get("encryption.password")
        where = "app_tomcat_dhis_conf[encryption.password]"
        if password is not None and 0 < len(str(password)) < ENCRYPTION_PASSWORD_LENGTH:
            yield site.problem(
                host,
                where,
                f"DHIS2 refuses less than {ENCRYPTION_PASSWORD_LENGTH} characters. It must "
                "never change once data are there",
            )
        url = re.match(r"jdbc:postgresql://([^:/?]+)", str(conf.get("connection.url", "")))
        if url and not _known(site, url.group(1)):
            yield site.problem(
                host,
                "app_tomcat_dhis_conf[connection.url]",
                f"{url.group(1)} is no container of this box",
                conf["connection.url"],
            )
        if "sslmode=disable" in str(conf.get("connection.url", "")):
            yield site.problem(
                host,
                "app_tomcat_dhis_conf[connection.url]",
                "the database takes connections with TLS only",
                conf["connection.url"],
            )


def _war(site: Site, host: str) -> t.Iterator[Problem]:
    url, file, checksum = (site.get(host, "app_tomcat_war_" + key) for key in ("url", "file", "sha256"))
    broken = site.broken.get(host, {})
    if url and file:
        yield site.problem(host, "app_tomcat_war_file", f"set together with app_tomcat_war_url ({url}): take one out")
    elif not url and not file:
        if not {"app_tomcat_war_url", "app_tomcat_war_file"} & set(broken):
            yield site.problem(host, "app_tomcat_war_url", "no application: set it, or app_tomcat_war_file")
    elif url:
        if urlsplit(str(url)).scheme != "https":
            yield site.problem(host, "app_tomcat_war_url", "no https URL")
        if not checksum:
            yield site.problem(
                host,
                "app_tomcat_war_sha256",
                "what is downloaded has to be what was meant: give the "
                "SHA-256 of the file; DHIS2's are in https://releases.dhis2.org/v1/versions/stable.json",
            )
    elif file:
        trouble = site.controller.file_trouble(str(file))
        if trouble:
            yield site.problem(host, "app_tomcat_war_file", f"{trouble}, on this workstation")
        elif site.controller.head(str(file))[:2] != b"PK":
            yield site.problem(host, "app_tomcat_war_file", "no WAR file: it does not begin as a ZIP archive does")
    if checksum and not re.fullmatch(r"[0-9a-fA-F]{64}", str(checksum)):
        yield site.problem(host, "app_tomcat_war_sha256", "no SHA-256: 64 hexadecimal digits")


def proxy(site: Site) -> t.Iterator[Problem]:
    for host in site.groups.get("proxy", []):
        value = site.get(host, "proxy_apache_backend")
        if value is None:
            continue
        parts = urlsplit(str(value))
        if parts.scheme != "https" or not parts.hostname:
            yield site.problem(host, "proxy_apache_backend", "no https URL, such as https://app1:8443/")
        elif not _known(site, parts.hostname):
            yield site.problem(host, "proxy_apache_backend", f"{parts.hostname} is no container of this box")


def database(site: Site) -> t.Iterator[Problem]:
    segments = [interface(item.get(family)) for item in site.items("lxd_networks") for family in ("ipv4", "ipv6")]
    for host in site.groups.get("db", []):
        users = {str(user.get("name")): user for user in _list(site, host, "db_postgresql_users")}
        bases = {str(base.get("name")): base for base in _list(site, host, "db_postgresql_databases")}
        for name, user in users.items():
            password = user.get("password")
            if password is not None and 0 < len(str(password)) < PASSWORD_LENGTH:
                yield site.problem(
                    host, f"db_postgresql_users[{name}].password", f"too weak: {PASSWORD_LENGTH} characters at least"
                )
        for name, base in bases.items():
            if base.get("owner") and base["owner"] not in users:
                yield site.problem(
                    host,
                    f"db_postgresql_databases[{name}].owner",
                    f"no such user in db_postgresql_users ({', '.join(users)})",
                    base["owner"],
                )
        for number, access in enumerate(_list(site, host, "db_postgresql_access"), start=1):
            where = f"db_postgresql_access[{number}]"
            if access.get("user") not in users:
                yield site.problem(
                    host,
                    f"{where}.user",
                    f"no such user in db_postgresql_users ({', '.join(users)})",
                    access.get("user"),
                )
            if access.get("database") not in bases:
                yield site.problem(
                    host,
                    f"{where}.database",
                    f"no such database in db_postgresql_databases ({', '.join(bases)})",
                    access.get("database"),
                )
            source = interface(access.get("address"))
            if source is None:
                yield site.problem(host, f"{where}.address", "no address or network", access.get("address"))
            elif not any(
                segment and segment.version == source.version and source.network.subnet_of(segment.network)
                for segment in segments
            ):
                yield site.problem(
                    host, f"{where}.address", "outside the box's own networks (lxd_networks)", access["address"]
                )


def internal_ca(site: Site) -> t.Iterator[Problem]:
    for host in site.groups.get("tiers", []):
        value = site.get(host, "internal_ca_passphrase")
        if value is not None and 0 < len(str(value)) < PASSWORD_LENGTH:
            yield site.problem(host, "internal_ca_passphrase", f"too weak: {PASSWORD_LENGTH} characters at least")


def secrets(site: Site) -> t.Iterator[Problem]:
    """Empty secrets of the vault file. Who is asked for the passphrase at each run needs none there."""
    hosts = [site.box, *site.groups.get("tiers", [])]
    for host in hosts:
        for name, value in site.variables.get(host, {}).items():
            if not name.startswith("vault_") or value not in ("", None):
                continue
            if name == "vault_encrypted_volume_passphrase" and site.get(site.box, name[len("vault_") :]) is None:
                continue
            problem = site.problem(
                host,
                name,
                "an empty secret. This fills all empty ones with fresh random values, and "
                "encrypts the file: ansible-playbook securebox.stack.secrets -i <your inventory>",
            )
            problem.value = '""'
            yield problem


def _known(site: Site, name: str) -> bool:
    """Whether a name or an address is a container of the inventory."""
    tiers = site.groups.get("tiers", [])
    if name in tiers:
        return True
    parsed = address(name)
    known = [address(site.get(host, key)) for host in tiers for key in ("securebox_address", "securebox_address6")]
    return isinstance(parsed, (ipaddress.IPv4Address, ipaddress.IPv6Address)) and parsed in known


def _list(site: Site, host: str, variable: str) -> list[dict[str, t.Any]]:
    value = site.get(host, variable, [])
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


RULES = (domain, certificate, application, proxy, database, internal_ca, secrets)
