#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
version_added: 0.1.0
short_description: Check the whole input of a site before the first change
description:
  - Validates the argument specification of every role for every host that gets it, and checks what specifications
    cannot say, such as overlapping networks, a size larger than the disk, or a missing secret.
  - Finds all problems at once. Each names the variable, the value found, what is wrong with it, and the file to edit.
  - Runs on the controller and touches no host.
author: The securebox.stack maintainers (@securebox)
extends_documentation_fragment:
  - securebox.stack.controller
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.conn
  - ansible.builtin.action_common_attributes.flow
options:
  roles:
    description: For each group of the inventory, the roles of this collection that its hosts get.
    type: dict
    required: true
  look:
    description: What the script of the playbook C(securebox.stack.check) printed on the server.
    type: str
  unreachable:
    description: Why the server could not be looked at, if so.
    type: str
"""

EXAMPLES = r"""
- name: Refuse a wrong input
  securebox.stack.inventory_check:
    roles:
      box: [hardening, firewall]
      tiers: [hardening]
    look: "{{ hostvars[groups.box[0]].__look.stdout }}"
"""

RETURN = r"""
problems:
  description: All problems that were found.
  returned: with C(-v), for programs; the message says the same to people
  type: list
  elements: dict
  sample:
    - variable: hardening_ssh_port
      value: "80"
      why: port 80 is the application's, and goes to the proxy
      edit: inventories/my/group_vars/box/hardening.yml:2
      hosts: [hospital]
"""
