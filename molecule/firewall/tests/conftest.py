# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of this scenario from inside."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def gate(inside):
    return inside["gate"]


@pytest.fixture(scope="module")
def stranger(inside):
    return inside["stranger"]


@pytest.fixture(params=["IPv4", "IPv6"])
def family(request, lab):
    """The addresses of the gate and of the stranger, in one protocol."""
    name = "address" if request.param == "IPv4" else "address6"
    return {machine: getattr(lab.machines[machine], name) for machine in ("gate", "stranger")}
