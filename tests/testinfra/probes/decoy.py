# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: listens at a port by TCP and UDP for a while, so that silence outside proves something.

Prints as JSON what the box itself hears there, and who listens. It ends by itself.
"""

import json
import os
import signal
import socket
import sys
import threading


def sockets(port):
    """One of each kind that this machine has."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                server = socket.socket(family, kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((address, port))
            except OSError:
                continue
            if kind == socket.SOCK_STREAM:
                server.listen(50)
            yield kind, server


def serve(kind, server):
    while True:
        if kind == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            text, caller = server.recvfrom(100)
            server.sendto(text, caller)


def heard(port):
    """What the box itself gets there."""
    seen = {}
    with socket.create_connection(("127.0.0.1", port), 3):
        seen["tcp"] = "open"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        caller.settimeout(3)
        caller.sendto(b"?", ("127.0.0.1", port))
        seen["udp"] = repr(caller.recv(100))
    return seen


def main(given):
    listening = list(sockets(given["port"]))
    child = os.fork()
    if child:
        for _kind, server in listening:
            server.close()
        print(json.dumps({"pid": child, **heard(given["port"])}))
        return
    # Nothing of the session that started it is held, so that it can end.
    os.setsid()
    signal.alarm(given["seconds"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    for pair in listening:
        threading.Thread(target=serve, args=pair, daemon=True).start()
    signal.pause()


if "GIVEN" in globals():
    main(json.loads(globals()["GIVEN"]))  # put before this text by whoever sends it
    sys.stdout.flush()
