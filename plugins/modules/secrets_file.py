#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets_file
version_added: 0.1.0
short_description: Fill the empty secrets of a vault file with random values
description:
  - Every variable C(vault_...) of the file that has no value gets a fresh random one. A value is never changed.
  - The file is encrypted with the vault password of this run. Without one, nothing is written.
  - Runs on the controller. No value is ever shown.
author: The securebox.stack maintainers (@securebox)
extends_documentation_fragment:
  - securebox.stack.controller
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.conn
  - ansible.builtin.action_common_attributes.flow
attributes:
  diff_mode:
    details: A difference would show secrets.
options:
  path:
    description: The file, in clear or encrypted.
    type: path
    required: true
  type_passphrase:
    description: Ask for the volume's passphrase, twice, instead of generating it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Fill in what is empty
  securebox.stack.secrets_file:
    path: "{{ inventory_dir }}/group_vars/all/vault.yml"
"""

RETURN = r"""
filled:
  description: Names of the variables that got a value.
  returned: success
  type: list
  elements: str
  sample: [vault_db_postgresql_password]
encrypted:
  description: Whether the file was in clear before.
  returned: success
  type: bool
path:
  description: The file.
  returned: success
  type: str
"""
