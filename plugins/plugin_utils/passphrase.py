# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of a passphrase: from a variable or a prompt, through the connection's standard input, into one command.

It is never an argument of a task or a module. Task arguments are kept in `ansible_failed_task`, handed to every
callback, and written to the target's disk by a module that is not pipelined; in_data is none of that.
"""

from __future__ import annotations

import shlex
import typing as t

from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class PassphraseSource:
    """Looks the passphrase up, or asks for it, at its first use; remembers it for the rest of the task only."""

    def __init__(self, action: ActionBase, task_vars: dict[str, t.Any], variable: str, what: str) -> None:
        self._action = action
        self._task_vars = task_vars
        self._variable = variable
        self._what = what
        self._known: bytes | None = None

    def get(self, twice: bool = False) -> bytes:
        if self._known is None:
            self._known = self._from_variable() or self._from_terminal(twice)
        return self._known

    def is_given(self) -> bool:
        """Whether it is there without asking anybody."""
        self._known = self._known or self._from_variable()
        return bool(self._known)

    def _from_variable(self) -> bytes | None:
        value = self._task_vars.get(self._variable)
        if value is not None:
            value = self._action._templar.template(value)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise AnsibleActionFail(
                f"{self._variable} is a {type(value).__name__}, not a string. Put quotes around the passphrase"
            )
        # One newline at the end is the editor's or the shell's, not the person's.
        return value.removesuffix("\n").encode("utf-8", "surrogateescape") or None

    def _from_terminal(self, twice: bool) -> bytes:
        first = self._ask(f"Passphrase of {self._what}: ")
        if twice and self._ask(f"The same passphrase of {self._what} once more: ") != first:
            raise AnsibleActionFail("The two passphrases differ. Nothing was changed")
        if not first:
            raise AnsibleActionFail("No passphrase was typed. Nothing was changed")
        return first

    def _ask(self, question: str) -> bytes:
        try:
            return display.prompt_until(question, private=True)
        except AnsiblePromptNoninteractive as error:
            raise AnsibleActionFail(
                f"The passphrase of {self._what} is needed, but the variable {self._variable} is undefined or empty, "
                "and there is no terminal to ask on. Set it in the inventory's vault, or run from a terminal"
            ) from error
        except AnsiblePromptInterrupt as error:
            raise AnsibleActionFail("Interrupted at the passphrase. Nothing was changed") from error


def run_with_passphrase(action: ActionBase, argv: list[str], passphrase: bytes | None) -> dict[str, t.Any]:
    """Run a command on the target, with become if the task has it. Its standard input is the passphrase, no more."""
    return action._low_level_execute_command(shlex.join(argv), in_data=passphrase)
