# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fills the empty secrets of a vault file with fresh random values, on the controller, and never shows one."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail, AnsibleError, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.parsing.vault import VaultLib, is_encrypted
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

# A secret without a value: nothing, "" or '', and perhaps a comment.
EMPTY = re.compile(r"""^(vault_\w+):[ \t]*(?:""|''|~|null)?[ \t]*(\#.*)?$""", re.MULTILINE)
NEEDED = re.compile(r"^(vault_\w+):", re.MULTILINE)
# Without letters and digits that look alike: this one is typed by people, now and then, at a bad moment.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
MINIMUM = 12


def password() -> str:
    """192 bits, in characters that need no quoting anywhere."""
    return secrets.token_urlsafe(24)


def passphrase() -> str:
    """Seven groups of four: 138 bits that can be read out over a telephone."""
    return "-".join("".join(secrets.choice(ALPHABET) for letter in range(4)) for group in range(7))


def fill(text: str, values: t.Callable[[str], str]) -> tuple[str, list[str]]:
    """The text with a value for each empty secret, and their names. What has a value stays, and so do comments."""
    filled: list[str] = []

    def one(match: re.Match[str]) -> str:
        name, comment = match.group(1), match.group(2)
        # A value may follow on the next lines: a block, or an encrypted one.
        if re.match(r"\n[ \t]+\S", match.string[match.end() :]):
            return match.group(0)
        filled.append(name)
        quoted = values(name).replace("'", "''")
        return f"{name}: '{quoted}'" + (f"  {comment}" if comment else "")

    return EMPTY.sub(one, text), filled


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("path", "type_passphrase"))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        path = Path(str(self._task.args.get("path") or ""))
        if not path.is_file():
            raise AnsibleActionFail(
                f"{path}: no such file. Copy group_vars/all/vault.yml of inventories/example there."
            )
        vault: VaultLib = self._loader._vault
        if not vault.secrets:
            raise AnsibleActionFail("Secrets are written encrypted only: run again with --ask-vault-password.")
        raw = path.read_bytes()
        encrypted = is_encrypted(raw)
        try:
            text = (vault.decrypt(raw) if encrypted else raw).decode("utf-8")
        except AnsibleError as error:
            raise AnsibleActionFail(f"{path} was encrypted with another vault password.") from error
        typed = bool(self._task.args.get("type_passphrase"))
        check_mode = self._task.check_mode
        text, filled = fill(text, lambda name: "" if check_mode else self._value(name, typed))
        changed = bool(filled) or not encrypted
        if changed and not check_mode:
            write(path, vault.encrypt(text))
        result.update(changed=changed, filled=filled, encrypted=not encrypted, path=str(path))
        return result

    @staticmethod
    def _value(name: str, typed: bool) -> str:
        if name != "vault_encrypted_volume_passphrase":
            return password()
        return ask() if typed else passphrase()


def ask() -> str:
    """The volume's passphrase, typed twice."""
    try:
        first = display.prompt_until("Passphrase of the volume: ", private=True).decode()
        again = display.prompt_until("The same passphrase once more: ", private=True).decode()
    except AnsiblePromptNoninteractive as error:
        raise AnsibleActionFail("There is no terminal to type the passphrase at.") from error
    except AnsiblePromptInterrupt as error:
        raise AnsibleActionFail("Interrupted. Nothing was written.") from error
    if first != again:
        raise AnsibleActionFail("The two passphrases differ. Nothing was written.")
    if len(first) < MINIMUM:
        raise AnsibleActionFail(f"{MINIMUM} characters at least. Nothing was written.")
    return first


def write(path: Path, content: bytes) -> None:
    """All of it or nothing, readable by its owner only, and never in clear on the disk."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
