# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module in rounds, and between them, itself, the commands that read the passphrase."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume import explain
from ansible_collections.securebox.stack.plugins.plugin_utils import header_backup
from ansible_collections.securebox.stack.plugins.plugin_utils.passphrase import PassphraseSource, run_with_passphrase

# format, open, make the file system; open, mount, resize: more rounds than that would be a loop.
ROUNDS = 5


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        args = dict(self._task.args)
        host, name, directory = task_vars.get("inventory_hostname", "host"), args.get("name"), args.get("header_backup")
        if directory:
            args["header_digests"] = header_backup.known_digests(directory, host, name)
        what = f"volume {name} of {host}"
        source = PassphraseSource(
            self, task_vars, args.get("passphrase_variable") or "encrypted_volume_passphrase", what
        )

        result = self._rounds(args, task_vars, source, what)
        exported = result.pop("header_export", None)
        test = result.pop("test_command", None)
        if exported and not result.get("failed"):
            target = header_backup.path(directory, host, name, result["volume"]["header_digest"])
            self._back_up(exported, target, source, test, what)
            result["header_backup"] = str(target)
        return result

    def _rounds(
        self, args: dict[str, t.Any], task_vars: dict[str, t.Any], source: PassphraseSource, what: str
    ) -> dict[str, t.Any]:
        """The module says what it needs next; all it learns is what it then sees for itself."""
        changed, before = False, None
        for _round in range(ROUNDS):
            result = self._execute_module(
                module_name="securebox.stack.encrypted_volume", module_args=args, task_vars=task_vars
            )
            if result.get("failed"):
                return result
            changed = changed or result["changed"]
            before = before or result["diff"]["before"]
            result["changed"], result["diff"]["before"] = changed, before
            command = result.pop("secret_command", None)
            if command is None:
                return result
            self._run(command, source, what)
            if self._task.check_mode:
                return result
        raise AnsibleActionFail(f"{what} does not come to rest after {ROUNDS} rounds; look at securebox status")

    def _run(self, command: dict[str, t.Any], source: PassphraseSource, what: str) -> None:
        passphrase = source.get(twice=command["step"] == "format")
        done = run_with_passphrase(self, command["argv"], passphrase)
        if done["rc"] != 0:
            raise AnsibleActionFail(explain(command["step"], done["rc"], done["stderr"], what))

    def _back_up(
        self, exported: str, target: Path, source: PassphraseSource, test: dict[str, t.Any], what: str
    ) -> None:
        """Only with a passphrase that opens this very header: a backup sealed with a mistyped one is lost."""
        uuid = self._task.args["uuid"].lower()
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        try:
            self._run(test, source, what)
            with tempfile.TemporaryDirectory(dir=place) as directory:
                fetched = Path(directory) / "header.gz"
                self._connection.fetch_file(exported, str(fetched))
                header_backup.write(target, header_backup.seal(fetched.read_bytes(), source.get(), uuid))
        finally:
            self._low_level_execute_command(f"rm -r -- {self._connection._shell.quote(str(Path(exported).parent))}")
