#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lxd_storage_attachment
short_description: Hand a directory or a storage volume to an LXD instance
version_added: 0.1.0
author: The securebox.stack maintainers (@securebox)
description:
  - Gives an instance a directory of the host, or a custom volume of a storage pool, as a disk device.
  - All other devices and settings of the instance stay as they are, also when somebody else changes them at the same
    time.
  - A directory can be bound to the volume that it has to lie in (O(luks_uuid), O(filesystem_uuid)). While another
    volume, or none, is mounted there, the module refuses, so that data never lands beside an encrypted volume.
options:
  instance:
    description: Name of the instance.
    type: str
    required: true
  device:
    description: Name of the disk device.
    type: str
    default: data
  source:
    description: Directory of the host.
    type: path
  pool:
    description: Storage pool of the O(volume).
    type: str
  volume:
    description: Custom volume to attach instead of a directory. It has to exist.
    type: str
  path:
    description: Where the instance finds it. Required if O(state=present).
    type: str
  luks_uuid:
    description:
      - UUID of the LUKS2 volume that O(source) has to lie in. That volume has to be open and mounted, and O(source) has
        to be a directory inside it, not its mount point.
    type: str
  filesystem_uuid:
    description: UUID of the mounted filesystem that O(source) has to lie in.
    type: str
  shift:
    description:
      - Map the owners of the files into the instance's own range of ids, so that a directory of C(root) belongs to
        C(root) inside.
      - Where the kernel cannot, a fresh directory is given to the instance's own ids instead, with a warning, and
        anything else is refused. Custom volumes are mapped by LXD in any case.
    type: bool
    default: true
  readonly:
    description: Whether the instance may only read.
    type: bool
    default: false
  state:
    description: Whether it is attached. Detaching deletes nothing.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - securebox.stack.lxd
seealso:
  - module: securebox.stack.lxd_instances
  - module: securebox.stack.encrypted_volume
"""

EXAMPLES = r"""
- name: Give the database its directory on the encrypted volume
  securebox.stack.lxd_storage_attachment:
    instance: db1
    source: /srv/securebox/db1
    path: /var/lib/postgresql
    luks_uuid: 5a1f4b0e-8f7e-5d43-9d0c-3c7e0a2f6f11

- name: Attach a custom volume
  securebox.stack.lxd_storage_attachment:
    instance: web1
    device: uploads
    pool: default
    volume: uploads
    path: /srv/uploads

- name: Take it away again; the data stays where it is
  securebox.stack.lxd_storage_attachment:
    instance: web1
    device: uploads
    state: absent
"""

RETURN = r"""
attachment:
  description: The disk device as it is now, or would be. Empty when there is none.
  returned: success
  type: dict
  sample: {type: disk, source: /srv/securebox/db1, path: /var/lib/postgresql, shift: "true"}
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.securebox.stack.plugins.module_utils import lxd
from ansible_collections.securebox.stack.plugins.module_utils.lxd_attachment import ensure


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **lxd.ARGUMENTS,
            "instance": {"type": "str", "required": True},
            "device": {"type": "str", "default": "data"},
            "source": {"type": "path"},
            "pool": {"type": "str"},
            "volume": {"type": "str"},
            "path": {"type": "str"},
            "luks_uuid": {"type": "str"},
            "filesystem_uuid": {"type": "str"},
            "shift": {"type": "bool", "default": True},
            "readonly": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        mutually_exclusive=[("source", "volume"), ("luks_uuid", "volume"), ("filesystem_uuid", "volume")],
        required_together=[("pool", "volume")],
        required_if=[("state", "present", ["path"]), ("state", "present", ["source", "volume"], True)],
        supports_check_mode=True,
    )
    if lxd.pylxd is None:
        module.fail_json(msg=missing_required_lib("pylxd"))
    try:
        result = ensure(module.params, lxd.Lxd.connect(module.params), module.check_mode)
    except lxd.LxdError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
