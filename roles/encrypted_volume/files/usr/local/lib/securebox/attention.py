# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not wrong yet: support that ends, restarts that are due.

The role hardening puts a program that knows on every machine; here it is asked on the box and in its containers. What
it says is no part of the box's state.
"""

from __future__ import annotations

import concurrent.futures
import json
import typing as t

from .dependents import Dependent
from .encrypted_volume_system import Result, System, VolumeError

COMMAND = ["/usr/local/sbin/hardening-support", "--json"]
# All are asked at the same time. A status that is not there within this time is one without them.
TRY = 15


def look(system: System, needs: list[Dependent], found: list[dict[str, t.Any]]) -> list[str]:
    """A line for each thing that needs attention, with the machine before it. Only what runs is asked."""
    running = {entry["name"] for entry in found if entry["running"]}
    asked: dict[str, t.Callable[[], Result]] = {"host": lambda: system.run(COMMAND, timeout=TRY)}
    for need in needs:
        if need.kind == "instance" and need.name in running:
            asked[need.name] = lambda need=need: need.inside(COMMAND, TRY)
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        answers = dict(zip(asked, pool.map(ask, asked.values()), strict=True))
    return [f"{name}: {text}" for name, lines in answers.items() for text in lines]


def ask(question: t.Callable[[], Result]) -> list[str]:
    """The program's own lines. A machine that does not have it says nothing: the role may not be used there."""
    try:
        return [str(text) for text in json.loads(question().out)["attention"]]
    except (OSError, VolumeError, ValueError, KeyError, TypeError):
        return []
