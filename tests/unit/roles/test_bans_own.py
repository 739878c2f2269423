# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a jail of its own may look for: nothing by which an address counts that a stranger wrote into a name."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).parents[3]
VARIABLES = yaml.safe_load((ROOT / "roles/hardening/vars/main/bans.yml").read_text())
ALLOWED = re.compile(jinja2.Template(VARIABLES["__hardening_bans_own"]).render(VARIABLES))
DOCUMENTED = re.findall(
    r"failregex: \['(.+)'\]", (ROOT / "inventories/example/group_vars/box/bans.yml").read_text()
    + (ROOT / "molecule/bans/group_vars/gates/bans.yml").read_text())


@pytest.mark.parametrize("text", [
    *DOCUMENTED,
    "^<ADDR>$",
    r"^\s*\[\d+\] login of <ADDR> failed(?: for .*)?$",
    r"^ WARN \d{1,6} --- \[nio-\d+-exec-\d+\] o\.h\.Login\s+: <ADDR> (?:refused|locked out): .+$",
    r"^\s*a\|b <ADDR> \| \(.*",
])
def test_fixed_words_before_the_address(text):
    assert ALLOWED.match(text)


@pytest.mark.parametrize("text", [
    r"^.* refused <ADDR>$",
    r"^.+ refused <ADDR>$",
    r"^.{1,99} refused <ADDR>$",
    r"^[^x]* refused <ADDR>$",
    r"^\S+ refused <ADDR>$",
    r"^\D* refused <ADDR>$",
    r"^(?:.*)refused <ADDR>$",
    r"^a <ADDR>|.*<ADDR>",
    r"^a|b <ADDR>",
    r"^a <ADDR>|b",
    r"^a <ADDR>? .*",
    r"^a <ADDR> .* <HOST>",
    r"^a <HOST>$",
    r"^a <IP4>$",
    r"^a <F-ID>$",
    r"a <ADDR>$",
    r"^refused$",
    "^a <ADDR>\n.*<ADDR>",
    "^a <ADDR>\n",
])
def test_nothing_that_somebody_else_may_have_written(text):
    assert not ALLOWED.match(text)


def test_the_documented_ones_are_found():
    assert len(DOCUMENTED) == 2
