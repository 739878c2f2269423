# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every machine knows until when it has support, and whether it has to be restarted."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(params=["shell", "worker"])
def machine(request, inside):
    return inside[request.param]


def look(machine, *options: str) -> dict:
    return json.loads(machine.run(f"hardening-support --json {' '.join(options)}").stdout)


@pytest.mark.control("UPD-2")
def test_the_release_has_support_and_its_end_is_warned_of(machine):
    """Offline, on this day and on one that is far away."""
    [release] = [entry for entry in look(machine)["support"] if not entry["package"]]
    assert release["state"] in ("ok", "ends_soon")
    [later] = [entry for entry in look(machine, "--date", "2099-01-01")["support"] if not entry["package"]]
    assert later["state"] == "ended"
    assert release["until"] in later["text"]


@pytest.mark.control("UPD-3")
def test_a_restart_that_an_update_asks_for_is_noticed(machine):
    machine.check_output("mkdir -p /run && echo libc6 > /run/reboot-required.pkgs && touch /run/reboot-required")
    try:
        found = look(machine)
    finally:
        machine.check_output("rm /run/reboot-required /run/reboot-required.pkgs")

    assert "needs restart: asked for by libc6" in found["attention"]
    assert not look(machine)["restart"]["needed"]


@pytest.mark.control("UPD-3")
def test_boots_are_noted_where_there_is_a_kernel(inside):
    """The lab's server is a container, so the unit is there and steps back; a container does not get it."""
    shell, worker = inside["shell"], inside["worker"]
    assert shell.service("hardening-boot.service").is_enabled
    assert not shell.file("/var/lib/hardening/boots.json").exists
    assert not worker.file("/etc/systemd/system/hardening-boot.service").exists
