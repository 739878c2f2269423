# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `securebox`: its order, its checks, its words, on a machine that is not there."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from encrypted_volume_machine import Machine

ROOT = Path(__file__).parents[4]
sys.path.insert(0, str(ROOT / "roles/encrypted_volume/files/usr/local/lib"))
import securebox  # noqa: E402

# On the box, the role puts these two files into the same directory.
securebox.__path__.append(str(ROOT / "plugins/module_utils"))

from securebox import attention, cli, dependents  # noqa: E402
from securebox import box as order  # noqa: E402
from securebox.encrypted_volume_system import Mapping, Result, VolumeError  # noqa: E402

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
SECRET = b"secret"


class Clock:
    """Time that passes only when somebody sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Typed:
    def __init__(self, *answers: bytes, can_retry: bool = False) -> None:
        self.answers, self.can_retry, self.asked = list(answers), can_retry, 0

    def read(self) -> bytes:
        self.asked += 1
        return self.answers.pop(0)


class Quiet:
    def begin(self, step: str) -> None:
        pass

    def end(self, step: str, seconds: float, note: str) -> None:
        pass


class Site:
    """A box like the example's: database, application, and a proxy that is kept running."""

    def __init__(self, directory: Path) -> None:
        self.machine = Machine()
        self.file, self.config = directory / "data.luks", directory / "box.json"
        self.mount_point = directory / "srv"
        self.volume = {"name": "box", "file": str(self.file), "uuid": UUID, "mount_point": str(self.mount_point)}
        self.needs = [
            {"name": "db1", "instance": "db1", "ready": ["is-it-ready"], "timeout": 30},
            {"name": "app1", "unit": "app.service", "timeout": 30},
            {"name": "proxy1", "instance": "proxy1", "keep": True, "open": ["page", "off"], "close": ["page", "on"]},
        ]
        self.machine.running.add("proxy1")
        from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume import Spec, Volume

        made = Volume(Spec.build({**self.volume, "size": "64M"}), self.machine)
        made.allocate(made.observe())
        self.machine.run(made.format_command().argv, secret=SECRET)
        self.machine.run(["cryptsetup", "config", "--label", "box", "--", str(self.file)])
        self.machine.log.clear()

    def box(self, check: bool = False) -> order.Box:
        self.config.write_text(json.dumps({"volume": self.volume, "dependents": self.needs}))
        box = order.load(str(self.config), Quiet(), check, self.machine)
        for dependent in box.dependents:
            dependent.clock = Clock()
        return box

    def unlock(self, *answers: bytes, **options) -> order.Box:
        box = self.box(options.pop("check", False))
        box.unlock(Typed(*answers), **options)
        return box


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def names(box: order.Box, changed: bool = True) -> list[str]:
    return [step["name"] for step in box.steps if step["changed"] or not changed]


# -- unlocking ---------------------------------------------------------------------------------------------------


def test_unlocking_goes_through_the_steps_in_order(site):
    box = site.unlock(SECRET)
    assert names(box, changed=False) == [
        *("identify", "open", "check", "mount"),
        *("start db1", "ready db1", "start app1", "start proxy1", "open proxy1"),
    ]
    assert names(box) == ["open", "mount", "start db1", "start app1"]
    assert box.status()["state"] == "unlocked"


def test_unlocking_again_changes_nothing_and_asks_nothing(site):
    site.unlock(SECRET)
    again = site.unlock()
    assert not again.changed


def test_the_check_of_unlocking_tries_the_passphrase_only(site):
    assert names(site.unlock(SECRET, check=True)) == ["open", "check", "mount", "start db1", "start app1"]
    assert site.machine.open == []
    assert site.machine.running == {"proxy1"}
    with pytest.raises(order.StepFailed, match="does not open"):
        site.unlock(b"wrong", check=True)


def test_only_the_volume_can_be_unlocked(site):
    site.unlock(SECRET, volume_only=True)
    assert site.machine.mounted
    assert "db1" not in site.machine.running


def test_a_wrong_passphrase_from_a_pipe_is_tried_once(site):
    box, typed = site.box(), Typed(b"wrong", SECRET)
    with pytest.raises(order.StepFailed, match=UUID) as failed:
        box.unlock(typed)
    assert (failed.value.step, typed.asked, box.changed) == ("open", 1, False)


def test_a_person_may_mistype_twice(site):
    site.box().unlock(Typed(b"wrong", b"again", SECRET, can_retry=True))
    assert site.machine.mounted


def test_a_person_may_not_mistype_for_ever(site):
    typed = Typed(*[b"wrong"] * 9, can_retry=True)
    with pytest.raises(order.StepFailed):
        site.box().unlock(typed)
    assert typed.asked == 3


def test_the_wrong_volume_is_refused_before_the_passphrase_is_asked(site):
    site.volume["uuid"] = UUID.replace("6e", "7e")
    typed = Typed(SECRET)
    with pytest.raises(order.StepFailed, match="is expected") as failed:
        site.box().unlock(typed)
    assert (failed.value.step, typed.asked) == ("identify", 0)


def test_a_foreign_mount_is_refused(site):
    """An ordinary disk on the mount point would take patient data in clear."""
    site.machine.mounted.append((str(site.mount_point), "8:1"))
    with pytest.raises(order.StepFailed, match="not CRYPT-LUKS2-"):
        site.unlock(SECRET)
    assert "db1" not in site.machine.running


def test_a_plain_mapping_of_the_right_name_is_refused(site):
    site.machine.open.append(Mapping("box", "CRYPT-PLAIN-box", "253:9", 1, str(site.file)))
    with pytest.raises(order.StepFailed, match="CRYPT-PLAIN"):
        site.unlock(SECRET)


@pytest.mark.parametrize(
    ("command", "step", "message"),
    [
        ("e2fsck", "check", "need a decision"),
        ("mount", "mount", "mount --types ext4"),
        ("lxc start db1", "start db1", "did not start"),
        ("lxc exec db1", "ready db1", "not ready within 30 s"),
        ("systemctl start", "start app1", r"journalctl --boot -n 50 -u app\.service"),
        ("lxc exec proxy1", "open proxy1", "page off in proxy1 failed"),
    ],
)
def test_a_failure_names_its_step_and_running_again_repairs(site, command, step, message):
    site.machine.fail[command] = Result(4, "", "broken")
    with pytest.raises(order.StepFailed, match=message) as failed:
        site.unlock(SECRET)
    assert failed.value.step == step
    site.machine.fail.clear()
    assert site.unlock(SECRET).status()["state"] == "unlocked"


def test_readiness_is_waited_for(site):
    site.machine.ready_after = 5
    assert site.unlock(SECRET).status()["dependents"][0]["ready"]


def test_what_stops_while_it_is_waited_for_is_not_waited_for(site):
    site.machine.ready_after = 9
    need = dependents.build(site.needs[0], site.machine)
    need.clock = Clock()
    with pytest.raises(VolumeError, match="stopped while it was waited for"):
        need.wait_until_ready()
    assert need.clock.now == 0


def test_a_unit_whose_condition_is_not_met_did_not_start(site):
    site.machine.fail["systemctl start"] = Result(0, "", "")
    with pytest.raises(order.StepFailed, match="it is not active"):
        site.unlock(SECRET)


@pytest.mark.parametrize(("printed", "changed"), [("changed\n", True), ("ok\n", False), ("", False)])
def test_open_commands_say_whether_they_changed_something(site, printed, changed):
    site.unlock(SECRET)
    site.machine.fail["lxc exec proxy1"] = Result(0, printed, "")
    assert site.unlock().changed is changed


# -- locking -----------------------------------------------------------------------------------------------------


def test_locking_is_the_exact_reverse(site):
    site.unlock(SECRET)
    box = site.box()
    box.lock()
    assert names(box, changed=False) == ["close proxy1", "stop app1", "stop db1", "unmount", "close"]
    assert (site.machine.open, site.machine.mounted, site.machine.running) == ([], [], {"proxy1"})
    assert box.status()["state"] == "locked"
    again = site.box()
    again.lock()
    assert not again.changed


def test_the_check_of_locking_stops_nothing(site):
    site.unlock(SECRET)
    box = site.box(check=True)
    box.lock()
    assert names(box) == ["stop app1", "stop db1", "unmount", "close"]
    assert site.machine.mounted


def test_nothing_is_ever_killed(site):
    """A database that does not stop keeps its volume: a locked box is not worth a broken cluster."""
    site.unlock(SECRET)
    site.machine.fail["lxc stop db1"] = Result(1, "", "context deadline exceeded")
    with pytest.raises(order.StepFailed, match="was not killed") as failed:
        site.box().lock()
    assert failed.value.step == "stop db1"
    assert site.machine.mounted
    assert not site.machine.ran("--force")
    site.machine.fail.clear()
    site.box().lock()
    assert site.machine.open == []


def test_a_busy_mount_names_the_processes(site):
    site.unlock(SECRET)
    site.machine.fail["umount"] = Result(32, "", "busy")
    with pytest.raises(order.StepFailed, match=r"less \(pid 42"):
        site.box().lock()


# -- what was killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [{"size": 0, "backing": "/dev/"}, {"size": 0}, {"suspended": True}])
def test_what_a_killed_cryptsetup_left_is_recovered(site, half):
    site.unlock(SECRET, volume_only=True)
    if half.get("size") == 0:
        site.machine.mounted.clear()
    site.machine.interrupt(**half)
    status = site.box().status()
    assert (status["state"], status["volume"]["state"]) == ("degraded", "interrupted")
    assert "is half open" in cli.words(status)
    assert names(site.unlock(SECRET, check=True))[0] == "recover"
    assert site.machine.open[-1].interrupted
    assert site.unlock(SECRET).status()["state"] == "unlocked"

    site.machine.interrupt(**half)
    site.machine.mounted = site.machine.mounted if half.get("suspended") else []
    box = site.box()
    box.lock()
    assert "recover" in names(box)
    assert (box.status()["state"], site.machine.open) == ("locked", [])


# -- status ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda site: site.machine.running.discard("db1"), "db1 is not running"),
        (lambda site: site.machine.mounted.clear(), "is open, but not mounted"),
        (lambda site: site.file.unlink(), "does not exist"),
        (lambda site: setattr(site.machine, "ready_after", 1), "db1 is running, but not ready"),
        (lambda site: (site.machine.open.clear(), site.machine.mounted.clear()), "db1 is running without the volume"),
    ],
)
def test_what_is_wrong_is_said(site, spoil, problem):
    site.unlock(SECRET)
    assert site.box().status()["problems"] == []
    spoil(site)
    status = site.box().status()
    assert status["state"] == "degraded"
    assert any(problem in found for found in status["problems"])
    assert problem in cli.words(status)


# -- what is not wrong yet ---------------------------------------------------------------------------------------


def says(*lines: str) -> Result:
    return Result(1 if lines else 0, json.dumps({"support": [], "attention": list(lines)}), "")


def attention_of(site) -> list[str]:
    box = site.box()
    return attention.look(site.machine, box.dependents, box.status()["dependents"])


def test_what_needs_attention_is_said_with_its_machine(site):
    site.unlock(SECRET)
    site.machine.fail["hardening-support"] = says("Debian 12: supported until 2028-06-30, 9 days left (Debian LTS)")
    inside = " ".join(["lxc exec db1 --mode=non-interactive --", *dependents.LINGER])
    site.machine.fail[f"{inside} /usr/local/sbin/hardening-support"] = says("a", "b")
    assert attention_of(site) == [
        "host: Debian 12: supported until 2028-06-30, 9 days left (Debian LTS)",
        *("db1: a", "db1: b"),
    ]
    site.machine.log.clear()
    assert site.box().status()["state"] == "unlocked"
    assert not site.machine.ran("hardening-support"), "unlocking waits for nothing that it does not need"


def test_a_container_that_does_not_run_is_not_asked(site):
    attention_of(site)
    assert site.machine.ran("exec proxy1")
    assert not site.machine.ran("exec db1")


@pytest.mark.parametrize(("code", "out"), [(127, ""), (124, ""), (0, "[]"), (0, '{"attention": 1}'), (2, "broken")])
def test_a_machine_that_cannot_tell_is_in_nobodys_way(site, code, out):
    site.machine.fail["hardening-support"] = Result(code, out, "")
    assert attention_of(site) == []


def test_a_box_without_the_program_has_a_status(site, monkeypatch):
    def gone(*_arguments, **_options):
        raise VolumeError("hardening-support is not installed")

    box = site.box()
    found = box.status()["dependents"]
    monkeypatch.setattr(site.machine, "run", gone)
    assert attention.look(site.machine, box.dependents, found) == []


# -- the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def command(site, monkeypatch, tmp_path, capsys):
    """Run `securebox` with its real arguments, standard input and output."""
    monkeypatch.setattr(cli, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(cli.os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(order, "System", lambda: site.machine)
    site.box()

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(cli.sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main(["--config", str(site.config), *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("typed", [SECRET, SECRET + b"\n"])
def test_exit_codes_and_words(command, typed):
    code, out, _err = command("status")
    assert code == 3
    assert "The box is locked." in out
    code, out, _err = command("unlock", stdin=typed)
    assert code == 0
    assert "unlocked in" in out
    code, out, _err = command("status")
    assert code == 0
    assert "running, ready" in out
    assert command("lock")[0] == 0


def test_the_status_shows_what_needs_attention(command, site):
    site.machine.fail["hardening-support"] = says("needs restart: kernel 6.1.0-39-amd64 runs, …")
    code, out, _err = command("status")
    assert code == 3
    assert "\n  attention: host: needs restart: kernel 6.1.0-39-amd64 runs" in out
    assert json.loads(command("status", "--json")[1])["attention"][0].startswith("host: needs restart")


def test_one_newline_is_stripped_and_no_more(command):
    assert command("unlock", stdin=SECRET + b"\n\n")[0] == 1


def test_json_is_one_object_and_progress_goes_elsewhere(command):
    code, out, err = command("unlock", "--json", stdin=b"wrong")
    assert code == 1
    answer = json.loads(out)
    assert (answer["failed_step"], answer["changed"]) == ("open", False)
    assert "FAILED at step open" in err
    code, out, err = command("unlock", "--json", stdin=SECRET)
    answer = json.loads(out)
    assert (code, answer["failed_step"], answer["changed"], answer["state"]) == (0, None, True, "unlocked")
    assert answer["steps"][1]["name"] == "open"
    assert "open" in err


def test_two_at_once_are_refused(command, site, tmp_path):
    with cli.alone():
        code, out, _err = command("unlock", "--json", stdin=SECRET)
    assert code == 1
    assert "another securebox is at work" in json.loads(out)["message"]
    assert command("unlock", stdin=SECRET)[0] == 0


def test_a_missing_configuration_says_who_writes_it(command, site):
    site.config.unlink()
    code, _out, err = command("status")
    assert code == 1
    assert "the role encrypted_volume writes it" in err


def test_it_needs_root(command, monkeypatch):
    monkeypatch.setattr(cli.os, "geteuid", lambda: 1000)
    code, _out, err = command("unlock")
    assert code == 1
    assert "sudo securebox unlock" in err


def test_a_dependent_is_an_instance_or_a_unit(site):
    site.needs.append({"name": "x"})
    with pytest.raises(VolumeError, match="exactly one of instance and unit"):
        site.box()
