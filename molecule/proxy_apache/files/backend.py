#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wiki in name only: an HTTPS server that says what it was asked, so that a test can see what the proxy passed on.

/status/NNN answers with that status, /large with a header of 12 kB, /policy with a Content-Security-Policy of its own.
Three ports: 8443 with a good certificate, 8444 with one of another CA, 8445 with one for another name.
"""

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORTS = {8443: "good", 8444: "other-ca", 8445: "other-name"}


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Wiki/1.2.3"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
        text = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "received": len(body),
                "peer": self.client_address[0],
                # The same number in two answers means the same connection.
                "connection": self.client_address[1],
                "tls": self.connection.version(),
            }
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Powered-By", "Wiki 1.2.3")
        self.send_header("X-Frame-Options", "ALLOWALL")
        if self.path == "/policy":
            self.send_header("Content-Security-Policy", "script-src 'none'")
        if self.path == "/large":
            self.send_header("X-Large", "x" * 12000)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def serve(port, directory):
    server = ThreadingHTTPServer(("", port), Echo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{PORTS[port]}.crt", directory / f"{PORTS[port]}.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    threads = [threading.Thread(target=serve, args=(port, Path(sys.argv[1]))) for port in PORTS]
    for thread in threads:
        thread.start()
