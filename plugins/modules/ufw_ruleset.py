#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ufw_ruleset
short_description: Make ufw exactly as described, in one change that can be undone
version_added: "0.1.0"
description:
  - Compares all of ufw's rules, its default policies, its logging and its hooks with the description, and writes what
    differs. A rule that is not described is removed.
  - The order of the list is the order of the rules. Rules of IPv4 and IPv6 keep their order each.
  - When only rules differ, the running firewall is not restarted, so that nothing passes meanwhile that should not.
  - With O(confirm), the change stays only if a I(new) login succeeds through the new rules. Otherwise a timer on the
    host itself puts the old state back.
author:
  - The securebox.stack maintainers (@securebox)
requirements:
  - ufw 0.36 or later
attributes:
  check_mode:
    description: Compares and reports. Where ufw is not installed yet, all of it is new.
    support: full
  diff_mode:
    description: The firewall before and after, in the words of C(ufw show added), and one difference for each hook.
    support: full
options:
  rules:
    description: The rules, each as the words that follow C(ufw) on a command line.
    type: list
    elements: str
    required: true
  incoming:
    description: What happens to packets for the host that no rule names.
    type: str
    choices: [allow, deny, reject]
    default: deny
  outgoing:
    description: What happens to packets from the host that no rule names.
    type: str
    choices: [allow, deny, reject]
    default: allow
  routed:
    description: What happens to packets through the host that no rule names.
    type: str
    choices: [allow, deny, reject]
    default: deny
  logging:
    description: How much of what is dropped gets logged. ufw limits the rate itself.
    type: str
    choices: ["off", low, medium, high, full]
    default: low
  others:
    description:
      - How the comments of rules begin that another program keeps. They stay as they are, behind the described ones.
    type: list
    elements: str
    default: []
  ipv6:
    description: Whether there is IPv6. When V(false), ufw drops all of it but on the loopback.
    type: bool
    default: true
  hooks:
    description:
      - Files of C(/etc/ufw) beside the rules, such as C(before.init). All belong to root.
      - A hook that is executable is asked for its C(status); one that answers with an error is started again.
      - What such a hook does on C(start), it has to undo on C(stop). ufw knows nothing of it, and cannot.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is.
        type: path
        required: true
      content:
        description: The whole content of the file.
        type: str
      link:
        description: Make it a symbolic link to this path instead.
        type: path
      mode:
        description: Its mode, in octal digits.
        type: str
        default: "0644"
      state:
        description: V(absent) removes it.
        type: str
        choices: [present, absent]
        default: present
  confirm:
    description:
      - Who has to be able to log in afterwards. Only for connections by ssh; others cannot lock themselves out.
    type: dict
    suboptions:
      name:
        description: What the timer and the saved state are called.
        type: str
        default: firewall
      seconds:
        description: How long the host waits for the login.
        type: int
        default: 300
      host:
        description: The address to connect to, if not the one in use, such as one inside a tunnel.
        type: str
      port:
        description: The port to connect to, if not the one in use.
        type: int
      user:
        description: The account to log in with, if not the one in use.
        type: str
seealso:
  - module: community.general.ufw
  - module: securebox.stack.file_set
"""

EXAMPLES = r"""
- name: Let in ssh, slowly, and the web
  securebox.stack.ufw_ruleset:
    rules:
      - limit 22/tcp comment 'ssh'
      - allow 80,443/tcp comment 'web'
    confirm: {seconds: 60}
"""

RETURN = r"""
rules:
  description: The rules of IPv4, in ufw's own words.
  returned: success
  type: list
  elements: str
  sample: ["limit 22/tcp comment 'ssh'"]
rules6:
  description: The rules of IPv6.
  returned: success
  type: list
  elements: str
  sample: ["limit 22/tcp comment 'ssh'"]
rollback:
  description: The commands that confirm the change, or put the old state back at once.
  returned: when the change waits for a login
  type: dict
"""

import os
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.securebox.stack.plugins.module_utils.guard import Guard, NotRestored, settle
from ansible_collections.securebox.stack.plugins.module_utils.managed_file import ARGUMENTS, ManagedFile
from ansible_collections.securebox.stack.plugins.module_utils.ufw import State, Ufw, UfwError, UfwMissing, alone

# ufw reads only what belongs to root.
HOOK = {name: ARGUMENTS[name] for name in ("path", "content", "link", "mode", "state")}


class Change:
    """What is and what should be."""

    def __init__(self, params: t.Mapping[str, t.Any], ufw: t.Any, succeeds: t.Callable[[list[str]], bool]) -> None:
        self.wanted = params["rules"]
        self.before = ufw.read()
        ipv4, ipv6 = ufw.canonical(self.wanted, params["ipv6"])
        self.after = State(
            enabled=True, active=True, logging=params["logging"], rules=ipv4, rules6=ipv6, ipv6=params["ipv6"],
            policies={direction: params[direction] for direction in ("incoming", "outgoing", "routed")})
        self.hooks = [hook for hook in map(ManagedFile, params["hooks"]) if hook.changed]
        # A hook may have lost what it had loaded to somebody else's flush.
        self.lost = [hook["path"] for hook in params["hooks"]
                     if self.before.active and not self.hooks and executable(hook)
                     and not succeeds([hook["path"], "status"])]

    @property
    def needed(self) -> bool:
        return bool(self.before != self.after or self.hooks or self.lost)

    def diff(self) -> list[dict[str, str]]:
        before = self.before.describe() + "".join(f"{path} has lost what it loads\n" for path in self.lost)
        after = self.after.describe()
        own = [{"before_header": "ufw", "after_header": "ufw", "before": before, "after": after}]
        return (own if before != after else []) + [hook.diff() for hook in self.hooks]


def executable(hook: t.Mapping[str, t.Any]) -> bool:
    return hook["state"] == "present" and bool(int(hook["mode"], 8) & 0o100)


def ensure(
    params: t.Mapping[str, t.Any],
    ufw_now: t.Callable[[], t.Any],
    guard: Guard,
    succeeds: t.Callable[[list[str]], bool],
    check_mode: bool,
) -> dict[str, t.Any]:
    """Observe, compare, act. Free of AnsibleModule and of ufw."""
    confirm = params.get("confirm")
    ufw = ufw_now()
    change = Change(params, ufw, succeeds)
    if guard.armed and not check_mode and (change.needed or not guard.complete):
        # An earlier run was cut off on its way. Nobody knows how far it came, so this one begins at the beginning.
        guard.restore()
        ufw = ufw_now()
        change = Change(params, ufw, succeeds)
    if change.needed and not check_mode:
        apply(change, ufw, guard, confirm["seconds"] if confirm else None)

    after = change.after
    result = {"changed": change.needed, "rules": after.rules, "rules6": after.rules6, "diff": change.diff()}
    if confirm and guard.armed and not check_mode:
        result["rollback"] = {"confirm": guard.confirm_command(), "restore": guard.restore_command()}
    return result


def apply(change: Change, ufw: t.Any, guard: Guard, seconds: int | None) -> None:
    """Save, write, load."""
    guard.save(ufw.files() + [hook.path for hook in change.hooks], ufw.restore_commands(),
               undo=ufw.undo_commands())
    if seconds is not None:
        guard.arm(seconds)
    try:
        for hook in change.hooks:
            hook.write()
        guard.declare_applying()
        ufw.write(change.before, change.after, change.wanted, restart=bool(change.hooks or change.lost))
        # ufw copies over its files: a reset a moment after the login must not find half of them.
        settle(*(path for path in map(Path, ufw.files()) if path.exists()))
        guard.declare_complete()
    except Exception:
        guard.restore()
        raise
    if seconds is None:
        guard.discard()


def main() -> None:
    policy = {"type": "str", "choices": ["allow", "deny", "reject"]}
    module = AnsibleModule(
        argument_spec={
            "rules": {"type": "list", "elements": "str", "required": True},
            "incoming": {**policy, "default": "deny"},
            "outgoing": {**policy, "default": "allow"},
            "routed": {**policy, "default": "deny"},
            "logging": {"type": "str", "choices": ["off", "low", "medium", "high", "full"], "default": "low"},
            "others": {"type": "list", "elements": "str", "default": []},
            "ipv6": {"type": "bool", "default": True},
            "hooks": {"type": "list", "elements": "dict", "default": [], "options": HOOK},
            "confirm": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "default": "firewall"},
                    "seconds": {"type": "int", "default": 300},
                    "host": {"type": "str"},
                    "port": {"type": "int"},
                    "user": {"type": "str"},
                },
            },
        },
        supports_check_mode=True,
    )

    def succeeds(command: list[str]) -> bool:
        return module.run_command(command)[0] == 0

    def output(command: list[str]) -> str:
        rc, out = module.run_command(command)[:2]
        return out if rc == 0 else ""

    def run(command: list[str]) -> None:
        rc, out, err = module.run_command(command)
        if rc != 0:
            raise UfwError(f"`{' '.join(command)}` failed: {(err or out).strip()}")

    # ufw looks for its own helpers in PATH, and a session by ssh may come without these.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    name, others = (module.params["confirm"] or {}).get("name", "firewall"), module.params["others"]
    try:
        with alone():
            result = ensure(
                module.params, lambda: Ufw(run, output, others), Guard(name, run), succeeds, module.check_mode)
    except UfwMissing as error:
        if not module.check_mode:
            module.fail_json(msg=str(error))
        # A rehearsal on a bare machine: the package would have been installed by now, and all of this would be new.
        after = "".join(f"ufw {rule}\n" for rule in module.params["rules"])
        module.exit_json(changed=True, rules=[], rules6=[], diff=[{"before": "", "after": after}])
    except NotRestored as error:
        module.fail_json(msg=f"{error.reason}. {error}.")
    except (OSError, UfwError, ValueError) as error:
        module.fail_json(msg=f"{error}. Nothing was kept: the firewall is as it was.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
