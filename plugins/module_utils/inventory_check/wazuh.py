# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agent of Wazuh, where a host names a manager: what it needs to be installed, and to find that manager."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site

URL = r"https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?"


def wazuh_is_complete(site: Site) -> t.Iterator[Problem]:
    for host in site.variables:
        if manager := str(site.get(host, "hardening_wazuh_manager", "")):
            yield from _of(site, host, manager)


def _of(site: Site, host: str, manager: str) -> t.Iterator[Problem]:
    def text(name: str) -> str:
        return str(site.get(host, f"hardening_wazuh_{name}", "")).strip()

    if not re.fullmatch(r"[A-Za-z0-9.:-]+", manager):
        yield site.problem(host, "hardening_wazuh_manager", "one name or address, without port, protocol and blanks")
    if text("repository") and not re.fullmatch(URL, text("repository")):
        yield site.problem(host, "hardening_wazuh_repository",
                           "the URL of an APT repository (http or https, without a password)")
    key = text("repository_key")
    armour = "-----{} PGP PUBLIC KEY BLOCK-----"
    if not (key.startswith(armour.format("BEGIN")) and key.endswith(armour.format("END"))):
        yield site.problem(
            host, "hardening_wazuh_repository_key",
            f"hardening_wazuh_manager is {manager}, and the package comes from a repository that this public key, in "
            "armour, has to vouch for; get the vendor's, and compare its fingerprint",
            "no public key in armour" if key else "not set")
    for name in ("port", "enrollment_port"):
        port = text(name)
        if port and not (port.isdecimal() and 1 <= int(port) <= 65535):
            yield site.problem(host, f"hardening_wazuh_{name}", "no port: it has to be between 1 and 65535")
    if text("ca") and not text("ca").startswith("-----BEGIN CERTIFICATE-----"):
        yield site.problem(host, "hardening_wazuh_ca", "no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    if re.search(r"\s", str(site.get(host, "hardening_wazuh_enrollment_password", ""))):
        yield site.problem(host, "hardening_wazuh_enrollment_password", "it has blanks or several lines")


RULES = (wazuh_is_complete,)
