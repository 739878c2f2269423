# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins that are made on purpose, beside the connection that a task already has."""

from __future__ import annotations

import shlex
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader

# ssh takes the first value that it meets for an option, so these go before the user's own arguments.
NOT_MULTIPLEXED = "-o ControlMaster=no -o ControlPath=none"
NEVER_ASK = "-o BatchMode=yes"


def is_ssh(connection: t.Any) -> bool:
    return connection.transport == "ssh"


def open_login(
    connection: t.Any, play_context: t.Any, port: int | None, user: str | None, multiplexed: bool = True
) -> t.Any:
    """The same connection, for another port or account; new from the ground up unless multiplexed."""
    login = connection_loader.get("ansible.builtin.ssh", play_context)
    for name, value in connection.get_options().items():
        login.set_option(name, value)
    if port is not None:
        login.set_option("port", port)
    if user is not None:
        login.set_option("remote_user", user)
    arguments = [login.get_option("ssh_args") or ""]
    if not (login.get_option("password") or play_context.password):
        arguments.insert(0, NEVER_ASK)
    if not multiplexed:
        arguments.insert(0, NOT_MULTIPLEXED)
    login.set_option("ssh_args", " ".join(arguments))
    return login


class ConfirmedAction(ActionBase):
    """Runs the module of the same name, and confirms a change that waits for it by a login with the new settings."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        confirm = arguments.get("confirm")
        if confirm and not is_ssh(self._connection):
            # Through any other connection the machine stays within reach, whatever happens to ssh.
            arguments.pop("confirm")
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        rollback = result.pop("rollback", None)
        if rollback and not result.get("failed"):
            result.update(self._confirm_or_restore(confirm, rollback, task_vars))
        return result

    def _confirm_or_restore(self, confirm: dict, rollback: dict, task_vars: dict) -> dict[str, t.Any]:
        first = self._connection
        port = int(confirm["port"]) if confirm.get("port") else first.get_option("port")
        user = confirm.get("user") or first.get_option("remote_user")
        try:
            error = self._run_in_new_login(rollback["confirm"], port, user, task_vars)
        finally:
            self._connection = first
        if error is None:
            return {"confirmed": True}

        restored = self._low_level_execute_command(shlex.join(rollback["restore"]))
        return {
            "failed": True,
            "changed": restored["rc"] != 0,
            "confirmed": False,
            "msg": (
                f"The new settings do not let {user} in at port {port} of {first.get_option('host')}: {error}. "
                + ("The old settings are back." if restored["rc"] == 0 else
                   "The connection is lost too. The host itself puts the old settings back within "
                   f"{confirm.get('seconds', 300)} seconds; run again after that.")
            ),
        }

    def _run_in_new_login(self, command: list[str], port: int | None, user: str | None, task_vars: dict) -> str | None:
        """None, or why it did not work."""
        login = open_login(self._connection, self._play_context, port, user, multiplexed=False)
        if user != "root":
            login.set_become_plugin(self._sudo(task_vars))
        self._connection = login
        try:
            done = self._low_level_execute_command(shlex.join(command))
        except AnsibleConnectionFailure as failure:
            # Ansible's own preface says what the message says anyway.
            return str(failure).removeprefix("Failed to connect to the host via ssh: ").strip().rstrip(".")
        finally:
            login.close()
        return None if done["rc"] == 0 else (done["stderr"] or done["stdout"]).strip()

    def _sudo(self, task_vars: dict) -> t.Any:
        plugin = become_loader.get("ansible.builtin.sudo")
        names = C.config.get_plugin_vars("become", "sudo")
        plugin.set_options(var_options={
            name: self._templar.template(task_vars[name]) for name in names if name in task_vars})
        return plugin
