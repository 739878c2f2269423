# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams the passphrase into the command `securebox` on the box, and returns its JSON."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.securebox.stack.plugins.plugin_utils.passphrase import PassphraseSource, run_with_passphrase

COMMAND = "/usr/local/sbin/securebox"
SPEC = {
    "state": {"type": "str", "choices": ["unlocked", "locked", "status"], "required": True},
    "volume_only": {"type": "bool", "default": False},
    "passphrase_variable": {"type": "str", "default": "encrypted_volume_passphrase"},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        args = self.validate_argument_spec(argument_spec=SPEC)[1]
        if args["state"] == "locked":
            return self._result(self._command(["lock"]))
        before = self._command(["status"])
        if args["state"] == "status":
            return {"changed": False, **before}
        # A volume that is open needs no passphrase, so nobody is asked for one.
        source = PassphraseSource(
            self, task_vars, args["passphrase_variable"], f"the volume of {task_vars.get('inventory_hostname')}"
        )
        passphrase = None if before["volume"].get("device") else source.get()
        verb = ["unlock", "--volume-only"] if args["volume_only"] else ["unlock"]
        return self._result(self._command(verb, passphrase))

    def _command(self, verb: list[str], passphrase: bytes | None = None) -> dict[str, t.Any]:
        check = ["--check"] if self._task.check_mode and verb[0] != "status" else []
        done = run_with_passphrase(self, [COMMAND, *verb, *check, "--json"], passphrase)
        try:
            return json.loads(done["stdout"].strip().splitlines()[-1])
        except (IndexError, ValueError):
            said = (done["stderr"] or done["stdout"]).strip() or f"exit {done['rc']}"
            raise AnsibleActionFail(
                f"{COMMAND} {verb[0]} gave no answer: {said}. If it is not there yet, run site.yml first"
            ) from None

    def _result(self, answer: dict[str, t.Any]) -> dict[str, t.Any]:
        message, step = answer.pop("message", None), answer.pop("failed_step", None)
        if step:
            return {**answer, "failed": True, "failed_step": step, "msg": f"Failed at step {step}: {message}"}
        return answer
