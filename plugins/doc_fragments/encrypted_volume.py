# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that say which volume is meant."""

    DOCUMENTATION = r"""
options:
  name:
    description: Name of the open volume, as in C(/dev/mapper/NAME).
    type: str
    required: true
  file:
    description: The file that holds the volume. Exactly one of O(file) and O(device).
    type: path
  device:
    description: The block device that holds the volume, best by its name below C(/dev/disk/by-id).
    type: path
  uuid:
    description: The LUKS UUID that the volume has, or gets. A volume with any other UUID is refused.
    type: str
    required: true
  mount_point:
    description: Where the volume is mounted. While it is not, this directory is immutable and empty.
    type: path
    required: true
"""
