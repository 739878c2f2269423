# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: servers to try the collection on, as LXD containers or as QEMU machines, behind one interface.

Standard library only, so that it runs before anything is installed.
"""
