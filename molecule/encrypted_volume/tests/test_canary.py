# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The passphrase leaves no trace, under the settings that keep most traces. And the search would find one.

Runs last (by its name, after test_a_boot and test_b_volume, which look at the boot).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PASSPHRASE, SCENARIO, ssh_command

WORD = "CANARYq7X2"
PLACES = ["/tmp", "/var/tmp", "/root", "/home", "/var/log", "/var/lib/systemd", "/etc", "/run", "/dev/shm", "/srv"]
WATCH = Path(__file__).parent / "watch.py"

VOLUME = {
    "name": "canary",
    "file": "/var/lib/vault/canary.luks",
    "size": "64M",
    "uuid": "7a1d3f60-2f0b-4b0f-9a57-5a3b8d0c9e33",
    "mount_point": "/srv/canary",
    "pbkdf_memory": "32M",
    "pbkdf_iterations": 4,
}

# Everything that takes a passphrase, a wrong one too, with what Ansible remembers of the task that failed.
CAREFUL = [
    {"securebox.stack.encrypted_volume": {**VOLUME, "state": "initialised"}},
    {"securebox.stack.encrypted_volume": {**VOLUME, "state": "open", "header_backup": "{{ backups }}"}},
    {"securebox.stack.encrypted_volume": {**VOLUME, "state": "closed"}},
    {"securebox.stack.box": {"state": "locked"}},
    {"securebox.stack.box": {"state": "unlocked"}},
    {
        "block": [
            {
                "securebox.stack.encrypted_volume": {**VOLUME, "state": "open", "passphrase_variable": "mistyped"},
            }
        ],
        "rescue": [
            {"ansible.builtin.debug": {"var": "ansible_failed_task"}},
            {"ansible.builtin.debug": {"var": "ansible_failed_result"}},
        ],
    },
    {"ansible.builtin.set_fact": {"after": "{{ inventory_hostname }}", "cacheable": True}},
    {"ansible.builtin.file": {"path": VOLUME["file"], "state": "absent"}},
]

# Enough to see the other way of sudo and of pipelining.
BRIEF = [{"securebox.stack.box": {"state": "locked"}}, {"securebox.stack.box": {"state": "unlocked"}}]

# How it is usually done. `no_log` is on where people put it.
CARELESS = [
    {
        "ansible.builtin.command": {
            "argv": ["python3", "-c", "import time; time.sleep(5)", "{{ encrypted_volume_passphrase }}"]
        },
        "environment": {"PASSPHRASE": "{{ encrypted_volume_passphrase }}"},
    },
    {
        "ansible.builtin.command": {"argv": ["sleep", "3", "{{ encrypted_volume_passphrase }}"]},
        "no_log": True,
        "ignore_errors": True,
    },
    {
        "ansible.builtin.command": {
            "argv": ["python3", "-c", "import time; time.sleep(3)", "{{ encrypted_volume_passphrase }}"]
        },
        "environment": {"PASSPHRASE": "{{ encrypted_volume_passphrase }}"},
        "delegate_to": "localhost",
        "become": False,
    },
    {"ansible.builtin.set_fact": {"kept": "{{ encrypted_volume_passphrase }}", "cacheable": True}},
]


class Watch:
    """watch.py on one machine, in the background."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.process.stdin.write(WORD.encode() + b"\n")
        self.process.stdin.close()

    def found(self) -> list[str]:
        return json.loads(self.process.stdout.read())


@pytest.fixture
def hunt(lab, host, playbook, tmp_path):
    """Run tasks under the watch of both machines; say where the word was seen."""
    ssh = ssh_command(lab)

    def run(tasks: list, *options: str, **settings: str) -> dict:
        subprocess.run([*ssh, "cat > /opt/watch.py; rm -f /run/stop"], input=WATCH.read_bytes(), check=True)
        stop = tmp_path / "stop"
        there = Watch(*ssh, "python3 /opt/watch.py poll /run/stop")
        here = Watch(sys.executable, str(WATCH), "poll", str(stop))
        time.sleep(2)
        for name in ("tmp", "cache", "home"):
            (tmp_path / name).mkdir(exist_ok=True)
        done = playbook.run(
            tasks,
            *options,
            TMPDIR=str(tmp_path / "tmp"),
            ANSIBLE_HOME=str(tmp_path / "home"),
            ANSIBLE_LOCAL_TEMP=str(tmp_path / "home/tmp"),
            ANSIBLE_LOG_PATH=str(tmp_path / "log"),
            ANSIBLE_CACHE_PLUGIN="ansible.builtin.jsonfile",
            ANSIBLE_CACHE_PLUGIN_CONNECTION=str(tmp_path / "cache"),
            ANSIBLE_CALLBACK_PLUGINS=str(SCENARIO / "tests/callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="nosy",
            NOSY_FILE=str(tmp_path / "nosy"),
            ANSIBLE_REMOTE_TMP="/var/tmp/ansible-${USER}",
            MOLECULE_EPHEMERAL_DIRECTORY=str(tmp_path),
            **settings,
        )
        stop.touch()
        host.run("touch /run/stop")
        (tmp_path / "output").write_bytes(done.stdout + done.stderr)
        swept = Watch(*ssh, f"python3 /opt/watch.py sweep {' '.join(PLACES)}")
        return {
            "rc": done.returncode,
            "output": done.stdout.decode(errors="replace"),
            "target's processes": there.found(),
            "target's files": swept.found(),
            "controller's processes": here.found(),
            "controller's files": [
                str(path.relative_to(tmp_path))
                for path in tmp_path.rglob("*")
                if path.is_file() and WORD.encode() in path.read_bytes()
            ],
        }

    return run


WORST = {
    "ANSIBLE_PIPELINING": "False",
    "ANSIBLE_KEEP_REMOTE_FILES": "True",
    "ANSIBLE_DEBUG": "True",
    "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "True",
}
SUDO_ASKS = ("-u", "careful", "-b", "-e", "ansible_user=careful ansible_become_password=sudo-password")
SUDO = ("-b", "-e", "ansible_user=quick")


@pytest.mark.control("SEC-1")
@pytest.mark.parametrize(
    ("tasks", "options", "settings"),
    [
        pytest.param(CAREFUL, SUDO_ASKS, WORST, id="sudo with a password, worst settings"),
        pytest.param(BRIEF, SUDO, {"ANSIBLE_PIPELINING": "True"}, id="sudo without, pipelining"),
    ],
)
def test_the_passphrase_leaves_no_trace(hunt, tmp_path, tasks, options, settings):
    """Not in a command line, an environment, a file, the journal, a fact, a log, or Ansible's output."""
    seen = hunt(tasks, "-vvvv", "-e", f"backups={tmp_path}/backups", *options, **settings)

    assert seen["rc"] == 0, seen["output"][-4000:]
    if tasks is CAREFUL:
        assert "does not open volume canary" in seen["output"]
        assert list((tmp_path / "backups").iterdir())
    found = {place: seen[place] for place in seen if place not in ("rc", "output")}
    assert not any(found.values()), found


@pytest.mark.control("SEC-1")
def test_the_search_finds_a_passphrase_that_is_there(hunt, host):
    """The pair: the same search, the usual way of doing it. Each place is one that the search above calls empty."""
    try:
        seen = hunt(CARELESS, "-vvvv", **WORST)

        assert seen["target's processes"] == ["cmdline", "environ"]
        assert seen["controller's processes"] == ["cmdline", "environ"]
        assert "journal" in seen["target's files"]
        assert any("AnsiballZ" in name for name in seen["target's files"])
        assert {"output", "log", "nosy"} <= set(seen["controller's files"])
        assert any(name.startswith("cache/") for name in seen["controller's files"])
    finally:
        host.run("rm -rf /var/tmp/ansible-*; journalctl --rotate --vacuum-time=1s")


def test_the_word_is_in_the_passphrase():
    """Otherwise the search above would look for something that nobody used."""
    assert WORD in PASSPHRASE
    assert WORD not in os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")
