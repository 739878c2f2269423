# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are kept, and what they are called."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def cache() -> Path:
    """Images and probes: slow to make, the same for every checkout, so they are shared between them."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SECUREBOX_LAB_CACHE") or Path(base) / "securebox-lab")


def labs() -> Path:
    """The labs of this checkout, a directory each."""
    return Path(os.environ.get("SECUREBOX_LAB_STATE") or CHECKOUT / ".cache" / "lab")


def check_name(name: str) -> str:
    """A lab's or machine's name becomes part of host names, file names and ssh patterns."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,24}", name):
        raise ValueError(f"name {name!r}: use up to 25 of a-z, 0-9, '-' and '_', starting with a letter")
    return name


def instance(lab: str, machine: str) -> str:
    """The LXD name of a machine. Other checkouts on this machine may have a lab of the same name, hence the digest."""
    digest = hashlib.sha256(str(labs()).encode()).hexdigest()[:6]
    return f"sbl-{digest}-{lab}-{machine}".replace("_", "-")[:63].rstrip("-")
