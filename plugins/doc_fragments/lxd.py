# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the LXD plugins share in their documentation."""

from __future__ import annotations

import typing as t

import yaml
from ansible.plugins.connection import ssh


def _without_versions(node: t.Any) -> t.Any:
    """The versions in core's documentation are core's; in a collection they would be read as the collection's."""
    if isinstance(node, dict):
        return {key: _without_versions(value) for key, value in node.items() if key != "version_added"}
    if isinstance(node, list):
        return [_without_versions(value) for value in node]
    return node


def _ssh_options() -> str:
    """The options of the installed core's own ssh connection: never a copy that ages."""
    options = _without_versions(yaml.safe_load(ssh.DOCUMENTATION)["options"])
    return yaml.safe_dump({"options": options}, sort_keys=False)


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project:
    description: The LXD project. LXD's V(default) project when not given.
    type: str
  wait_timeout:
    description:
      - Seconds that the whole call may take, all waiting included. Nothing is ever stopped by force when they are over.
    type: int
    default: 300
requirements:
  - LXD 5.0 or later on the target, reached through its local socket, so by C(root) or a member of the group C(lxd)
  - pylxd 2.2.10 or later on the target (Debian and Ubuntu have it as C(python3-pylxd))
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns what differs, before and after.
    support: full
"""


# Not in the class: ansible-test reads a fragment's attributes without running it, and takes texts only.
ModuleDocFragment.SSH = _ssh_options()
