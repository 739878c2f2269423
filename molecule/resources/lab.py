#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for tests and for `make demo`: `lab.py --help` says what it can do."""

import sys

from lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
