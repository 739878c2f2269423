# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the server: what of the marked frames comes through a bridge. Prints the marks heard within some seconds."""

import re
import socket
import sys
import time

bridge, seconds = sys.argv[1], float(sys.argv[2])
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
receiver.bind((bridge, 0))
receiver.settimeout(0.2)
heard = set()
print("listening", file=sys.stderr, flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        frame = receiver.recv(2048)
    except TimeoutError:
        continue
    heard |= {mark.decode() for mark in re.findall(rb"<([a-z0-9-]+)>", frame)}
print(" ".join(sorted(heard)))
