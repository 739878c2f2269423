# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins that are made on purpose, beside the connection that a task already has."""

from __future__ import annotations

import contextlib
import shlex
import signal
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader
from ansible_collections.securebox.stack.plugins.module_utils.guard import CONFIRMED

# ssh takes the first value that it meets for an option, so these go before the user's own arguments.
NOT_MULTIPLEXED = "-o ControlMaster=no -o ControlPath=none"
NEVER_ASK = "-o BatchMode=yes"

# What ssh is told is no more than "Permission denied"; why, stands in the server's journal.
WHY = (
    "journalctl --quiet --no-pager --output=cat --since=-{seconds}s --lines=200 "
    "--identifier=sshd --identifier=sshd-session --identifier=sudo 2>/dev/null"
)
TELLING = (
    "refused", "not allowed", "denied", "expired", "bad ownership", "invalid user", "unable to negotiate", "fatal",
    "error:", "failed", "not in sudoers",
)
END_OF_JOURNAL = "securebox-end-of-journal"
# As with the confirmation, an exit code of 0 alone is no proof.
DONE = "securebox-done"


def is_ssh(connection: t.Any) -> bool:
    return connection.transport == "ssh"


def open_login(
    connection: t.Any, play_context: t.Any, port: int | None, user: str | None, multiplexed: bool = True,
    host: str | None = None,
) -> t.Any:
    """The same connection, for another port, account or address; new from the ground up unless multiplexed."""
    login = connection_loader.get("ansible.builtin.ssh", play_context)
    for name, value in connection.get_options().items():
        login.set_option(name, value)
    if port is not None:
        login.set_option("port", port)
    if user is not None:
        login.set_option("remote_user", user)
    if host:
        login.set_option("host", host)
    arguments = [login.get_option("ssh_args") or ""]
    if not (login.get_option("password") or play_context.password):
        arguments.insert(0, NEVER_ASK)
    if not multiplexed:
        arguments.insert(0, NOT_MULTIPLEXED)
    login.set_option("ssh_args", " ".join(arguments))
    return login


class LoginTimeout(BaseException):
    """A login that never comes to an end. No Exception, so that nobody on the way takes it for his own."""


@contextlib.contextmanager
def limited(seconds: int) -> t.Iterator[None]:
    """An end for a login that hangs: somebody's forced command or PAM module may wait for ever."""

    def give_up(_signal: int, _frame: t.Any) -> None:
        raise LoginTimeout

    if signal.getsignal(signal.SIGALRM) not in (signal.SIG_DFL, None):
        # The task has a timeout of its own.
        yield
        return
    signal.signal(signal.SIGALRM, give_up)
    try:
        signal.alarm(seconds)
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def brief(failure: AnsibleError) -> str:
    """Ansible's own preface says what the message says anyway."""
    return str(failure).removeprefix("Failed to connect to the host via ssh: ").strip().rstrip(".")


def heard(*texts: str) -> str:
    """What the other end said, without what ssh says whenever a session ends."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return "; ".join(line for line in lines if line and not line.endswith("closed."))


def telling(journal: str) -> str:
    """The last few lines that say why somebody was not let in."""
    found = [line.strip() for line in journal.splitlines()
             if any(sign in line.lower() for sign in TELLING) and END_OF_JOURNAL not in line]
    return "; ".join(dict.fromkeys(found[-3:]))


class ConfirmedAction(ActionBase):
    """Runs the module of the same name, and confirms a change that waits for it by a login with the new settings."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        confirm = arguments.pop("confirm", None)
        # Through any other connection the machine stays within reach, whatever happens to ssh.
        if confirm and is_ssh(self._connection):
            confirm = {**confirm, "user": confirm.get("user") or self._connection.get_option("remote_user") or "root"}
            arguments["confirm"] = confirm
        began = time.monotonic()
        try:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        except AnsibleConnectionFailure as failure:
            if "confirm" not in arguments:
                raise
            raise AnsibleConnectionFailure(
                f"{brief(failure)}. If the change had begun, the host itself puts the old settings back within "
                f"{confirm.get('seconds') or 300} seconds; run again after that.") from failure
        rollback = result.pop("rollback", None)
        if "confirm" in arguments and result.get("failed") and not result.get("unreachable"):
            # systemd says of a daemon that did not start no more than that.
            journal = telling(self._on_the_first(["true"], 30, began)[1])
            result["msg"] = f"{result.get('msg', '')}" + (f" The host's journal: {journal}." if journal else "")
        elif rollback and not result.get("failed"):
            result.update(self._confirm_or_restore(confirm, rollback, task_vars))
        return result

    def _confirm_or_restore(self, confirm: dict, rollback: dict, task_vars: dict) -> dict[str, t.Any]:
        first = self._connection
        port = int(confirm["port"]) if confirm.get("port") else first.get_option("port")
        user = confirm["user"]
        host = confirm.get("host") or first.get_option("host")
        seconds = int(confirm.get("seconds") or 300)
        began = time.monotonic()
        try:
            error = self._run_in_new_login(rollback["confirm"], host, port, user, seconds, task_vars)
        finally:
            self._connection = first
        if error is None:
            return {"confirmed": True}

        restored, journal = self._on_the_first(rollback["restore"], seconds, began)
        reason = "; ".join(filter(None, [error, telling(journal)]))
        return {
            "failed": True,
            "changed": restored is not None,
            "confirmed": False,
            "msg": (
                f"The new settings do not let {user} in at port {port} of {host}: {reason}. "
                + ("The old settings are back." if restored is None else
                   f"Nor can they be put back from here: {restored}. The host itself puts the old settings back within "
                   f"{seconds} seconds; run again after that.")
            ),
        }

    def _on_the_first(self, command: list[str], seconds: int, began: float) -> tuple[str | None, str]:
        """By the connection that was there before: None or why it did not work, and what the host says of the login."""
        why = WHY.format(seconds=int(time.monotonic() - began) + 3)
        script = f"export SYSTEMD_COLORS=0; {why}; echo {END_OF_JOURNAL}; {shlex.join(command)} && echo {DONE}"
        try:
            with limited(seconds):
                done = self._low_level_execute_command(f"/bin/sh -c {shlex.quote(script)}")
        except LoginTimeout:
            return "the connection hangs", ""
        except AnsibleError as failure:
            return brief(failure), ""
        # The last of them: sudo's own line of this very command holds it too.
        journal, _end, rest = done["stdout"].rpartition(END_OF_JOURNAL)
        if done["rc"] == 0 and DONE in rest:
            return None, journal
        said = heard(rest, done["stderr"]).rstrip(".")
        return said or f"it ended with exit code {done['rc']} and said nothing", journal

    def _run_in_new_login(
        self, command: list[str], host: str, port: int | None, user: str | None, seconds: int, task_vars: dict
    ) -> str | None:
        """None, or why it did not work."""
        login = open_login(self._connection, self._play_context, port, user, multiplexed=False, host=host)
        if user != "root":
            login.set_become_plugin(self._sudo(task_vars))
        self._connection = login
        try:
            with limited(seconds):
                done = self._low_level_execute_command(shlex.join(command))
        except LoginTimeout:
            return f"the login did not come to an end within {seconds} seconds"
        except AnsibleError as failure:
            # Also sudo that wants a password is one of these.
            return brief(failure)
        finally:
            login.close()
        said = heard(done["stdout"], done["stderr"])
        if done["rc"] != 0:
            return said or f"the login ended with exit code {done['rc']} and said nothing"
        if CONFIRMED not in done["stdout"]:
            return "the login ran something else than what it was asked to" + (f": {said}" if said else "")
        return None

    def _sudo(self, task_vars: dict) -> t.Any:
        plugin = become_loader.get("ansible.builtin.sudo")
        names = C.config.get_plugin_vars("become", "sudo")
        plugin.set_options(var_options={
            name: self._templar.template(task_vars[name]) for name in names if name in task_vars})
        return plugin
