#!/usr/bin/python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells every caller the address that it came from, at each of the given ports."""

import socketserver
import sys
import threading


class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall((self.client_address[0].removeprefix("::ffff:") + "\n").encode())


class Server(socketserver.ThreadingTCPServer):
    address_family = socketserver.socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


for port in sys.argv[1:]:
    threading.Thread(target=Server(("::", int(port)), Answer).serve_forever).start()
