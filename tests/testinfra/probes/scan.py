# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Knocks at ports of one address, and prints what it saw as JSON. Arguments: the address, ports of UDP as JSON.

All 65,535 of TCP, some thousand at a time with two seconds for each, so that its time is bounded by what it asks, not
by who answers: at most half a minute. It needs no rights, and runs wherever there is a Python: on the workstation, on
another host, with a stranger next to the box.
"""

import contextlib
import errno
import json
import resource
import selectors
import socket
import sys
import time

AT_ONCE, WAIT = 4000, 2.0
# Said before a packet has left: the machine has no way to that address.
NO_WAY = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM}


def caller_of(kind, protocol):
    caller = socket.socket(kind, protocol)
    caller.setblocking(False)
    return caller


def tcp(kind, address, at_once):
    """(open, refused, whether there is a way). What neither opened nor was refused stayed silent."""
    opened, refused = [], []
    for first in range(1, 65536, at_once):
        waiting = selectors.DefaultSelector()
        for port in range(first, min(first + at_once, 65536)):
            caller = caller_of(kind, socket.SOCK_STREAM)
            if caller.connect_ex((address, port)) in NO_WAY:
                return [], [], False
            waiting.register(caller, selectors.EVENT_WRITE, port)
        end = time.monotonic() + WAIT
        while waiting.get_map() and time.monotonic() < end:
            for key, _event in waiting.select(0.2):
                waiting.unregister(key.fileobj)
                error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    opened.append(key.data)
                elif error in (errno.ECONNREFUSED, errno.ECONNRESET):
                    refused.append(key.data)
                key.fileobj.close()
        for key in list(waiting.get_map().values()):
            key.fileobj.close()
        waiting.close()
    return sorted(opened), sorted(refused), True


def udp(kind, address, ports):
    """Who answered. A refusal is an answer too: then the packet was let in, and nobody happened to listen."""
    answers = {}
    callers = {port: caller_of(kind, socket.SOCK_DGRAM) for port in ports}
    for _try in range(2):
        for port, caller in callers.items():
            # Other errors are the word of a filter on the way, not of the box.
            with contextlib.suppress(OSError):
                try:
                    caller.connect((address, port))
                    caller.send(b"?")
                except ConnectionRefusedError as error:
                    answers[port] = str(error)
        time.sleep(1)
    for port, caller in callers.items():
        with contextlib.suppress(OSError):
            try:
                answers[port] = repr(caller.recv(100))
            except ConnectionRefusedError as error:
                answers[port] = str(error)
        caller.close()
    return answers


def main(address, ports):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = AT_ONCE + 100 if most == resource.RLIM_INFINITY else min(AT_ONCE + 100, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, most))
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    begun = time.monotonic()
    opened, refused, way = tcp(kind, address, room - 100)
    seen = {
        "address": address,
        "way": way,
        "asked": 65535 if way else 0,
        "open": opened,
        "refused": len(refused),
        "refused_ports": refused[:20],
        "udp_asked": len(ports) if way else 0,
        "udp": udp(kind, address, ports) if way else {},
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(seen))


main(sys.argv[1], json.loads(sys.argv[2]))
