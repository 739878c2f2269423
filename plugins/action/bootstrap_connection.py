# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the account and port at which a server answers: the inventory's, or those that it was delivered with."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.securebox.stack.plugins.plugin_utils.login import LoginTimeout, is_ssh, limited, open_login

# One round trip tells all that later tasks depend on.
QUESTION = (
    b'/bin/sh -c \'echo "uid=$(id -u)"; echo "python=$(command -v python3)"; '
    b'echo "sudo=$(sudo -n true 2>/dev/null && echo yes)"\''
)

# A login on an emulated machine takes half a minute.
PATIENCE = 90

# What ssh says, what it means, and what to do about it. {login} is the command that shows the same.
REASONS = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED",
     "its host key is not the known one. If the server was installed anew, forget the old key: "
     "ssh-keygen -R '{known}'. If not, somebody may be in between"),
    ("Host key verification failed",
     "its host key is not known yet. Log in once by hand and compare it: {login}"),
    ("Permission denied",
     "it answers, but refuses the key. Is the right key loaded (ssh-add -l), and does it belong to {user}? "
     "Try: {login}"),
    ("Too many authentication failures",
     "the agent offers too many keys. Name one: ansible_ssh_private_key_file"),
    ("Connection refused", "nothing listens there (Connection refused)"),
    ("timed out", "no answer in time: switched off, or dropped by a firewall"),
    ("Could not resolve hostname", "its name does not resolve: see ansible_host in the inventory"),
    ("No route to host", "there is no way to that address: see ansible_host in the inventory"),
)


class Candidate(t.NamedTuple):
    """A way in that is worth a try."""

    host: str
    port: int
    user: str

    @property
    def command(self) -> str:
        return f"ssh -p {self.port} {self.user}@{self.host}"


def candidates(host: str, port: int | None, user: str | None, args: t.Mapping[str, t.Any]) -> list[Candidate]:
    """The hardened server first: but for one run in its life, that is the one."""
    wanted = Candidate(host, int(port or 22), user or "root")
    # Where the inventory's address is inside a tunnel, that is not there yet, or not any more.
    public = wanted._replace(host=args.get("host") or host)
    delivered = Candidate(public.host, int(args.get("port") or 22), args.get("user") or "root")
    return list(dict.fromkeys([wanted, public, delivered]))


def explain(error: str, candidate: Candidate) -> str:
    """ssh's own words, put into a cause and a next step."""
    known = candidate.host if candidate.port == 22 else f"[{candidate.host}]:{candidate.port}"
    for sign, meaning in REASONS:
        if sign.lower() in error.lower():
            return meaning.format(login=candidate.command, user=candidate.user, known=known)
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def shortcoming(answers: t.Mapping[str, str], has_password: bool) -> str | None:
    """What is missing on a server that lets us in, with the command that brings it."""
    if not answers.get("python"):
        return "it has no Python, which Ansible needs. Install it there: apt-get install -y python3"
    if answers.get("uid") != "0" and answers.get("sudo") != "yes" and not has_password:
        return ("the account may not use sudo without a password. Run again with --ask-become-pass, "
                "or let securebox_bootstrap_user be an account that may")
    return None


class ActionModule(ActionBase):
    """The answer is RV(host), RV(port), RV(user): as the inventory wants them; RV(reached): as they are now."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        connection = self._connection
        if not is_ssh(connection):
            raise AnsibleActionFail(f"This is about logins by ssh, and the connection is {connection.transport}.")

        host = connection.get_option("host") or task_vars["inventory_hostname"]
        ways = candidates(host, connection.get_option("port"), connection.get_option("remote_user"), self._task.args)
        has_password = bool(task_vars.get("ansible_become_password") or self._play_context.become_pass)
        tried = []
        for way in ways:
            answers, why = self._ask(way)
            why = why or shortcoming(answers, has_password)
            if why is None:
                root = answers["uid"] == "0"
                result.update(
                    changed=False, host=host, port=ways[0].port, user=ways[0].user, hardened=way == ways[0],
                    reached={"host": way.host, "port": way.port, "user": way.user,
                             "become": not root and boolean(self._task.args.get("become", True))})
                return result
            tried.append(f"- {way.command}: {why}.")
        result.update(failed=True, msg="\n".join([
            f"No login at {host} works. Tried, in this order:", *tried,
            "The first is what the inventory says (ansible_host, ansible_port, ansible_user: the hardened server), the "
            "last what the server was delivered with (securebox_bootstrap_host, securebox_bootstrap_port, "
            "securebox_bootstrap_user)."
            if len(ways) > 1 else "That is what the inventory says (ansible_port, ansible_user).",
            "Locked out of a hardened server: docs/runbooks/emergency-access.md."]))
        return result

    def _ask(self, way: Candidate) -> tuple[dict[str, str], str | None]:
        login = open_login(self._connection, self._play_context, way.port, way.user, host=way.host)
        try:
            with limited(PATIENCE):
                code, out, err = login.exec_command(QUESTION.decode(), sudoable=False)
        except LoginTimeout:
            return {}, f"no answer within {PATIENCE} seconds, as of a shared connection through a tunnel that is gone"
        except AnsibleConnectionFailure as failure:
            return {}, explain(str(failure), way)
        if code != 0:
            return {}, explain(err.decode(errors="replace"), way)
        lines = out.decode(errors="replace").splitlines()
        return dict(line.strip().split("=", 1) for line in lines if "=" in line), None
