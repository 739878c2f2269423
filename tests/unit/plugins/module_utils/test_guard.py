# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saved state comes back whole, or goes away for good; a tie has one winner."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from ansible_collections.securebox.stack.plugins.module_utils import guard as guard_module
from ansible_collections.securebox.stack.plugins.module_utils.guard import Guard, NotRestored


class Machine:
    """Runs what a guard runs, but for systemctl, which it writes down."""

    def __init__(self, root):
        self.root = root
        self.systemctl = []

    def run(self, command):
        if command[0] == "systemctl":
            self.systemctl.append(command[1:])
        else:
            subprocess.run(command, check=True)


@pytest.fixture
def machine(tmp_path):
    for directory in ("etc/systemd/system", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "etc/old").write_text("old\n")
    (tmp_path / "etc/old").chmod(0o640)
    return Machine(tmp_path)


@pytest.fixture
def guard(machine):
    guard = Guard("ssh", machine.run, machine.root)
    guard.save(["/etc/old", "/etc/new"], [["touch", str(machine.root / "restarted")]],
               [["test", "!", "-e", str(machine.root / "broken-by-somebody-else")]])
    return guard


def break_it(machine):
    (machine.root / "etc/old").write_text("broken\n")
    (machine.root / "etc/new").write_text("broken\n")


def test_restoring_brings_files_back_and_removes_new_ones(machine, guard):
    guard.declare_applying()
    break_it(machine)

    guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"
    assert (machine.root / "etc/old").stat().st_mode & 0o777 == 0o640
    assert not (machine.root / "etc/new").exists()
    assert (machine.root / "restarted").exists()
    assert not guard.armed


def test_directories_are_as_they_were(machine):
    """Mode of one that was there, whatever lies in it; one that was not goes, unless somebody uses it meanwhile."""
    there = machine.root / "etc/cron.d"
    there.mkdir(mode=0o750)
    guard = Guard("modes", machine.run, machine.root)
    guard.save(["/etc/cron.d", "/etc/ours/deep/file", "/etc/shared/file"], [])
    there.chmod(0o700)
    (there / "job").write_text("somebody's\n")
    for place in ("ours/deep", "shared"):
        (machine.root / "etc" / place).mkdir(parents=True)
        (machine.root / "etc" / place / "file").write_text("ours\n")
    (machine.root / "etc/shared/other").write_text("somebody's\n")

    guard.restore()

    assert there.stat().st_mode & 0o777 == 0o750
    assert (there / "job").exists()
    assert not (machine.root / "etc/ours").exists()
    assert [path.name for path in (machine.root / "etc/shared").iterdir()] == ["other"]


def test_commands_can_tell_the_way_back(machine):
    """Some have to do another thing then: start again what they stopped."""
    guard = Guard("back", machine.run, machine.root)
    guard.save([], [["sh", "-c", f'echo "$SECUREBOX_RESTORING" > {machine.root}/told']])
    guard.declare_applying()

    guard.restore()

    assert (machine.root / "told").read_text() == "yes\n"


def test_what_the_new_settings_started_is_undone_by_them(machine):
    """A hook that was replaced knows what it loaded; the one that comes back does not."""
    old, told = machine.root / "etc/old", machine.root / "told"
    guard = Guard("ssh", machine.run, machine.root)
    guard.save(["/etc/old"], [["sh", "-c", f"cat {old} >> {told}"]], undo=[["sh", "-c", f"cat {old} >> {told}"]])
    guard.declare_applying()
    old.write_text("new\n")

    guard.restore()

    assert told.read_text() == "new\nold\n"


def test_a_daemon_that_never_saw_the_change_is_not_restarted(machine, guard):
    break_it(machine)

    guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"
    assert not (machine.root / "restarted").exists()


def test_no_daemon_is_restarted_into_settings_that_somebody_else_broke(machine, guard):
    """It would stop and not start again: the running one is the last way in. It gets the old ones as soon as it can."""
    guard.declare_applying()
    break_it(machine)
    (machine.root / "broken-by-somebody-else").touch()

    with pytest.raises(NotRestored, match="not all back in force yet"):
        guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"
    assert not (machine.root / "restarted").exists()

    (machine.root / "broken-by-somebody-else").unlink()
    guard.restore()
    assert (machine.root / "restarted").exists()
    assert not guard.armed


def test_after_a_restart_of_the_machine_every_daemon_has_seen_the_change(machine, guard):
    """Reset between writing and applying: nothing was applied, but all started with what was on the disk."""
    break_it(machine)
    shutil.rmtree(machine.root / "run")

    guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"
    assert (machine.root / "restarted").exists()


def test_putting_back_that_was_cut_off_goes_on(machine, guard):
    """The power failed when the first of the files was back."""
    break_it(machine)
    state = machine.root / "var/lib/securebox/rollback/ssh"
    (state / "armed").rename(state / "restoring")
    (state / "restoring/0").rename(machine.root / "etc/old")
    assert guard.armed
    assert not guard.complete

    guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"
    assert not (machine.root / "etc/new").exists()
    assert not guard.armed


def test_putting_back_needs_no_room(machine, guard, monkeypatch):
    """A full disk must not keep the old settings away: copies are renamed into place."""
    monkeypatch.setenv("PATH", f"{machine.root / 'full'}:/usr/bin:/bin")
    (machine.root / "full").mkdir()
    (machine.root / "full/cp").write_text("#!/bin/sh\necho No space left on device >&2; exit 1\n")
    (machine.root / "full/cp").chmod(0o755)
    break_it(machine)

    guard.restore()

    assert (machine.root / "etc/old").read_text() == "old\n"


def test_a_copy_lies_on_the_file_system_of_its_file(machine, guard, monkeypatch):
    """Only there it can be renamed. Nothing of it stays when it is not needed any more."""
    monkeypatch.setattr(guard_module, "same_file_system", lambda one, other: False)
    for end in (lambda: guard.restore(), lambda: subprocess.run(guard.confirm_command(), check=True)):
        (machine.root / "etc/old").write_text("old\n")
        guard.save(["/etc/old"], [])
        beside = machine.root / "etc/.old.securebox-rollback-ssh"
        assert beside.read_text() == "old\n"
        end()
        assert not beside.exists()


@pytest.mark.parametrize("failing", ["cp", "systemctl"])
def test_what_cannot_be_saved_leaves_nothing_behind(machine, failing):
    """No copies, no timer: nothing was changed, and nothing may come back later."""
    def run(command):
        if command[0] == failing:
            raise RuntimeError("No space left on device")
        machine.run(command)

    guard = Guard("ssh", run, machine.root)
    with pytest.raises(RuntimeError, match="No space left"):
        guard.save(["/etc/old"], [])
        guard.arm(30)

    assert not guard.armed
    assert not list(machine.root.rglob("*securebox-rollback*"))
    assert not (machine.root / "var/lib/securebox/rollback/ssh").exists()


def test_restoring_never_touches_the_directories_above(machine, guard):
    """A copy of a whole tree over the root directory once took away the root directory's own mode."""
    modes = {path: path.stat().st_mode for path in (machine.root, machine.root / "etc")}

    guard.restore()

    assert {path: path.stat().st_mode for path in modes} == modes


def test_the_timer_is_a_unit_that_survives_a_reset(machine, guard):
    guard.arm(30)

    units = machine.root / "etc/systemd/system"
    assert "OnActiveSec=30" in (units / "securebox-rollback-ssh.timer").read_text()
    assert (units / "timers.target.wants/securebox-rollback-ssh.timer").is_symlink()
    assert ["start", "securebox-rollback-ssh.timer"] in machine.systemctl


@pytest.fixture
def no_systemctl(tmp_path, monkeypatch):
    """The commands that a guard hands out run in a shell, which finds this one first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.mark.usefixtures("no_systemctl")
def test_a_confirmation_after_the_timer_fails(machine, guard):
    guard.arm(30)
    break_it(machine)
    subprocess.run(["/bin/sh", machine.root / "var/lib/securebox/rollback/ssh/restore"], check=True)

    late = subprocess.run(guard.confirm_command(), check=False, capture_output=True, text=True)

    assert late.returncode != 0
    assert "too late" in late.stderr
    assert (machine.root / "etc/old").read_text() == "old\n"


@pytest.mark.usefixtures("no_systemctl")
def test_the_timer_after_a_confirmation_does_nothing(machine, guard):
    guard.arm(30)
    break_it(machine)
    script = (machine.root / "var/lib/securebox/rollback/ssh/restore").read_text()
    subprocess.run(guard.confirm_command(), check=True)

    subprocess.run(["/bin/sh", "-c", script], check=True)

    assert (machine.root / "etc/old").read_text() == "broken\n"
    assert not list((machine.root / "etc/systemd/system").rglob("securebox-rollback*"))


def test_a_change_is_complete_only_when_declared_so(guard):
    assert guard.armed
    assert not guard.complete

    guard.declare_complete()

    assert guard.complete


def test_a_copy_is_not_taken_for_a_profile(machine, monkeypatch):
    """pam-auth-update reads every file of its directory, also those that others pass over."""
    monkeypatch.setattr(guard_module, "same_file_system", lambda one, other: False)
    profile = machine.root / "usr/share/pam-configs/ours"
    profile.parent.mkdir(parents=True)
    profile.write_text("Name: ours\n")

    guard = Guard("pam", machine.run, machine.root)
    guard.save(["/usr/share/pam-configs/ours"], [])

    assert [path.name for path in profile.parent.iterdir()] == ["ours"]
    profile.write_text("Name: theirs\n")
    guard.restore()
    assert profile.read_text() == "Name: ours\n"
    assert [path.name for path in profile.parent.parent.iterdir()] == ["pam-configs"]
