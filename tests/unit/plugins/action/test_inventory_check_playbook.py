# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook check as a user runs it: all that is wrong is shown, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PASSWORD = "Correct-Horse-7"


@pytest.fixture
def run_check(tmp_path):
    """Runs the playbook on a copy of the example with more variables; the server is one that never answers."""
    collections = tmp_path / "collections"
    (collections / "ansible_collections" / "securebox").mkdir(parents=True)
    (collections / "ansible_collections" / "securebox" / "stack").symlink_to(ROOT)
    inventory = tmp_path / "my"
    shutil.copytree(ROOT / "inventories" / "example", inventory)

    def run(more: str, hosts: str | None = None):
        (inventory / "host_vars").mkdir(exist_ok=True)
        (inventory / "host_vars" / "hospital.yml").write_text(
            "ansible_host: 127.0.0.1\nansible_port: 1\nsecurebox_bootstrap_port: 1\nhardening_admins: []\n" + more,
            encoding="utf-8",
        )
        if hosts is not None:
            (inventory / "hosts.yml").write_text(hosts, encoding="utf-8")
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_HOME": str(tmp_path / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        }
        environment.pop("ANSIBLE_CONFIG", None)
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "securebox.stack.check"]
        return subprocess.run(
            command,
            cwd=inventory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_all_is_said_at_once_and_nothing_is_touched(run_check):
    done = run_check(f"hardening_ssh_port: 443\nencrypted_volume_passphrase: {PASSWORD[:8]}\n")

    assert done.returncode != 0
    for part in (
        "Nothing has been changed on the server",
        "hardening_ssh_port (hospital)",
        "the application's, and goes to the proxy",
        "host_vars/hospital.yml:5",
        "encrypted_volume_passphrase",
        "too weak",
        "hardening_admins",
        "app_tomcat_war_sha256",
        "group_vars/app/app_tomcat.yml:",
        "vault_db_postgresql_password",
        "securebox.stack.secrets",
        "the server could not be looked at",
        "Connection refused",
    ):
        assert part in done.stdout, done.stdout + done.stderr
    assert PASSWORD[:8] not in done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_empty_inventory_is_no_success(run_check):
    done = run_check("", hosts="all:\n  children:\n    box:\n    tiers:\n      children: {proxy: , app: , db: }\n")

    assert done.returncode != 0
    assert "no server: put exactly one host into the group box" in done.stdout, done.stdout + done.stderr
    assert "put at least one host into the group db" in done.stdout
