# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible in containers of a server that is reached by ssh, with nothing in them that listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory with an ssh that counts how often it is run."""
    directory = tmp_path_factory.mktemp("work")
    wrapper = directory / "ssh"
    wrapper.write_text(f"#!/bin/sh\necho x >> {directory}/count\nexec ssh \"$@\"\n")
    wrapper.chmod(0o755)
    (directory / "ansible.cfg").write_text("")
    return directory


@pytest.fixture(scope="module")
def ansible(lab, work):
    """Run `ansible` or `ansible-playbook` with the scenario's inventory and an empty home of its own."""
    environment = {
        **os.environ,
        "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_CONFIG": str(work / "ansible.cfg"),
        # Short, for a socket's path may have 100 characters.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": "/tmp/sb-lxd-ssh", "ANSIBLE_SSH_EXECUTABLE": str(work / "ssh"),
    }

    def run(*words: str) -> dict:
        program = "ansible-playbook" if words[0].endswith(".yml") else "ansible"
        command = [str(Path(sys.executable).with_name(program)), "-i", str(lab.directory / "inventory.yml")]
        done = subprocess.run(
            [*command, "-i", str(HERE.parent / "rooms.yml"), *words],
            capture_output=True, text=True, env=environment, check=False, timeout=300, stdin=subprocess.DEVNULL,
        )
        text = done.stdout[done.stdout.find("{"):]
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(done.stdout + done.stderr) from None

    return run


@pytest.fixture(scope="module")
def task(ansible):
    """The result of one task in one room."""
    def run(host: str, module: str, arguments: str = "", *words: str) -> dict:
        return ansible(host, "-m", module, "-a", arguments, *words)["plays"][0]["tasks"][0]["hosts"][host]

    return run


def test_ten_tasks_in_two_containers_take_few_connections(ansible, work, host):
    """Under a firewall that limits new connections, and on an emulated machine, each of them counts."""
    before = int(host.check_output("journalctl -u ssh | grep -c 'Accepted publickey for keeper' || true"))
    (work / "count").write_text("")

    result = ansible(str(HERE / "ten.yml"), "-e", f"directory=/srv/ten-{os.getpid()}")

    for name in ("room1", "room2"):
        assert result["stats"][name]["failures"] == result["stats"][name]["unreachable"] == 0
        assert result["stats"][name]["ok"] == 10
    assert (work / "count").read_text().count("x") <= 45
    after = int(host.check_output("journalctl -u ssh | grep -c 'Accepted publickey for keeper'"))
    assert after - before <= 2, "one login, or two where both rooms began at the same moment"


def test_rooms_hold_what_the_play_brought(host):
    for name in ("room1", "room2"):
        assert host.check_output(f"lxc exec {name} -- cat /home/guest/note < /dev/null") == f"slept well in {name}"
        assert host.check_output(f"lxc exec {name} -- stat -c %U /home/guest/note < /dev/null") == "guest"


def test_no_ssh_server_runs_inside(host):
    """One door less to guard in every container; the server itself has one."""
    for prefix, count in {"": 1, "lxc exec room1 -- ": 0}.items():
        listening = host.check_output(f"{prefix}ss -Hltn < /dev/null")
        assert listening.count("0.0.0.0:22 ") == count


NAMES = ["plain", "two words", "it's", 'a "b"', "a`b`;&", "new\nline", "täst"]
CONTENTS = {"empty": b"", "binary": bytes(range(256)), "lines": b"\r\nx\n\n", **dict.fromkeys(NAMES, b"line\n")}


def test_files_arrive_byte_by_byte_and_come_back(ansible, work):
    """Whatever they are called and whatever is in them, through two shells and three programs."""
    for name, content in CONTENTS.items():
        (work / "there" / name).parent.mkdir(exist_ok=True)
        (work / "there" / name).write_bytes(content)
    tasks = [
        {"ansible.builtin.copy": {"src": f"{work}/there/{{{{ item }}}}", "dest": "/root/{{ item }}", "mode": "0600"}},
        {"ansible.builtin.fetch": {"src": "/root/{{ item }}", "dest": f"{work}/back/{{{{ item }}}}", "flat": True}},
    ]
    play = [{"hosts": "room1", "gather_facts": False, "tasks": [{**task, "loop": list(CONTENTS)} for task in tasks]}]
    (work / "files.yml").write_text(json.dumps(play))

    assert ansible(str(work / "files.yml"))["stats"]["room1"]["ok"] == 2
    assert {path.name: path.read_bytes() for path in (work / "back").iterdir()} == CONTENTS


def test_a_big_file(task, work):
    """50 MB there and back."""
    source, back = work / "big", work / "big-back"
    source.write_bytes(os.urandom(50 << 20))

    assert task("room2", "ansible.builtin.copy", f"src={source} dest=/root/big mode=0600")["changed"]
    assert not task("room2", "ansible.builtin.fetch", f"src=/root/big dest={back} flat=true").get("failed")
    assert back.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("words", "user"),
    [
        ((), "root"),
        (("--become",), "root"),
        (("--become", "--become-user", "guest"), "guest"),
        (("--become", "--become-user", "guest", "-e", "ansible_become_method=su"), "guest"),
    ],
)
def test_one_is_root_inside_and_can_become_others(task, words, user):
    assert task("room1", "ansible.builtin.command", "id -un", *words)["stdout"] == user


def test_the_commands_own_255_is_no_broken_connection(task):
    result = task("room1", "ansible.builtin.raw", "exit 255")

    assert result["rc"] == 255 and not result.get("unreachable")


@pytest.mark.parametrize(
    ("host_name", "words", "message"),
    [
        ("closed.example.org", (), "is not running: start it with `lxc start room3`"),
        ("room1", ("-e", "ansible_lxd_ssh_instance=room9"), "Instance room9 on"),
        ("room1", ("-e", "ansible_lxd_ssh_instance=room9"), "does not exist in project default"),
        ("room1", ("-e", "ansible_lxd_ssh_project=annex"), "does not exist in project annex"),
        ("room1", ("-e", "ansible_user=porter"), "porter may not run lxc with sudo without a password"),
        ("room1", ("-e", "ansible_user=porter", "-e", "ansible_lxd_ssh_sudo=false"), "porter has no access to LXD"),
        ("room1", ("-e", "ansible_lxd_ssh_executable=/opt/lxc", "-e", "ansible_user=root"), "there is no /opt/lxc"),
        ("room1", ("-e", "ansible_user=stranger"), "Permission denied"),
    ],
)
def test_what_keeps_one_out_is_said(task, host_name, words, message):
    """Unreachable, in one line that says what to do. The same room opens without the mistake."""
    result = task(host_name, "ansible.builtin.ping", "", *words)

    assert result["unreachable"] and message in result["msg"]
    assert "\n" not in result["msg"]
    assert task("room1", "ansible.builtin.ping")["ping"] == "pong"


def test_a_name_that_cannot_be_one(task):
    result = task("room1", "ansible.builtin.ping", "", "-e", "ansible_lxd_ssh_instance=a.b")

    assert "'a.b' cannot be the name of an LXD instance: set ansible_lxd_ssh_instance" in result["msg"]


def test_the_connection_can_be_reset(ansible, work):
    play = work / "reset.yml"
    tasks = [{"ansible.builtin.ping": {}}, {"ansible.builtin.meta": "reset_connection"}, {"ansible.builtin.ping": {}}]
    play.write_text(json.dumps([{"hosts": "room1", "gather_facts": False, "tasks": tasks}]))

    assert ansible(str(play))["stats"]["room1"]["ok"] == 2


@pytest.mark.control("SEC-1")
def test_what_a_module_is_given_shows_in_no_process_list(host, task):
    """Polled on the server, which sees its own processes and the containers', while a module works with a secret."""
    poll = (
        "import glob, os, time\nend = time.time() + 300\nseen = set()\n"
        "while time.time() < end and not os.path.exists('/tmp/looked'):\n"
        "    for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):\n"
        "        try:\n            text = open(path, 'rb').read()\n        except OSError:\n            continue\n"
        "        seen |= {word for word in (b'canary-' + b'7c1f', b'bystander-' + b'7c1f') if word in text}\n"
        "print(sorted(seen))\n"
    )
    host.check_output(f"rm -f /tmp/seen /tmp/looked; cat > /tmp/poll.py <<'P'\n{poll}\nP\n"
                      "(exec < /dev/null > /tmp/seeing 2>&1; (python3 /tmp/poll.py; mv /tmp/seeing /tmp/seen) & )")

    arguments = {"argv": ["sh", "-c", "cat > /dev/null; exec sleep 3"], "stdin": "canary-7c1f"}
    assert task("room1", "ansible.builtin.command", json.dumps(arguments))["rc"] == 0
    task("room1", "ansible.builtin.raw", ": bystander-7c1f; sleep 1")

    host.check_output("touch /tmp/looked")
    seen = host.check_output("timeout 30 sh -c 'until [ -e /tmp/seen ]; do sleep 0.2; done'; cat /tmp/seen")
    assert seen == "[b'bystander-7c1f']", "the poller sees arguments, and the secret was not among them"
