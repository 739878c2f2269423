#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: encrypted_volume_info
short_description: Show a LUKS2 volume, its key slots and its mount, without the passphrase
version_added: "0.1.0"
description:
  - Reads the LUKS2 header, the device-mapper and the mount table. Needs no passphrase and changes nothing.
author:
  - The securebox.stack maintainers (@securebox)
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
  diff_mode:
    description: There is no difference to show.
    support: N/A
extends_documentation_fragment:
  - securebox.stack.encrypted_volume
seealso:
  - module: securebox.stack.encrypted_volume
"""

EXAMPLES = r"""
- name: Look at the volume
  securebox.stack.encrypted_volume_info:
    name: vault
    file: /var/lib/vault.luks
    uuid: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11
    mount_point: /srv/vault
  register: __vault
"""

RETURN = r"""
volume:
  description: The volume as it is.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: vault
    state:
      description:
        - V(absent), V(foreign) (something else is there), V(initialising) (never finished), V(closed), V(interrupted)
          (half open or suspended, as cryptsetup was killed; opening and closing mend it), V(open) or V(mounted).
      type: str
      sample: mounted
    uuid:
      description: The LUKS UUID found, whatever was expected.
      type: str
      sample: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11
    expected:
      description: Whether that is the UUID that was expected.
      type: bool
      sample: true
    backing:
      description: The file or device.
      type: str
      sample: /var/lib/vault.luks
    kind:
      description: What it is, V(file) or V(block) if all is well.
      type: str
      sample: file
    size:
      description: Its size in bytes.
      type: int
      sample: 64424509440
    device:
      description: The open device, if any.
      type: str
      sample: /dev/mapper/vault
    mount_point:
      description: Where it is, or would be, mounted.
      type: str
      sample: /srv/vault
    mounted:
      description: Whether it is mounted there.
      type: bool
      sample: true
    free:
      description: Free bytes, when mounted.
      type: int
      sample: 60129542144
    capacity:
      description: All bytes of the file system, when mounted.
      type: int
      sample: 63350767616
    cipher:
      description: The cipher.
      type: str
      sample: aes-xts-plain64
    sector_size:
      description: The encryption's sector size.
      type: int
      sample: 512
    keyslots:
      description: The key slots in use, each with its cost (memory in KiB).
      type: list
      elements: dict
      sample: [{slot: 0, key_size: 512, pbkdf: argon2id, memory: 1048576, iterations: 4, parallel: 2}]
    header_digest:
      description: Changes whenever a key slot changes.
      type: str
      sample: 0a1b2c3d4e5f6071
    unencrypted_swap:
      description: Swap areas that would write memory to disk in clear.
      type: list
      elements: str
      sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.encrypted_volume import Spec, Volume
from ..module_utils.encrypted_volume_system import VolumeError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "file": {"type": "path"},
            "device": {"type": "path"},
            "uuid": {"type": "str", "required": True},
            "mount_point": {"type": "path", "required": True},
        },
        mutually_exclusive=[("file", "device")],
        required_one_of=[("file", "device")],
        supports_check_mode=True,
    )
    try:
        volume = Volume(Spec.build(module.params))
        module.exit_json(changed=False, volume=volume.info(volume.observe()))
    except VolumeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
