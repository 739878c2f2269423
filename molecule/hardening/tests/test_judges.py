# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What judges that are not ours say of the hardened machines. The limits are what the documents promise."""

from __future__ import annotations

import contextlib
import time

import pytest
from lab import judges
from lab.run import LabError, wait_for

RELEASES = {"shell": "bookworm", "next": "trixie"}
POLICY = {"next": "Hardened Debian 13 (version 1)"}


@pytest.fixture(scope="module", params=list(RELEASES))
def judged(lab, request, converge):
    """A machine with the judges on it, its firewall on as in a box, and all that the role can do: a log server too."""
    machine = lab.machines[request.param]
    done = converge(machine.name, **judges.log_server())
    assert done.returncode == 0, done.stdout
    target = judges.reach(lab, machine)
    judges.install(target, container=True)
    target.run("ufw --force enable && ufw allow 822/tcp && ufw reload && systemctl restart sysctl-reapply-network")
    # Ten minutes after a run it would be there by itself.
    target.run("hardening-integrity accept")
    yield request.param, target, machine
    target.run("ufw disable; dpkg --purge ssg-debian ssg-base linux-base")
    converge(machine.name)
    target.run("hardening-integrity accept")


@pytest.mark.control("SCN-1")
def test_lynis_is_content(judged, record_property):
    name, target, _ = judged
    found, limit = judges.lynis(target), judges.LIMITS[RELEASES[name]]["lynis"]
    record_property("lynis", found.index)

    assert found.index >= limit, f"{name}: {found.index}: {found.warnings} {found.suggestions}"


@pytest.fixture(scope="module")
def levels(judged):
    name, target, _ = judged
    return judges.openscap(target, RELEASES[name])


@pytest.mark.control("SCN-1")
@pytest.mark.parametrize("level", [1, 2])
def test_cis_is_met(judged, levels, level, record_property):
    """The rules that are not met are explained in docs/decisions/hardening-deviations.md."""
    name, found = judged[0], levels[level]
    share, limit = round(found.share, 1), judges.LIMITS[RELEASES[name]][f"level{level}"]
    record_property(f"cis{level}", share)

    assert share >= limit, f"{name}: {share} %: {found.failed}"


@pytest.mark.control("SSH-2")
def test_ssh_audit_warns_of_nothing(judged):
    """Nothing that fails, nothing that it would rather not have; and its policy of the release, where both agree."""
    name, _, machine = judged
    port = 822
    found = judges.ssh_audit(str(machine.address), port)

    assert (found.failing, found.warned) == ([], [])
    if name in POLICY:
        # The server of this release shuts out for a while who only looked and did not log in.
        def different() -> tuple[list[str]] | None:
            with contextlib.suppress(LabError):
                return (judges.ssh_audit_policy(str(machine.address), port, POLICY[name]),)
            return None

        time.sleep(20)
        assert wait_for("an answer to ssh-audit", different, timeout=90, pause=10) == ([],)
