# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives away the files in /srv/depot, over TLS."""

import functools
import http.server
import ssl

handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="/srv/depot")
server = http.server.ThreadingHTTPServer(("", 8444), handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/etc/ssl/internal.crt", "/etc/ssl/private/internal.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
