# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are made once: what is empty gets a value, what has one keeps it, and none is ever in clear on the disk."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.securebox.stack.plugins.action.secrets_file import MINIMUM, fill, passphrase, password

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("empty", ['""', "''", "", "~", "null", '""  # made by the playbook'])
def test_what_is_empty_gets_a_value(empty):
    text, filled = fill(f"---\nvault_one: {empty}\n", lambda name: f"value of {name}")

    assert filled == ["vault_one"]
    assert yaml.safe_load(text) == {"vault_one": "value of vault_one"}
    assert ("# made" in text) == ("# made" in empty)


@pytest.mark.parametrize(
    "kept", ["vault_one: x", "vault_one: 'x'", "vault_one: |\n  x", "vault_one: !vault |\n  x", "other: ''"]
)
def test_what_has_a_value_keeps_it(kept):
    assert fill(f"{kept}\n", lambda _name: "new") == (f"{kept}\n", [])


def test_values_that_need_quotes_survive():
    text, _filled = fill("vault_one: ''\n", lambda _name: 'it\'s: #1 "x" \\n {{ y }}')

    assert yaml.safe_load(text)["vault_one"] == 'it\'s: #1 "x" \\n {{ y }}'


def test_values_are_long_and_never_the_same():
    assert len({password() for _ in range(100)} | {passphrase() for _ in range(100)}) == 200
    assert len(password()) >= 24
    assert len(passphrase()) > MINIMUM


@pytest.fixture
def run_secrets(tmp_path):
    """The playbook as a user runs it, on a copy of the example."""
    collections = tmp_path / "collections"
    (collections / "ansible_collections" / "securebox").mkdir(parents=True)
    (collections / "ansible_collections" / "securebox" / "stack").symlink_to(ROOT)
    inventory = tmp_path / "my"
    shutil.copytree(ROOT / "inventories" / "example", inventory)
    (tmp_path / "password").write_text("of the vault", encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(tmp_path / "home")}
    environment.pop("ANSIBLE_CONFIG", None)

    def run(program, *arguments):
        return subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=inventory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run, inventory / "group_vars" / "all" / "vault.yml"


PLAY = ["ansible-playbook", "-i", "hosts.yml", "securebox.stack.secrets", "-vvv", "--diff"]
WITH = ["--vault-password-file", "../password"]


def test_the_playbook_fills_encrypts_and_shows_nothing(run_secrets):
    run, vault = run_secrets
    first = run(*PLAY, *WITH)
    content = vault.read_bytes()
    seen = yaml.safe_load(run("ansible-vault", "view", str(vault), *WITH).stdout)
    second = run(*PLAY, *WITH)

    assert first.returncode == second.returncode == 0, first.stdout + first.stderr + second.stdout
    assert content.startswith(b"$ANSIBLE_VAULT")
    assert stat.S_IMODE(vault.stat().st_mode) == 0o600
    assert len(seen) == 4
    assert all(len(value) >= 24 for value in seen.values())
    assert not [value for value in seen.values() if value in first.stdout + first.stderr]
    assert "changed=1" in first.stdout
    assert "changed=0" in second.stdout
    assert vault.read_bytes() == content


def test_without_a_vault_password_nothing_is_written(run_secrets):
    run, vault = run_secrets
    before = vault.read_bytes()
    done = run(*PLAY)

    assert done.returncode != 0
    assert "--ask-vault-password" in done.stdout + done.stderr
    assert vault.read_bytes() == before
