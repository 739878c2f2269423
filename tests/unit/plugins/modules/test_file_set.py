# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of several subjects are one change: all of it, or nothing."""

from __future__ import annotations

import grp
import os
import subprocess

import pytest
from ansible_collections.securebox.stack.plugins.modules import file_set


class Machine:
    """A directory as the root of a machine; commands that are not the guard's own are written down, or fail."""

    def __init__(self, root):
        self.root = root
        self.ran = []
        self.failing = set()

    def run(self, command):
        if command[0] in ("cp", "/bin/sh"):
            subprocess.run(command, check=True)
            return
        self.ran.append(command)
        if command[0] in self.failing:
            raise RuntimeError(f"{command[0]} failed")

    def ensure(self, *subjects, check_mode=False, confirm=None):
        return file_set.ensure({"subjects": subjects, "confirm": confirm}, self.run, check_mode,
                               root=self.root, owner=(os.getuid(), os.getgid()))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    # What the restoring script runs.
    for name in ("check", "reload", "systemctl"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho {name} $@ >> {tmp_path}/log\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Machine(tmp_path)


def subject(name="one", content="new\n", **more):
    return {"name": name, "files": [{"path": f"/etc/{name}", "content": content, "mode": "0644", **more}],
            "check": [["check", name]], "apply": [["reload", name]]}


def test_check_then_do_then_nothing(machine):
    """The quadruple of every module: told, done, not done again, and told so."""
    told = machine.ensure(subject(), check_mode=True)
    assert told["changed"]
    assert not (machine.root / "etc/one").exists()
    assert machine.ran == []

    done = machine.ensure(subject())
    assert done == told
    assert (machine.root / "etc/one").read_text() == "new\n"
    assert machine.ran == [["check", "one"], ["reload", "one"]]

    assert not machine.ensure(subject())["changed"]
    assert not machine.ensure(subject(), check_mode=True)["changed"]
    assert len(machine.ran) == 2


def test_a_rehearsal_passes_over_an_account_that_is_not_there_yet(machine):
    """A package would have made it by then; the run itself needs it."""
    assert machine.ensure(subject(group="no-such-group"), check_mode=True)["changed"]

    with pytest.raises(ValueError, match="no user or group no-such-group"):
        machine.ensure(subject(group="no-such-group"))


def test_what_commands_and_originals_leave_is_put_back_too(machine):
    """A change that failed leaves nothing: not what its commands wrote, not the copy of what was there before."""
    (machine.root / "etc/one").write_text("theirs\n")
    made = subject(original="/etc/one.before")
    write = f'test "$SECUREBOX_RESTORING" || echo made > {machine.root}/etc/made'
    made["apply"] = [["/bin/sh", "-c", write], ["reload", "one"]]
    machine.failing = {"reload"}

    with pytest.raises(RuntimeError, match="reload failed"):
        machine.ensure(made | {"touches": ["/etc/made"]})

    assert (machine.root / "etc/one").read_text() == "theirs\n"
    left = sorted(path.name for path in (machine.root / "etc").iterdir())
    assert left == ["one", "systemd"]


def test_only_what_changed_is_applied(machine):
    machine.ensure(subject("one"), subject("two"))
    machine.ran.clear()

    result = machine.ensure(subject("one"), subject("two", "newer\n"))

    assert result["subjects"] == ["two"]
    assert machine.ran == [["check", "two"], ["reload", "two"]]


@pytest.mark.parametrize("failing", ["check", "reload"])
def test_a_failure_puts_everything_back(machine, failing):
    machine.ensure(subject("one", "old\n"))
    machine.failing = {failing}

    with pytest.raises(RuntimeError, match=f"{failing} failed"):
        machine.ensure(subject("one"), subject("two"))

    assert (machine.root / "etc/one").read_text() == "old\n"
    assert not (machine.root / "etc/two").exists()
    # What the failed check kept from happening needs no undoing.
    assert ("reload one" in (machine.root / "log").read_text()) is (failing == "reload")


def test_a_wrong_mode_is_a_difference(machine):
    machine.ensure(subject())
    (machine.root / "etc/one").chmod(0o666)

    result = machine.ensure(subject())

    assert "mode 0666" in result["diff"][0]["before"]
    assert (machine.root / "etc/one").stat().st_mode & 0o777 == 0o644


def test_links_and_absence(machine):
    wanted = {"name": "zone", "check": [], "apply": [], "files": [
        {"path": "/etc/localtime", "link": "/usr/share/zoneinfo/Etc/UTC"}, {"path": "/etc/gone", "state": "absent"}]}
    (machine.root / "etc/gone").write_text("x")

    assert machine.ensure(wanted)["changed"]
    assert not machine.ensure(wanted)["changed"]
    assert (machine.root / "etc/localtime").is_symlink()
    assert not (machine.root / "etc/gone").exists()


CONFIRM = {"name": "ssh", "seconds": 90}


def test_a_change_that_waits_says_how_to_confirm_it(machine):
    result = machine.ensure(subject(), confirm=CONFIRM)

    assert "confirm" in result["rollback"]
    assert ["systemctl", "start", "securebox-rollback-ssh.timer"] in machine.ran


def test_a_run_cut_off_before_the_confirmation_is_confirmed_by_the_next(machine):
    machine.ensure(subject(), confirm=CONFIRM)

    again = machine.ensure(subject(), confirm=CONFIRM)

    assert not again["changed"]
    assert "rollback" in again


def test_check_mode_confirms_nothing(machine):
    machine.ensure(subject(), confirm=CONFIRM)

    assert "rollback" not in machine.ensure(subject(), confirm=CONFIRM, check_mode=True)
    assert "rollback" in machine.ensure(subject(), confirm=CONFIRM)


def test_without_a_timer_no_copy_reaches_the_disk(machine):
    """The old file may hold a secret, and its copy would lie beside the encrypted volume."""
    machine.ensure(subject(content="secret one\n", mode="0600"))
    copies = []

    def look(command):
        if command[0] == "check":
            copies.extend(path for path in machine.root.rglob("*") if path.is_file() and "one" in path.read_text())
        machine.run(command)

    file_set.ensure({"subjects": [subject(content="secret two\n", mode="0600")], "confirm": None}, look, False,
                    root=machine.root, owner=(os.getuid(), os.getgid()))

    assert any(machine.root / "run" in path.parents for path in copies)
    assert not [path for path in copies if machine.root / "var" in path.parents]


def test_a_run_cut_off_half_way_begins_at_the_beginning(machine):
    """Files may be written and their daemons not restarted: the next run must not take that for done."""
    def killed(command):
        if command[0] == "check":
            raise KeyboardInterrupt
        machine.run(command)

    with pytest.raises(KeyboardInterrupt):
        file_set.ensure({"subjects": [subject()], "confirm": None}, killed, False,
                        root=machine.root, owner=(os.getuid(), os.getgid()))
    assert (machine.root / "etc/one").exists()

    assert machine.ensure(subject())["changed"]
    assert ["reload", "one"] in machine.ran


def test_nothing_waits_when_nothing_changed(machine):
    machine.ensure(subject())
    assert "rollback" not in machine.ensure(subject(), confirm=CONFIRM)


def test_a_file_belongs_to_whom_it_is_given(machine):
    """By name or number; only what differs is a change."""
    own = {"owner": str(os.getuid()), "group": grp.getgrgid(os.getgid()).gr_name}

    assert machine.ensure(subject(**own))["changed"]
    assert not machine.ensure(subject(**own))["changed"]
    assert machine.ensure(subject(**own | {"group": "12345"}), check_mode=True)["changed"]


def test_an_unknown_owner_is_named_before_anything_is_written(machine):
    with pytest.raises(ValueError, match="/etc/one: this machine has no user or group nobody-of-that-name"):
        machine.ensure(subject("zero"), subject(owner="nobody-of-that-name"))
    assert not (machine.root / "etc/zero").exists()


def lines(*edits, path="/etc/one", **more):
    return {"name": "one", "files": [{"path": path, "lines": list(edits), **more}], "check": [], "apply": []}


@pytest.mark.parametrize(("edit", "after"), [
    ({"match": "^b=", "line": "b=2"}, "a=1\nb=2\nc=3\n"),
    ({"match": "^d=", "line": "d=4"}, "a=1\nb=1\nb=9\nc=3\nd=4\n"),
    ({"match": "^b="}, "a=1\nc=3\n"),
    ({"match": "^d="}, "a=1\nb=1\nb=9\nc=3\n"),
    ({"match": "^b=", "line": "b=1", "prefix": True}, "a=1\nb=1\nc=3\n"),
    ({"match": "^c=", "line": "c=", "prefix": True}, "a=1\nb=1\nb=9\nc=3\n"),
    ({"match": "^c=", "line": "c=", "secret": "7"}, "a=1\nb=1\nb=9\nc=7\n"),
], ids=["replaced", "added", "removed", "nothing to remove", "kept", "kept longer", "with a secret"])
def test_single_lines_of_somebody_elses_file(machine, edit, after):
    """All lines that match are one setting; mode, owner and all other lines stay; the second time nothing changes."""
    path = machine.root / "etc/one"
    path.write_text("a=1\nb=1\nb=9\nc=3\n")
    path.chmod(0o640)

    machine.ensure(lines(edit))

    assert path.read_text() == after
    assert path.stat().st_mode & 0o777 == 0o640
    assert not machine.ensure(lines(edit))["changed"]


def test_lines_of_a_missing_file_are_not_missed_unless_it_is_to_be_made(machine):
    assert not machine.ensure(lines({"match": "^a", "line": "a"}, path="/etc/none"))["changed"]
    assert not (machine.root / "etc/none").exists()

    machine.ensure(lines({"match": "^a", "line": "a"}, path="/etc/none", create=True, mode="0600"))
    assert (machine.root / "etc/none").read_text() == "a\n"
    assert (machine.root / "etc/none").stat().st_mode & 0o777 == 0o600


def test_a_bad_pattern_is_named_before_anything_is_written(machine):
    (machine.root / "etc/one").write_text("x\n")
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        machine.ensure(subject("zero"), lines({"match": "(", "line": "x"}))
    assert not (machine.root / "etc/zero").exists()


def test_secrets_are_in_no_difference(machine):
    """Neither the new one nor the one that was there before."""
    secret = {"name": "one", "files": [{"path": "/etc/one", "secret_content": "new-secret"}], "check": [], "apply": []}
    (machine.root / "etc/one").write_text("old-secret\n")

    result = machine.ensure(secret)
    line = machine.ensure(lines({"match": "^k", "line": "k ", "secret": "line-secret"}, path="/etc/two", create=True))

    assert (machine.root / "etc/one").read_text() == "new-secret"
    assert (machine.root / "etc/two").read_text() == "k line-secret\n"
    assert result["diff"]
    assert line["diff"]
    assert "secret" not in str(result["diff"]).replace("other secret content", "").replace("secret content", "")
    assert "line-secret" not in str(line["diff"])


def test_what_somebody_else_wrote_is_kept_once(machine):
    """The first state is the one that somebody may want back; our own earlier one is not."""
    def wanted(content):
        file = {"path": "/etc/one", "content": content, "original": "/etc/one.before"}
        return {"name": "one", "files": [file], "check": [], "apply": []}

    (machine.root / "etc/one").write_text("theirs\n")
    machine.ensure(wanted("first\n"))
    machine.ensure(wanted("second\n"))

    assert (machine.root / "etc/one").read_text() == "second\n"
    assert (machine.root / "etc/one.before").read_text() == "theirs\n"


def test_a_private_umask_hides_no_directory(machine):
    """sshd reads keys as their owner, and other daemons are not root either."""
    before = os.umask(0o077)
    try:
        machine.ensure({"name": "deep", "files": [{"path": "/etc/a/b/c", "content": "x"}], "check": [], "apply": []})
    finally:
        os.umask(before)

    assert [(machine.root / path).stat().st_mode & 0o777 for path in ("etc/a", "etc/a/b", "etc/a/b/c")] == [
        0o755, 0o755, 0o644]


def test_a_file_is_shown_but_for_its_secrets(machine):
    """Who reads a difference wants to know what else changed; also when the secret is new, another, or gone."""
    def written(secret=None, peer="alice"):
        line = f"PresharedKey = {secret}\n" if secret else ""
        kind = "secret_content" if secret else "content"
        file = {"path": "/etc/one", "secret_lines": "^PresharedKey = ", kind: f"# {peer}\n{line}"}
        [diff] = machine.ensure({"name": "one", "files": [file], "check": [], "apply": []})["diff"]
        return diff["before"], diff["after"]

    assert written() == ("", "# alice\n")
    assert written("first-key") == ("# alice\n", "# alice\nPresharedKey = (secret)\n")
    before, after = written("other-key")
    assert before != after
    assert "key" not in (before + after).replace("PresharedKey", "")
    assert written(peer="bob") == ("# alice\nPresharedKey = (secret)\n", "# bob\n")
