# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module of the same name on the host, then a login from here that confirms what it did."""

from __future__ import annotations

from ansible_collections.securebox.stack.plugins.plugin_utils.login import ConfirmedAction as ActionModule

__all__ = ["ActionModule"]
