# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names that the tiers know each other by, as /etc/hosts will have them."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Problem, Site, address

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def names_and_addresses(site: Site) -> t.Iterator[Problem]:
    for host in site.variables:
        known = site.get(host, "hardening_hosts")
        for name, value in known.items() if isinstance(known, dict) else ():
            where = f"hardening_hosts[{name}]"
            if address(name) and not address(value):
                yield site.problem(
                    host, where, "an address and its name, the wrong way round: it is `name: address`", value
                )
            elif address(value) is None:
                yield site.problem(host, where, "no IPv4 or IPv6 address: it is `name: address`", value)
            elif not _NAME.fullmatch(str(name)):
                yield site.problem(host, where, "no host name: letters, digits, - and dots", name)


RULES = (names_and_addresses,)
