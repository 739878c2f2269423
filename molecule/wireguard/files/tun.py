# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets machines of the lab open /dev/net/tun, which not every machine that runs the lab leaves open to all."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "resources"))

from lab import lxd, paths

for name in sys.argv[1:]:
    instance = paths.instance("wireguard", name)
    if "tun" not in lxd.query(f"/1.0/instances/{instance}")["devices"]:
        lxd.lxc("config", "device", "add", instance, "tun", "unix-char", "path=/dev/net/tun", "mode=0666")
