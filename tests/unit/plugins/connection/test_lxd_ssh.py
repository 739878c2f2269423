# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection into containers, with programs in the place of ssh, sudo and lxc: what they get is what counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.playbook.play_context import PlayContext
from ansible.plugins.doc_fragments.connection_pipelining import ModuleDocFragment as Pipelining
from ansible_collections.securebox.stack.plugins.connection import lxd_ssh
from ansible_collections.securebox.stack.plugins.doc_fragments.lxd import ModuleDocFragment

SSH = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
path = f"{{here}}:{{os.environ['PATH']}}"
# As sshd does: a shell gets the last argument as one line.
sys.exit(subprocess.run(["/bin/sh", "-c", sys.argv[-1]], env={{**os.environ, "PATH": path}}).returncode)
"""
SUDO = '#!/bin/sh\nshift\nexec "$@"\n'
LXC = """#!/bin/sh
# lxc exec -T [--project P] NAME -- COMMAND: in this directory, for there is no container.
printf '%s\\n' "$*" >> "$(dirname "$0")/lxc-calls"
[ -z "$LXC_SAYS" ] || { echo "$LXC_SAYS" >&2; exit "${LXC_EXIT:-1}"; }
while [ "$1" != -- ]; do shift; done
shift
case "$LXC_LOSES" in
stdout) "$@" > /dev/null ;;
stderr) "$@" 2> /dev/null ;;
*) exec "$@" ;;
esac
"""
STRANGE = ["plain", "two words", "it's", 'say "x"', "a`b`", "$HOME", "x;y&z|", "new\nline", "-dash", "täst", "b\\s"]
NAME = "securebox.stack.lxd_ssh"
OPTIONS = {
    key: value
    for text in (Pipelining.DOCUMENTATION, ModuleDocFragment.SSH, lxd_ssh.DOCUMENTATION)
    for key, value in yaml.safe_load(text)["options"].items()
}


class Box:
    """A directory of stand-ins, and the connection that goes through them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.monkeypatch = directory, monkeypatch
        for name, text in {"ssh": SSH, "sudo": SUDO, "lxc": LXC}.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        (directory / "inside").mkdir()

    def connect(self, user: str = "admin", **variables):
        # What Ansible's plugin loader does, without making all imports its own for the tests that follow.
        C.config.initialize_plugin_configuration_definitions("connection", NAME, OPTIONS)
        lxd_ssh.Connection._load_name = NAME
        connection = lxd_ssh.Connection(PlayContext(), os.devnull)
        variables = {
            "inventory_hostname": "web1", "ansible_host": "box.example.org", "ansible_ssh_args": "",
            "ansible_ssh_executable": str(self.directory / "ssh"), "ansible_user": user, **variables,
        }
        connection.set_options(var_options=variables)
        connection.become = None
        return connection

    def says(self, text: str, code: int = 1) -> None:
        self.monkeypatch.setenv("LXC_SAYS", text)
        self.monkeypatch.setenv("LXC_EXIT", str(code))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.directory / "calls").read_text().splitlines()]

    def lxc_calls(self) -> str:
        return (self.directory / "lxc-calls").read_text()

    def inside(self, name: str) -> str:
        return str(self.directory / "inside" / name)


@pytest.fixture
def box(tmp_path, monkeypatch):
    return Box(tmp_path, monkeypatch)


@pytest.mark.parametrize("text", STRANGE)
def test_a_command_arrives_as_it_was_written(box, text):
    """Two shells lie on the way, the box's and the container's; neither may touch what the third is to see."""
    code, out, err = box.connect().exec_command("printf '%s' " + "'" + text.replace("'", "'\\''") + "'")

    assert (code, out, err) == (0, text.encode(), b"")


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 254, 255])
def test_the_commands_own_exit_code_comes_back(box, code):
    """255 too, which ssh answers when it fails itself: a command must not look like a broken connection."""
    assert box.connect().exec_command(f"echo out; echo err >&2; exit {code}") == (code, b"out\n", b"err\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_lxd_loses_is_no_success(box, stream):
    """An empty answer would be taken for the command's own: a file without content, a module that said nothing."""
    box.monkeypatch.setenv("LXC_LOSES", stream)

    with pytest.raises(AnsibleConnectionFailure, match=r"lost what a command in web1 has said.*run the playbook again"):
        box.connect().exec_command("echo out")


def test_a_command_whose_container_goes_down_has_no_end(box):
    """Killed, as by a reboot: what it has said until then counts."""
    assert box.connect().exec_command("echo out; kill -KILL $PPID; sleep 1")[:2] == (137, b"out\n")


def test_what_is_written_behind_the_end_is_kept(box):
    """By something in the background, which still has the output."""
    code, out, _ = box.connect().exec_command("(sleep 0.5; echo late) & echo early")

    assert (code, out) == (0, b"early\nlate\n")


def test_ssh_failing_is_a_broken_connection(box):
    (box.directory / "ssh").write_text("#!/bin/sh\necho 'Connection refused' >&2; exit 255\n")

    with pytest.raises(AnsibleConnectionFailure, match="Connection refused"):
        box.connect().exec_command("true")


def test_lxc_ending_with_255_is_a_broken_connection(box):
    box.says("Error: websocket: close 1006", 255)

    with pytest.raises(AnsibleConnectionFailure, match="websocket"):
        box.connect().exec_command("true")


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, b"x\n") for name in STRANGE]
    + [("plain", b""), ("plain", b"\0\xff\r\n\n"), ("plain", b"x" * 300_000), ("plain", bytes(range(256)) * 64)],
)
def test_files_travel_byte_by_byte(box, tmp_path, name, content):
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content)
    connection = box.connect()

    connection.put_file(str(source), box.inside(name))
    connection.fetch_file(box.inside(name), str(back))

    assert Path(box.inside(name)).read_bytes() == back.read_bytes() == content


def test_a_file_that_cannot_be_written_or_read_is_an_error(box, tmp_path):
    (tmp_path / "source").write_text("x")
    connection = box.connect()

    with pytest.raises(AnsibleError, match=r"web1: could not put .*source as .*nowhere/x: "):
        connection.put_file(str(tmp_path / "source"), box.inside("nowhere/x"))
    with pytest.raises(AnsibleFileNotFound):
        connection.fetch_file(box.inside("nowhere"), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


def test_what_is_sent_is_in_no_argument(box):
    """Passphrases go this way: whoever lists processes, on either side, must not see them."""
    code, out, _ = box.connect().exec_command("cat", in_data=b"correct horse battery staple")

    assert (code, out) == (0, b"correct horse battery staple")
    assert "horse" not in json.dumps(box.calls()) + box.lxc_calls()


def test_one_command_is_one_connection(box):
    connection = box.connect()
    connection.exec_command("true")

    assert len(box.calls()) == 1


def test_no_terminal_is_asked_for(box):
    """One would mix the outputs and change line ends."""
    box.connect(ansible_ssh_use_tty=True).exec_command("true", sudoable=True)

    assert "-tt" not in box.calls()[0]


@pytest.mark.parametrize(
    ("user", "variables", "begin"),
    [
        ("admin", {}, "sudo -n lxc exec -T web1 -- "),
        ("root", {}, "lxc exec -T web1 -- "),
        ("root", {"ansible_lxd_ssh_sudo": True}, "sudo -n lxc exec -T web1 -- "),
        ("admin", {"ansible_lxd_ssh_sudo": False}, "lxc exec -T web1 -- "),
        ("admin", {"ansible_lxd_ssh_project": "clinic"}, "sudo -n lxc exec -T --project clinic web1 -- "),
        ("admin", {"ansible_lxd_ssh_instance": "c-2"}, "sudo -n lxc exec -T c-2 -- "),
    ],
)
def test_options_reach_the_boxs_command_line(box, user, variables, begin):
    box.connect(user, **variables).exec_command("true")

    call = box.calls()[0]
    assert call[-1].startswith(begin)
    assert call[-2] == "box.example.org"
    assert f'User="{user}"' in call


def test_lxc_may_be_elsewhere(box):
    (box.directory / "lxc").rename(box.directory / "other")

    assert box.connect(ansible_lxd_ssh_executable=str(box.directory / "other")).exec_command("exit 5")[0] == 5


def test_inside_one_is_root_whoever_one_is_on_the_box(box):
    """Home directories and `become` follow from it: no sudo is needed inside to be who one already is."""
    connection = box.connect("admin")
    connection.exec_command("true")

    assert connection.get_option("remote_user") == "root"
    assert connection.get_option("pipelining") is True


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Error: Instance is not running", "web1 on box.example.org is not running: start it with `lxc start web1`"),
        ("Error: The instance is not running", "is not running"),
        ("Error: Instance not found", "does not exist in project default"),
        ("Error: Project not found", "does not exist in project default"),
        ("sudo: a password is required", "admin may not run lxc with sudo without a password"),
        ("Sorry, user admin is not allowed to execute 'lxc'", "admin may not run lxc with sudo"),
        ("dial unix /var/lib/lxd/unix.socket: connect: permission denied", "admin has no access to LXD"),
        ("dial unix /var/lib/lxd/unix.socket: connect: connection refused", "systemctl status lxd"),
        ("sh: 1: lxc: not found", "there is no lxc. Install LXD there"),
        ("sh: 1: sudo: not found", "there is no sudo. Set ansible_lxd_ssh_sudo: false"),
        ("Error: something new", r"cannot be entered \(Error: something new\)"),
    ],
)
def test_what_is_wrong_on_the_way_is_said_in_one_line(box, said, message):
    """With instance, box, what to do, and LXD's own words. The same words from the command itself mean nothing."""
    connection = box.connect()
    assert connection.exec_command(f"echo '{said.replace(chr(39), '')}' >&2; exit 1")[0] == 1
    box.says(said)

    with pytest.raises(AnsibleConnectionFailure, match=message) as caught:
        connection.exec_command("true")
    assert "\n" not in caught.value.message
    assert "Instance web1 on box.example.org" in caught.value.message


@pytest.mark.parametrize("name", ["web1.example.org", "1web", "-web", "web-", "we b", "web;id", "w" * 64, ""])
def test_a_name_that_no_instance_can_have_never_reaches_a_shell(box, name):
    with pytest.raises(AnsibleError, match="cannot be the name of an LXD instance: set ansible_lxd_ssh_instance"):
        box.connect(ansible_lxd_ssh_instance=name).exec_command("true")
    assert not (box.directory / "calls").exists()


def test_the_documentation_is_complete():
    """It is put together from the installed core's own, so it has to be looked at with each core."""
    command = [str(Path(sys.executable).with_name("ansible-doc")), "-t", "connection", "-j", "securebox.stack.lxd_ssh"]
    paths = next(str(Path(p)) for p in sys.path if (Path(p) / "ansible_collections/securebox").exists())
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    options = json.loads(done.stdout)["securebox.stack.lxd_ssh"]["doc"]["options"]

    assert {"lxd_instance", "lxd_project", "lxd_sudo", "lxd_executable", "ssh_args", "private_key_file"} <= set(options)
