#!/usr/bin/python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application with a login: its right password is "right". Everything else is open, and says who calls.

/api/auth/login answers 401, as DHIS2 does now; /dhis-web-commons-security/login.action sends back to the login page, as
DHIS2 did; /login is sent on with whatever question it has; /quiet/login answers 200 whatever happens, and writes into a
log of its own who was refused.
"""

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOG = Path("/var/log/application/login.log")


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text="", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def caller(self):
        return self.headers.get("X-Forwarded-For", "")

    def do_GET(self):
        # As for a page whose session has ended: nobody tried a password.
        stale = self.path.startswith("/api/me") and "Authorization" not in self.headers
        wrong = self.path.startswith("/api/") and "Authorization" in self.headers
        if self.path.startswith("/login?"):
            self.answer(302, Location=self.path.replace("?", "/?"))
        else:
            self.answer(401 if stale or wrong else 200, self.caller())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        user, _, password = body.partition(":")
        refused = password != "right"
        if self.path.endswith("login.action"):
            self.answer(302, Location="/dhis-web-commons/security/login.action?failed=true" if refused else "/home")
        elif self.path == "/quiet/login":
            with LOG.open("a") as log:
                log.write(f"{'refused' if refused else 'welcome'} {self.caller()} as {user}\n")
            self.answer(200)
        else:
            self.answer(401 if refused else 200)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 8443), Application)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
