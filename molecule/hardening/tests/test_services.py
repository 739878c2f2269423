# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs can be attacked: little runs, it is named, and what came by update is in use."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.control("MIN-1")
def test_a_unit_that_was_switched_off_does_not_start(machine):
    """Also when somebody installs it later. Others start as ever."""
    refused = machine.run("systemctl start debug-shell.service")

    assert refused.rc != 0
    assert "masked" in refused.stderr
    assert machine.run("systemctl restart cron.service").rc == 0


@pytest.mark.control("MIN-1")
def test_only_ssh_listens_to_the_world(machine, listening):
    """Names are resolved on the loopback; nothing else has a socket."""
    lines = listening(machine, "-Hltnp") + listening(machine, "-Hlunp")
    world = [line for line in lines if "127.0.0." not in line and "[::1]" not in line and "%eth0" not in line]

    assert world
    assert all(":822 " in line for line in world), world


@pytest.mark.control("MIN-1")
def test_nothing_has_failed(machine):
    """A role that leaves failed units behind teaches people to overlook them."""
    assert machine.check_output("systemctl --failed --no-legend --plain") == ""


@pytest.mark.control("SYS-3")
def test_a_module_that_nobody_needs_is_not_loaded(machine):
    """What modprobe runs in the place of loading it fails. Others it would load as ever."""
    settings = machine.check_output("modprobe --showconfig").splitlines()

    for module in ("cramfs", "dccp", "usb_storage"):
        assert f"install {module} /bin/false" in settings
        assert f"blacklist {module}" in settings
    assert not [line for line in settings if line.startswith("install loop ")]


@pytest.mark.control("SYS-3")
def test_who_comes_is_told_what_this_is(lab, inside):
    """Before the login, by sshd itself, to whoever asks."""
    told = subprocess.run(
        ["ssh", "-p", "822", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "PubkeyAuthentication=no",
         "-o", "UserKnownHostsFile=/dev/null", f"stranger@{lab.machines['shell'].address}", "true"],
        capture_output=True, text=True, timeout=30, check=False)

    assert told.returncode != 0
    assert "Unauthorized access is prohibited" in told.stderr
