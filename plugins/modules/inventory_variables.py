#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_variables
version_added: 0.1.0
short_description: Give the resolved variables of a site to another program
description:
  - Resolves the variables of the roles of this collection for every host, with the defaults of the roles, and leaves
    out every secret.
  - For each secret there is a keyed hash with a random key, by which a program can look for it without knowing it.
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
"""

EXAMPLES = r"""
- name: Describe the site
  securebox.stack.inventory_variables:
    roles:
      box: [hardening, firewall]
      tiers: [hardening]
  register: __site
  no_log: true
"""

RETURN = r"""
hosts:
  description: For each host its variables.
  returned: success
  type: dict
groups:
  description: For each group its hosts.
  returned: success
  type: dict
canaries:
  description: A random key, the keyed hash of each secret with its variable's name, and a sample that is among them.
  returned: success
  type: dict
"""
