# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong inventories: the filled-in example but for one mistake, and what the message about it has to say.

name: (variables changed, what the server is like, parts of the message)
"""

from __future__ import annotations

from . import access, containers, firewall, handed_over, tiers, tunnel, volume

SUBJECTS = (handed_over, tunnel, volume, containers, firewall, access, tiers)
WRONG = {name: wrong for subject in SUBJECTS for name, wrong in subject.WRONG.items()}
GROUPS = {
    "no box": ({"box": []}, ["group box", "no server"]),
    "two boxes": ({"box": ["hospital", "proxy1"]}, ["group box", "hospital, proxy1", "one server"]),
    "no database": ({"db": []}, ["group db", "no container"]),
    "tier outside tiers": ({"tiers": ["proxy1", "app1"]}, ["group db", "no child of the group tiers"]),
}
