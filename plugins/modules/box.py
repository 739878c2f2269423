#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: box
short_description: Unlock, lock, or look at a box, by the command securebox on it
version_added: "0.1.0"
description:
  - Runs C(securebox unlock), C(lock) or C(status) on the box, and returns what it says. The order of the steps and
    their checks are the command's; see the role P(securebox.stack.encrypted_volume#role), which installs it.
  - The passphrase goes through the connection's standard input into that command. If the volume is open already, it is
    neither looked up nor asked for.
notes:
  - With become, the method has to pass standard input through, as C(sudo) does, with or without a password.
author:
  - The securebox.stack maintainers (@securebox)
attributes:
  check_mode:
    description: Tries the passphrase, and says which steps would change something.
    support: full
  diff_mode:
    description: RV(steps) is the difference.
    support: none
options:
  state:
    description: What the box is to be; V(status) only looks.
    type: str
    choices: [unlocked, locked, status]
    required: true
  volume_only:
    description: With V(unlocked), open and mount the volume, and start nothing.
    type: bool
    default: false
  passphrase_variable:
    description:
      - The I(name) of the variable that holds the passphrase. If it is undefined or empty, the passphrase is asked on
        the terminal.
    type: str
    default: encrypted_volume_passphrase
seealso:
  - module: securebox.stack.encrypted_volume
"""

EXAMPLES = r"""
- name: Unlock the box
  securebox.stack.box:
    state: unlocked

- name: Look at it
  securebox.stack.box:
    state: status
  register: __box
"""

RETURN = r"""
state:
  description: V(unlocked) and well, V(locked), or V(degraded).
  returned: always
  type: str
  sample: unlocked
problems:
  description: What is wrong, in sentences.
  returned: always
  type: list
  elements: str
  sample: []
attention:
  description: What is not wrong yet, as support that ends and restarts that are due; each with the machine before it.
  returned: when O(state) is V(status)
  type: list
  elements: str
  sample: ["db1: needs restart: asked for by libc6"]
steps:
  description: The steps that were done, in their order.
  returned: when O(state) is not V(status)
  type: list
  elements: dict
  sample: [{name: open, seconds: 2.1, changed: true}]
failed_step:
  description: The step that failed.
  returned: failure
  type: str
  sample: ready app1
volume:
  description: The volume, as M(securebox.stack.encrypted_volume_info) shows it.
  returned: always
  type: dict
  sample: {name: securebox, state: mounted}
dependents:
  description: What needs the volume, in the order of starting.
  returned: always
  type: list
  elements: dict
  sample: [{name: db1, kind: instance, keep: false, running: true, ready: true}]
"""

# The action plugin of the same name does it all: a module on the target could get the passphrase as an argument only.
