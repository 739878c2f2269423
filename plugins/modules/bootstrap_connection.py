#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap_connection
short_description: Find out whether a server is still bare or already hardened, by logging in
version_added: "0.1.0"
description:
  - Tries to log in by ssh as the inventory says (C(ansible_port), C(ansible_user)), and then at the port and account
    that the server was delivered with. The first way that works is the answer; nothing is changed.
  - Each try is a real login, and its connection is kept for the tasks that follow.
  - When neither works, the message says for each what is wrong and what to do.
author:
  - The securebox.stack maintainers (@securebox)
attributes:
  check_mode:
    description: Changes nothing anyway.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
options:
  host:
    description:
      - Another address of the server, if the inventory's (C(ansible_host)) is one inside a tunnel. It is tried when
        that one does not answer, and for a server as delivered.
    type: str
  port:
    description: The port to connect to on a server as delivered.
    type: int
    default: 22
  user:
    description: The account that a server is delivered with.
    type: str
    default: root
  become:
    description: Whether tasks need C(become) with accounts other than C(root).
    type: bool
    default: true
seealso:
  - module: securebox.stack.file_set
"""

EXAMPLES = r"""
- name: Log in as the inventory says, or else as the server was delivered
  securebox.stack.bootstrap_connection:
    port: 22
    user: root
  register: securebox_login

- name: Go on by the way that works
  ansible.builtin.set_fact:
    ansible_host: "{{ securebox_login.reached.host }}"
    ansible_port: "{{ securebox_login.reached.port }}"
    ansible_user: "{{ securebox_login.reached.user }}"
    ansible_become: "{{ securebox_login.reached.become }}"
"""

RETURN = r"""
hardened:
  description: Whether the way of the inventory was the one that worked.
  returned: success
  type: bool
host:
  description: The address as the inventory wants it.
  returned: success
  type: str
port:
  description: The port as the inventory wants it.
  returned: success
  type: int
user:
  description: The account as the inventory wants it.
  returned: success
  type: str
reached:
  description: The way in that works now.
  returned: success
  type: dict
  contains:
    host:
      description: The address.
      type: str
    port:
      description: The port.
      type: int
    user:
      description: The account.
      type: str
    become:
      description: Whether tasks have to become root.
      type: bool
"""
