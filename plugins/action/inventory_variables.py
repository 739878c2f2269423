# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of hosts for a program that is not Ansible: resolved, defaults of roles included, secrets left out."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import HIDDEN, is_secret_name
from ansible_collections.securebox.stack.plugins.plugin_utils.site_variables import SiteVariables

# Shorter words are found by chance.
LONG_ENOUGH = 8


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset(("roles",))

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        roles = self._task.args.get("roles")
        if not isinstance(roles, dict):
            raise AnsibleActionFail("roles is a dictionary: for each group of the inventory the roles of its hosts.")
        groups = {name: list(hosts) for name, hosts in task_vars.get("groups", {}).items()}
        hostvars = task_vars["hostvars"]
        source = SiteVariables(self._loader, hostvars.raw_get, {"hostvars": hostvars, "groups": groups})
        roles_of: dict[str, list[str]] = {}
        for group, names in roles.items():
            for host in groups.get(group, []):
                roles_of.setdefault(host, []).extend(names)
        hosts = {host: source.of(host, names)[0] for host, names in roles_of.items()}
        known = {value: name for values in hosts.values() for name, value in found_secrets(values)}
        result.update(
            changed=False,
            hosts={host: without(values, known) for host, values in hosts.items()},
            groups=groups,
            canaries=canaries(known),
        )
        return result


def found_secrets(value: t.Any, name: str = "", path: str = "") -> t.Iterator[tuple[str, str]]:
    """(name, value) of everything that is a secret by its name, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from found_secrets(item, key, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from found_secrets(item, name, path)
    elif isinstance(value, str) and len(value) >= LONG_ENOUGH and is_secret_name(name):
        yield path, value


def without(value: t.Any, known: dict[str, str], name: str = "") -> t.Any:
    """The same without secrets, also where one of them is part of another value, such as a URL."""
    if isinstance(value, dict):
        return {key: without(item, known, key) for key, item in value.items()}
    if isinstance(value, list):
        return [without(item, known, name) for item in value]
    if not isinstance(value, str):
        return value
    if is_secret_name(name) and value:
        return HIDDEN
    for secret in known:
        value = value.replace(secret, HIDDEN)
    return value


def canaries(known: dict[str, str]) -> dict[str, t.Any]:
    """Keyed hashes of the secrets, by which they can be looked for without being known; and a sample to find."""
    key, sample = secrets.token_bytes(32), secrets.token_hex(12)

    def digest(word: str) -> str:
        return hmac.new(key, word.encode(), hashlib.sha256).hexdigest()

    digests = {digest(value): name for value, name in known.items()}
    return {"key": key.hex(), "digests": {**digests, digest(sample): "(sample)"}, "sample": sample}
