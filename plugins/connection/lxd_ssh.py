# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: lxd_ssh
short_description: Reach the LXD containers of a remote box through ssh to the box
version_added: 0.1.0
author: The securebox.stack maintainers (@securebox)
description:
  - Logs in to the box with core's own P(ansible.builtin.ssh#connection), all of whose options apply, and runs
    C(lxc exec) there. No container needs an ssh server, and all containers of a box share one ssh connection.
  - Inside the container everything runs as C(root); become other users there as usual. The O(remote_user) is the
    account on the box.
  - Pipelining is always on, and a terminal is never asked for.
options:
  lxd_instance:
    description: Name of the instance on the box.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_lxd_ssh_instance
  lxd_project:
    description: LXD project of the instance. LXD's V(default) project when not given.
    type: str
    vars:
      - name: ansible_lxd_ssh_project
  lxd_sudo:
    description:
      - Whether C(lxc) is run with C(sudo -n) on the box.
      - When not given, it is if the O(remote_user) is not C(root).
    type: bool
    vars:
      - name: ansible_lxd_ssh_sudo
  lxd_executable:
    description: Path or name of C(lxc) on the box.
    type: str
    default: lxc
    vars:
      - name: ansible_lxd_ssh_executable
extends_documentation_fragment:
  - connection_pipelining
  - securebox.stack.lxd.ssh
"""

import re
import shlex
import typing as t
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.plugins.connection.ssh import Connection as SshConnection

NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}(?<!-)")

# The shell inside says that it is there, so that a failure on the way is never taken for the command's own. 255 is
# what ssh answers when *it* fails; the command's own 255 travels as a mark and 254.
INSIDE = b"securebox.stack.lxd_ssh: inside\n"
WAS_255 = b"securebox.stack.lxd_ssh: 255\n"
# On a busy box an LXD before 5.14 now and then loses what a command wrote just before it ended, and calls it a success
# (canonical/lxd issue 11422). Most often it does not, if the shell ends a moment later; if it does, the end is missing.
END = b"securebox.stack.lxd_ssh: end\n"
SCRIPT = (
    f'echo "{INSIDE.decode().strip()}" >&2; /bin/sh -c "$1"; rc=$?; '
    f'[ "$rc" != 255 ] || {{ echo "{WAS_255.decode().strip()}" >&2; rc=254; }}; '
    f'echo "{END.decode().strip()}"; sleep 0.05; exit "$rc"'
)

# What went wrong on the way inside, and what to do about it: the first that matches.
CAUSES = (
    (r"not running|is stopped", "is not running: start it with `lxc start {instance}`"),
    (r"Instance not found|Project not found|not found in project|[Nn]o such object|Failed to fetch instance",
     "does not exist in project {project}: look at `lxc list --project {project}`, "
     "and set ansible_lxd_ssh_instance or ansible_lxd_ssh_project"),
    (r"sudo: .*(password|may not|not allowed|sudoers)|not in the sudoers|not allowed to",
     "cannot be entered: {user} may not run lxc with sudo without a password. Connect as root, or allow it with "
     "`{user} ALL=(root) NOPASSWD: /usr/bin/lxc` in /etc/sudoers.d"),
    (r"permission denied", "cannot be entered: {user} has no access to LXD. Set ansible_lxd_ssh_sudo: true"),
    (r"sudo: (command )?not found", "cannot be entered: there is no sudo. Set ansible_lxd_ssh_sudo: false"),
    (r"lxc.*(not found|No such file)", "cannot be entered: there is no {executable}. Install LXD there (role "
     "securebox.stack.lxd), or set ansible_lxd_ssh_executable"),
    (r"unix\.socket|connection refused", "cannot be entered: LXD does not answer. Look at `systemctl status lxd`"),
)


class Connection(SshConnection):
    """ssh to the box, `lxc exec` there."""

    transport = "securebox.stack.lxd_ssh"

    def set_options(self, task_keys: t.Any = None, var_options: t.Any = None, direct: t.Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        self.set_option("pipelining", True)
        self.set_option("use_tty", False)
        # For Ansible the user is who commands run as: home directories, and whether to become anyone, follow from it.
        self._box_user = self.get_option("remote_user")
        self.set_option("remote_user", "root")

    def _build_command(self, binary: str, subsystem: str, *other_args: t.Any) -> list[bytes]:
        self.set_option("remote_user", self._box_user)
        try:
            return super()._build_command(binary, subsystem, *other_args)
        finally:
            self.set_option("remote_user", "root")

    def _inside(self, command: str) -> str:
        """The command line for the box's shell. Quoted here for that shell; the inner one gets it as one argument."""
        instance, project = self.get_option("lxd_instance"), self.get_option("lxd_project")
        if not NAME.fullmatch(instance or ""):
            raise AnsibleError(f"{instance!r} cannot be the name of an LXD instance: set ansible_lxd_ssh_instance")
        sudo = self.get_option("lxd_sudo")
        argv = ["sudo", "-n"] if (sudo if sudo is not None else self._box_user != "root") else []
        argv += [self.get_option("lxd_executable"), "exec", "-T"] + (["--project", project] if project else [])
        return shlex.join([*argv, instance, "--", "/bin/sh", "-c", SCRIPT, "sh", command])

    def _explain(self, stderr: str) -> AnsibleConnectionFailure:
        names = {
            "instance": self.get_option("lxd_instance"), "project": self.get_option("lxd_project") or "default",
            "user": self._box_user or "the remote user", "executable": self.get_option("lxd_executable"),
        }
        said = (stderr.strip().splitlines() or ["nothing was said"])[-1]
        cause = next((text for pattern, text in CAUSES if re.search(pattern, stderr)), "cannot be entered")
        text = cause.format(**names)
        return AnsibleConnectionFailure(f"Instance {names['instance']} on {self.host} {text} ({said})")

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command inside, as root, through /bin/sh."""
        rc, stdout, stderr = super().exec_command(self._inside(cmd), in_data=in_data, sudoable=sudoable)
        if rc == 0 and not (INSIDE in stderr and END in stdout):
            raise AnsibleConnectionFailure(
                f"LXD on {self.host} lost what a command in {self.get_option('lxd_instance')} has said, although it "
                "came to its end (a known defect before LXD 5.14, on busy machines): run the playbook again"
            )
        if INSIDE not in stderr:
            raise self._explain(stderr.decode(errors="replace"))
        stderr = stderr.replace(INSIDE, b"", 1)
        # What still runs in the background may have written behind it.
        stdout = b"".join(stdout.rpartition(END)[::2])
        if rc == 254 and WAS_255 in stderr:
            return 255, stdout, stderr.replace(WAS_255, b"", 1)
        return rc, stdout, stderr

    def _file_transport_command(self, in_path: str, out_path: str, sftp_action: str) -> tuple[int, bytes, bytes]:
        """What put_file and fetch_file of the ssh connection call: no sftp here, the bytes go through `cat`."""
        if sftp_action == "put":
            data = Path(in_path).read_bytes()
            # Without input ssh waits for a terminal's, for ever.
            target = shlex.quote(out_path)
            result = self.exec_command(f"cat > {target}" if data else f": > {target}", in_data=data, sudoable=False)
        else:
            result = self.exec_command(f"cat < {shlex.quote(in_path)}", sudoable=False)
        if result[0] != 0:
            error = AnsibleFileNotFound if b"No such file" in result[2] and sftp_action == "get" else AnsibleError
            reason = result[2].decode(errors="replace").strip()
            raise error(f"{self.get_option('lxd_instance')}: could not {sftp_action} {in_path} as {out_path}: {reason}")
        if sftp_action == "get":
            Path(out_path).write_bytes(result[1])
        return result
