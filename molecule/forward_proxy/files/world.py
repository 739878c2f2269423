#!/usr/bin/python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the working directory by http (80) and https (443), each request with its headers in a log."""

import functools
import http.server
import json
import ssl
import sys
import threading
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with Path("/var/log/world.log").open("a") as log:
            log.write(json.dumps({"path": self.path, "headers": dict(self.headers)}) + "\n")
        super().do_GET()


servers = [http.server.ThreadingHTTPServer(("", port), functools.partial(Handler, directory=sys.argv[1]))
           for port in (80, 443, 8080)]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key")
servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
for server in servers:
    threading.Thread(target=server.serve_forever).start()
