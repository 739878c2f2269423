# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boot leaves, before anything else is done: the scenario has rebooted the machine. Runs first, by its name."""

from __future__ import annotations

import pytest
from conftest import PASSPHRASE


@pytest.mark.control("ENC-2")
def test_after_a_boot_the_box_is_locked(host, securebox):
    """There is no key on the machine, so nothing can have opened the volume."""
    code, status = securebox("status")
    assert (code, status["state"], status["problems"]) == (3, "locked", [])
    assert host.check_output("ls /dev/mapper") == "control"
    assert not host.mount_point("/srv/vault").exists


@pytest.mark.control("ENC-2")
def test_a_locked_box_is_no_failure(host):
    """A unit that fails at every boot teaches people to look away."""
    assert host.check_output("systemctl --failed --plain --no-legend") == ""
    assert host.service("documents").is_enabled
    assert not host.service("documents").is_running
    assert "was not met" in host.run("systemctl status documents").stdout


@pytest.mark.control("ENC-2")
def test_nothing_can_be_written_beside_the_volume(host):
    """Not even root can write into the bare mount point."""
    assert host.file("/srv/vault").listdir() == []
    assert host.run("touch /srv/vault/plain").rc != 0
    assert host.run("systemctl start documents && systemctl is-active documents").rc != 0


def test_a_login_says_so(host):
    assert "This box is LOCKED" in host.check_output("run-parts /etc/update-motd.d")


@pytest.mark.control("ENC-2")
def test_one_command_brings_everything_back(host, securebox):
    """The pair of the tests above: the same places, unlocked."""
    code, result = securebox("unlock", passphrase=PASSPHRASE)

    assert (code, result["state"], result["failed_step"]) == (0, "unlocked", None), result
    steps = [step["name"] for step in result["steps"]]
    assert steps == ["identify", "open", "check", "mount", "start documents", "ready documents"]
    assert host.check_output("curl --silent http://127.0.0.1:8080/note") == "before the boot"
    assert host.run("touch /srv/vault/documents/written").rc == 0
    assert securebox("status")[0] == 0


def test_unlocking_again_changes_nothing(securebox):
    code, result = securebox("unlock")
    assert (code, result["changed"]) == (0, False)
