# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook integrity as a user runs it: it names what differs, accepts it, finds a database that was exchanged."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

DATABASE = "/var/lib/aide/aide.db"
# A comparison of the whole system takes a quarter of a minute. What the play left to a later moment is done as well.
SMALL = ("systemctl stop hardening-integrity-accept.service;"
         " sed -i.whole 's|^/usr Exact|/usr/local Exact|' /etc/aide/aide.conf; hardening-integrity accept")
WHOLE = ("mv /etc/aide/aide.conf.whole /etc/aide/aide.conf; rm -f /usr/local/bin/surprise;"
         " sed -i '/^# surprise/d' /etc/hosts.allow; hardening-integrity accept")
CHANGE = "echo x > /usr/local/bin/surprise; echo '# surprise' >> /etc/hosts.allow"
CHANGED = ("/usr/local/bin/surprise", "/etc/hosts.allow")


@pytest.fixture(scope="module")
def machine(inside):
    found = inside["worker"]
    found.check_output(SMALL)
    yield found
    found.check_output(WHOLE)


@pytest.fixture(scope="module")
def site(lab, machine, tmp_path_factory) -> Path:
    """An inventory that knows a box, and beside it a place for the copies."""
    directory = tmp_path_factory.mktemp("site")
    shutil.copy(lab.directory / "inventory.yml", directory / "lab.yml")
    (directory / "site.yml").write_text("box: {hosts: {worker: {}}}\n")
    return directory


@pytest.fixture(scope="module")
def integrity(site):
    def run(*options: str, elsewhere: Path | None = None, **variables) -> subprocess.CompletedProcess:
        command = ["ansible-playbook", "-i", str(site), "securebox.stack.integrity", *options,
                   "--extra-vars", json.dumps(variables)]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                              check=False, cwd=elsewhere or site, env={**os.environ, "ANSIBLE_NOCOLOR": "true"})

    return run


def checksum(machine) -> str:
    return machine.check_output(f"sha256sum {DATABASE}").split()[0]


@pytest.mark.control("AUD-2")
def test_what_differs_is_named_accepted_and_then_quiet(integrity, machine):
    """And a rehearsal of either tells what it would be, and leaves everything as it is."""
    machine.check_output(CHANGE + "; rm -f /var/lib/hardening/integrity-check.json")
    before = checksum(machine)

    rehearsed = integrity("--check"), integrity("--check", securebox_integrity="accept")
    assert checksum(machine) == before
    assert not machine.file("/var/lib/hardening/integrity-check.json").exists
    found = integrity()
    accepted = integrity(securebox_integrity="accept")
    after = integrity()

    for run in (*rehearsed, found, accepted):
        assert all(path in run.stdout for path in CHANGED), run.stdout
    assert [run.returncode for run in (*rehearsed, found, accepted, after)] == [2, 0, 2, 0, 0]
    assert "1 new, 0 gone (check): see above for which" in found.stdout
    assert "changed=1" in rehearsed[1].stdout
    assert "changed=1" in accepted.stdout
    assert "changed=0" in after.stdout
    assert f"Nothing differs from {DATABASE}" in after.stdout


@pytest.mark.control("AUD-2")
def test_a_database_that_was_exchanged_is_refused(integrity, machine, site, tmp_path):
    """The copy is beside the inventory, wherever one calls from. What the playbook itself accepts is not refused."""
    copy = site / "aide" / "worker.aide.db"
    first = integrity(hardening_integrity_keep="aide")
    assert first.returncode == 0, first.stdout
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == checksum(machine)

    # A run that is accepted by the next comparison.
    machine.check_output("touch /var/lib/hardening/integrity-pending; echo '# surprise' >> /etc/hosts.allow")
    pending = integrity(hardening_integrity_keep="aide", elsewhere=tmp_path)
    assert pending.returncode == 0, pending.stdout
    assert "/etc/hosts.allow" in pending.stdout

    # Somebody on the machine, who covers it up.
    machine.check_output("echo '# surprise' >> /etc/hosts.allow; hardening-integrity accept")
    refused = integrity(hardening_integrity_keep="aide", elsewhere=tmp_path)
    also = integrity(hardening_integrity_keep="aide", securebox_integrity="accept")
    for run in (refused, also):
        assert run.returncode == 2
        assert f"{DATABASE} on worker is not the one of which {copy} is a copy" in " ".join(run.stdout.split())

    copy.unlink()
    machine.check_output("echo '# surprise' >> /etc/hosts.allow")
    accepted = integrity(hardening_integrity_keep="aide", securebox_integrity="accept")
    assert accepted.returncode == 0, accepted.stdout
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == checksum(machine)


def test_without_a_database_it_says_so_and_makes_one(integrity, machine):
    machine.check_output(f"rm {DATABASE}")
    missing = integrity()
    made = integrity(securebox_integrity="accept")

    assert missing.returncode == 2
    assert "There is no database yet" in missing.stdout
    assert made.returncode == 0
    assert "changed=1" in made.stdout
    assert f"{DATABASE} was made of the files as they are" in made.stdout


def test_what_it_cannot_do_it_says(integrity, machine):
    nonsense = integrity(securebox_integrity="ignore")
    machine.check_output("mv /usr/local/sbin/hardening-integrity /root/")
    try:
        missing = integrity()
    finally:
        machine.check_output("mv /root/hardening-integrity /usr/local/sbin/")

    assert nonsense.returncode == 2
    assert "securebox_integrity is ignore: check or accept" in nonsense.stdout
    assert missing.returncode == 2
    assert "/usr/local/sbin/hardening-integrity" in missing.stdout
