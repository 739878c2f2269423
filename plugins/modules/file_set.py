#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Write the configuration files of several subjects as one change that can be undone
version_added: "0.1.0"
description:
  - Compares whole files of several subjects (ssh, updates, kernel, …) with what they should be, and writes those that
    differ. What a changed subject needs afterwards is checked and applied at once, in the same task.
  - When a check or a command fails, every file of the run is put back, and the commands of the changed subjects are
    run once more, so that the daemons have the old settings again.
  - With O(confirm), the change stays only if a I(new) login succeeds with the new settings. Otherwise a timer on the
    host itself puts the old state back, whatever has become of the network, of Ansible, or of the power supply.
author:
  - The securebox.stack maintainers (@securebox)
attributes:
  check_mode:
    description: Compares and reports; writes and runs nothing, so O(subjects[].check) is not run either.
    support: full
  diff_mode:
    description: One difference for each file.
    support: full
options:
  subjects:
    description: What is configured. All of it is written before the first check is run.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What people call it.
        type: str
        required: true
      files:
        description: Its files.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Where the file is. Missing directories above it are made.
            type: path
            required: true
          content:
            description: The whole content of the file.
            type: str
          secret_content:
            description: The same, but no log and no difference shows it, nor what was there before.
            type: str
          secret_lines:
            description:
              - Show all of the file, before and after, but for what follows this regular expression in a line. With
                O(subjects[].files[].secret_content) as long as there is such a line, else with
                O(subjects[].files[].content).
            type: str
          link:
            description: Make it a symbolic link to this path instead.
            type: path
          lines:
            description:
              - Leave the file to its owner but for these lines. For files of the distribution that know no drop-in.
                Mode and owner stay as they are. Without O(subjects[].files[].create), a missing file is not made.
            type: list
            elements: dict
            suboptions:
              match:
                description: A Python regular expression. All lines in which it is found count as one setting.
                type: str
                required: true
              line:
                description:
                  - What stands in the place of the first of them, or at the end of the file if there is none. The
                    others are removed, and when this is empty, all of them.
                type: str
                default: ""
              secret:
                description: The rest of that line. No log and no difference shows it.
                type: str
              prefix:
                description: A line that begins with the wanted one is as good; what follows is the daemon's own.
                type: bool
                default: false
          create:
            description: With O(subjects[].files[].lines), make the file if it is not there.
            type: bool
            default: false
          original:
            description: Where to keep, once, what somebody else had written there before.
            type: path
          mode:
            description: Its mode, in octal digits.
            type: str
            default: "0644"
          owner:
            description: The account that it belongs to, by name or number. Root when not given.
            type: str
          group:
            description: The group that it belongs to, by name or number. That of root when not given.
            type: str
          state:
            description: V(absent) removes it.
            type: str
            choices: [present, absent]
            default: present
      check:
        description: Commands that judge the files in their places, all settings of the machine together.
        type: list
        elements: list
        default: []
      apply:
        description:
          - Commands that make the files effective. They also have to do so for the old ones; then the variable
            E(SECUREBOX_RESTORING) is set for them.
        type: list
        elements: list
        default: []
      touches:
        description:
          - Paths that these commands change themselves. They are put back together with the files; of a directory, mode
            and owner only.
        type: list
        elements: path
        default: []
  confirm:
    description:
      - Who has to be able to log in afterwards. Only for connections by ssh; others cannot lock themselves out.
    type: dict
    suboptions:
      name:
        description: What the timer and the saved state are called.
        type: str
        default: file-set
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
  - module: securebox.stack.ufw_ruleset
"""

EXAMPLES = r"""
- name: Move ssh to another port, and keep it there only if a login succeeds
  securebox.stack.file_set:
    subjects:
      - name: ssh
        files:
          - path: /etc/ssh/sshd_config.d/00-port.conf
            content: |
              Port 822
        check: [[sshd, -t]]
        apply: [[systemctl, restart, ssh.service]]
    confirm:
      name: ssh
      port: 822
      user: admin
"""

RETURN = r"""
subjects:
  description: The names of the subjects that were changed.
  returned: always
  type: list
  elements: str
  sample: [ssh]
rollback:
  description: The commands that confirm the change, or put the old state back at once.
  returned: when the change waits for a login
  type: dict
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.securebox.stack.plugins.module_utils.guard import Guard, NotRestored
from ansible_collections.securebox.stack.plugins.module_utils.managed_file import ARGUMENTS, ManagedFile
from ansible_collections.securebox.stack.plugins.module_utils.sshd_admission import require_admission


class Subject:
    """Files that belong together, and the commands that go with them."""

    def __init__(self, params: t.Mapping[str, t.Any], **place: t.Any) -> None:
        self.name = params["name"]
        self.check = params["check"]
        self.apply = params["apply"]
        self.touches = params.get("touches") or []
        self.changes = [file for file in (ManagedFile(item, **place) for item in params["files"]) if file.changed]


def ensure(
    params: t.Mapping[str, t.Any],
    run: t.Callable[[list[str]], t.Any],
    check_mode: bool,
    **place: t.Any,
) -> dict[str, t.Any]:
    """Observe, compare, act. Free of AnsibleModule."""
    place["rehearsal"] = check_mode
    confirm = params.get("confirm")
    guard = Guard(confirm["name"] if confirm else "file-set", run, place.get("root", Path("/")), timed=bool(confirm))
    subjects = differing(params["subjects"], place)
    if guard.armed and not check_mode and (subjects or not guard.complete):
        # An earlier run was cut off on its way. Nobody knows how far it came, so this one begins at the beginning.
        guard.restore()
        subjects = differing(params["subjects"], place)
    if subjects and not check_mode:
        change(subjects, guard, run, confirm)

    result = {
        "changed": bool(subjects),
        "subjects": [subject.name for subject in subjects],
        "diff": [file.diff() for subject in subjects for file in subject.changes],
    }
    # Also when nothing changed: an earlier run may have been cut off between the change and its confirmation.
    if confirm and guard.armed and not check_mode:
        result["rollback"] = {"confirm": guard.confirm_command(), "restore": guard.restore_command()}
    return result


def differing(wanted: t.Sequence[t.Mapping[str, t.Any]], place: t.Mapping[str, t.Any]) -> list[Subject]:
    return [subject for subject in (Subject(item, **place) for item in wanted) if subject.changes]


def change(
    subjects: t.Sequence[Subject],
    guard: Guard,
    run: t.Callable[[list[str]], t.Any],
    confirm: t.Mapping[str, t.Any] | None,
) -> None:
    """Save, write, check, apply. Without a confirmation, the saved state serves only until all of it has worked."""
    files = [file for subject in subjects for file in subject.changes]
    checks = [command for subject in subjects for command in subject.check]
    applying = [command for subject in subjects for command in subject.apply]
    paths = [path for file in files for path in file.written]
    touched = [path for subject in subjects for path in subject.touches]
    guard.save(list(dict.fromkeys([*paths, *touched])), applying, checks)
    if confirm:
        guard.arm(confirm["seconds"])
    try:
        for file in files:
            file.write()
        for command in checks:
            run(command)
        if confirm and confirm.get("user"):
            require_admission(confirm["user"], run)
        guard.declare_applying()
        for command in applying:
            run(command)
        guard.declare_complete()
    except Exception:
        guard.restore()
        raise
    if not confirm:
        guard.discard()


def main() -> None:
    commands = {"type": "list", "elements": "list", "default": []}
    module = AnsibleModule(
        argument_spec={
            "subjects": {
                "type": "list", "elements": "dict", "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "files": {"type": "list", "elements": "dict", "default": [], "options": ARGUMENTS},
                    "check": commands,
                    "apply": commands,
                    "touches": {"type": "list", "elements": "path", "default": []},
                },
            },
            "confirm": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "default": "file-set"},
                    "seconds": {"type": "int", "default": 300},
                    "host": {"type": "str"},
                    "port": {"type": "int"},
                    "user": {"type": "str"},
                },
            },
        },
        supports_check_mode=True,
    )

    def run(command: list[str]) -> str:
        rc, out, err = module.run_command(command, handle_exceptions=False)
        if rc != 0:
            raise RuntimeError(f"`{' '.join(command)}` failed: {(err or out).strip()}")
        return out

    try:
        result = ensure(module.params, run, module.check_mode)
    except NotRestored as error:
        module.fail_json(msg=f"{error.reason}. {error}.")
    except (OSError, RuntimeError, ValueError) as error:
        module.fail_json(msg=f"{error}. Nothing was kept: the files are as they were.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
