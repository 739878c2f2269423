# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half: where the passphrase comes from, where it goes, and what is kept of the header."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsiblePromptNoninteractive
from ansible_collections.securebox.stack.plugins.action import box as box_action
from ansible_collections.securebox.stack.plugins.action import encrypted_volume as volume_action
from ansible_collections.securebox.stack.plugins.plugin_utils import header_backup, passphrase

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
HEADER = b"LUKS\xba\xbe" + bytes(1000)
SECRET = '-it\'s "a" pässphrase $HOME'


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """The cost of scrypt is for attackers."""
    monkeypatch.setattr(header_backup, "COST", {"n": 2, "r": 1, "p": 1})


class Templar:
    def template(self, value):
        return value


class Task:
    def __init__(self, args, check_mode=False):
        self.args, self.check_mode, self.async_val = args, check_mode, 0


class Shell:
    tmpdir = "/unused"
    quote = staticmethod(shlex.quote)


class Connection:
    _shell = Shell()

    def __init__(self):
        self.fetched = []

    def fetch_file(self, source, target):
        self.fetched.append(source)
        Path(target).write_bytes(gzip.compress(HEADER))


def action(cls, args, answers, rc=0, check_mode=False):
    """An action plugin whose target answers from a list, and that writes down what it was sent."""

    class Here(cls):
        def __init__(self):
            self._task, self._templar, self._connection = Task(args, check_mode), Templar(), Connection()
            self.modules, self.commands = [], []

        def _execute_module(self, module_name=None, module_args=None, task_vars=None):
            self.modules.append(module_args)
            return answers.pop(0)

        def _low_level_execute_command(self, cmd, in_data=None):
            self.commands.append((cmd, in_data))
            stdout = "" if cls is volume_action.ActionModule else answers.pop(0)
            return {"rc": rc, "stdout": stdout, "stderr": "No key available"}

    return Here()


def answer(**more):
    return {"changed": True, "volume": {"header_digest": "d1"}, "diff": {"before": {}, "after": {}}, **more}


OPEN = {"step": "open", "argv": ["/usr/sbin/cryptsetup", "open", "--", "/a b", "vault"]}
ARGS = {"name": "vault", "uuid": UUID, "state": "open"}


def run(plugin, **variables):
    return plugin.run(task_vars={"inventory_hostname": "files1", **variables})


# -- the passphrase's way ----------------------------------------------------------------------------------------


@pytest.mark.control("SEC-1")
@pytest.mark.parametrize("typed", [SECRET, SECRET + "\n"])
def test_the_passphrase_goes_into_standard_input_and_nowhere_else(typed):
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=OPEN), answer(changed=False)])
    result = run(plugin, encrypted_volume_passphrase=typed)
    assert plugin.commands == [("/usr/sbin/cryptsetup open -- '/a b' vault", SECRET.encode())]
    assert result["changed"]
    for shown in (plugin.modules, result):
        assert "pässphrase" not in json.dumps(shown, ensure_ascii=False)


def test_the_passphrase_is_not_looked_up_when_it_is_not_needed():
    class Trap(Templar):
        def template(self, value):
            raise AssertionError("looked up")

    plugin = action(volume_action.ActionModule, ARGS, [answer(changed=False)])
    plugin._templar = Trap()
    assert not run(plugin, encrypted_volume_passphrase=SECRET)["changed"]


def test_check_mode_runs_one_round():
    test = {**OPEN, "step": "test"}
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=test)], check_mode=True)
    assert run(plugin, encrypted_volume_passphrase=SECRET)["changed"]
    assert len(plugin.commands) == 1


def test_a_wrong_passphrase_is_not_tried_again():
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=OPEN)], rc=2)
    with pytest.raises(AnsibleActionFail, match="does not open volume vault of files1"):
        run(plugin, encrypted_volume_passphrase="wrong")
    assert len(plugin.commands) == 1


def test_it_never_runs_for_ever():
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=OPEN) for _ in range(9)])
    with pytest.raises(AnsibleActionFail, match="does not come to rest"):
        run(plugin, encrypted_volume_passphrase=SECRET)


@pytest.mark.parametrize("value", [1234, True, ["a"]])
def test_a_passphrase_is_a_string(value):
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=OPEN)])
    with pytest.raises(AnsibleActionFail, match="quotes around") as failed:
        run(plugin, encrypted_volume_passphrase=value)
    assert "1234" not in str(failed.value)


@pytest.mark.parametrize("variables", [{}, {"encrypted_volume_passphrase": ""}, {"encrypted_volume_passphrase": None}])
def test_without_a_variable_and_a_terminal_the_error_says_so(monkeypatch, variables):
    def prompt(*_args, **_options):
        raise AnsiblePromptNoninteractive("stdin is not interactive")

    monkeypatch.setattr(passphrase.display, "prompt_until", prompt)
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command=OPEN)])
    with pytest.raises(AnsibleActionFail, match=r"encrypted_volume_passphrase is undefined or empty.*no terminal"):
        run(plugin, **variables)


@pytest.mark.parametrize(
    ("step", "typed", "expected"),
    [("open", [b"one"], b"one"), ("format", [b"one", b"one"], b"one"), ("format", [b"one", b"two"], None)],
)
def test_the_passphrase_is_asked_without_echo_and_twice_for_a_new_volume(monkeypatch, step, typed, expected):
    def prompt(_question, private):
        assert private
        return typed.pop(0)

    monkeypatch.setattr(passphrase.display, "prompt_until", prompt)
    plugin = action(volume_action.ActionModule, ARGS, [answer(secret_command={**OPEN, "step": step}), answer()])
    if expected is None:
        with pytest.raises(AnsibleActionFail, match="differ"):
            run(plugin)
        assert plugin.commands == []
    else:
        run(plugin)
        assert plugin.commands[0][1] == expected
    assert typed == []


# -- the header's backup -----------------------------------------------------------------------------------------


def exporting(tmp_path, rc=0):
    test = {"step": "test", "argv": ["cryptsetup", "open", "--test-passphrase"]}
    found = answer(header_export="/run/encrypted_volume.x/header.gz", test_command=test)
    args = {**ARGS, "header_backup": str(tmp_path / "backups")}
    return action(volume_action.ActionModule, args, [found], rc=rc)


@pytest.mark.control("ENC-4")
def test_the_header_is_kept_encrypted_and_opens_with_the_passphrase(tmp_path):
    plugin = exporting(tmp_path)
    result = run(plugin, encrypted_volume_passphrase=SECRET)
    backup = Path(result["header_backup"])
    assert backup.name == "files1-vault-d1.luksheader.vault"
    assert (backup.stat().st_mode & 0o777, backup.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert backup.read_text().startswith(f"$ANSIBLE_VAULT;1.2;AES256;{UUID}\n")
    assert header_backup.unseal(backup.read_bytes(), SECRET.encode()) == HEADER
    with pytest.raises(header_backup.AnsibleVaultError):
        header_backup.unseal(backup.read_bytes(), b"wrong")
    assert plugin.commands[-1][0] == "rm -r -- /run/encrypted_volume.x"
    assert header_backup.known_digests(str(backup.parent), "files1", "vault") == ["d1"]
    assert header_backup.known_digests(str(backup.parent), "files", "vault") == []


def test_a_backup_is_never_sealed_with_a_passphrase_that_does_not_open_it(tmp_path):
    plugin = exporting(tmp_path, rc=2)
    with pytest.raises(AnsibleActionFail, match="does not open"):
        run(plugin, encrypted_volume_passphrase="mistyped")
    assert not (tmp_path / "backups").exists()
    assert plugin.commands[-1][0].startswith("rm -r")


def test_what_is_no_header_is_not_kept():
    with pytest.raises(ValueError, match="no LUKS header"):
        header_backup.seal(gzip.compress(b"<html>"), b"x", UUID)


def test_the_program_decrypts_a_backup(tmp_path, monkeypatch, capsys):
    backup, header = tmp_path / "x.luksheader.vault", tmp_path / "header"
    backup.write_bytes(header_backup.seal(gzip.compress(HEADER), SECRET.encode(), UUID))
    monkeypatch.setattr(header_backup.sys, "argv", ["header_backup.py", str(backup), str(header)])
    monkeypatch.setattr(header_backup.getpass, "getpass", lambda _question: "wrong")
    with pytest.raises(SystemExit, match="does not open"):
        header_backup.main()
    assert not header.exists()
    monkeypatch.setattr(header_backup.getpass, "getpass", lambda _question: SECRET)
    header_backup.main()
    assert header.read_bytes() == HEADER
    assert "luksHeaderRestore" in capsys.readouterr().out


# -- the box -----------------------------------------------------------------------------------------------------


def status(device):
    return "noise of a login script\n" + json.dumps({"state": "x", "volume": {"device": device}})


def boxed(state, answers, check_mode=False, **args):
    plugin = action(box_action.ActionModule, {"state": state, **args}, answers, check_mode=check_mode)
    plugin.validate_argument_spec = lambda argument_spec: (
        None,
        {"volume_only": False, "passphrase_variable": "encrypted_volume_passphrase", **plugin._task.args},
    )
    return plugin


def test_unlocking_streams_the_passphrase_into_the_command():
    plugin = boxed("unlocked", [status(None), json.dumps({"changed": True, "failed_step": None, "steps": []})])
    assert run(plugin, encrypted_volume_passphrase=SECRET)["changed"]
    assert plugin.commands == [
        ("/usr/local/sbin/securebox status --json", None),
        ("/usr/local/sbin/securebox unlock --json", SECRET.encode()),
    ]


def test_an_open_volume_needs_no_passphrase():
    plugin = boxed("unlocked", [status("/dev/mapper/x"), json.dumps({"changed": False})], volume_only=True)
    assert not run(plugin)["changed"]
    assert plugin.commands[1] == ("/usr/local/sbin/securebox unlock --volume-only --json", None)


def test_check_mode_is_the_commands_own():
    plugin = boxed("locked", [json.dumps({"changed": True})], check_mode=True)
    assert run(plugin)["changed"]
    assert plugin.commands == [("/usr/local/sbin/securebox lock --check --json", None)]


def test_a_failed_step_fails_the_task_by_its_name():
    failed = json.dumps({"changed": True, "failed_step": "ready app1", "message": "not ready within 900 s"})
    result = run(boxed("unlocked", [status("/dev/mapper/x"), failed]))
    assert result["failed"]
    assert result["msg"] == "Failed at step ready app1: not ready within 900 s"


def test_a_box_without_the_command_says_what_to_run():
    with pytest.raises(AnsibleActionFail, match=r"run site\.yml first"):
        run(boxed("status", [""]))
