# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A browser's view of the proxy, and an administrator's hand on it. Shared by the scenarios of the two proxy roles."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import socket
import ssl
import subprocess
import threading
import time
import typing as t

SITE = "wiki.example.org"


@dataclasses.dataclass
class Answer:
    status: int
    version: str
    headers: list[tuple[str, str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str:
        return ", ".join(self.all(name))

    @property
    def json(self) -> dict[str, t.Any]:
        return json.loads(self.body)


class Browser:
    """Asks the proxy at its address, whatever name the question is for."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, url: str, *options: str, data: bytes = b"") -> Answer:
        """One request by curl. Redirects are shown, not followed."""
        name = url.split("/")[2]
        pins = [word for port in (80, 443) for word in ("--resolve", f"{name}:{port}:{self.address}")]
        body = ["--data-binary", "@-"] if data else []
        command = ["curl", "--silent", "--insecure", "--max-time", "30", "--include", *pins, *body, *options, url]
        # Latin-1, because a header is bytes.
        text = subprocess.run(command, input=data, capture_output=True, check=False).stdout.decode("latin-1")
        head, _, rest = text.partition("\r\n\r\n")
        if not head:
            return Answer(0, "", [], "")
        first, *lines = head.split("\r\n")
        version, status = first.split()[:2]
        pairs = [line.split(": ", 1) for line in lines if ": " in line]
        return Answer(int(status), version, [(key.lower(), value) for key, value in pairs], rest)

    def get(self, path: str = "/", *options: str, data: bytes = b"") -> Answer:
        return self.ask(f"https://{SITE}{path}", *options, data=data)

    def handshake(self, **settings: t.Any) -> tuple[str, str]:
        """(TLS version, cipher) that the proxy agrees to; raises OSError when it refuses."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Level 0: it is the proxy that has to refuse what is weak, not this client.
        context.set_ciphers(settings.pop("ciphers", "ALL") + ":@SECLEVEL=0")
        for key, value in settings.items():
            setattr(context, key, value)
        with (
            socket.create_connection((self.address, 443), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=SITE) as line,
        ):
            return line.version() or "", (line.cipher() or ("",))[0]

    def certificate(self) -> bytes:
        """The certificate that is served now, DER."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection((self.address, 443), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=SITE) as line,
        ):
            return line.getpeercert(binary_form=True) or b""


# Requests below which "none failed" says little.
ENOUGH = 50


class Load:
    """Fresh https connections in the background; what went wrong, and which certificates were seen."""

    def __init__(self, browser: Browser, workers: int = 2) -> None:
        self.address = browser.address
        self.requests = 0
        self.failures: list[str] = []
        self.certificates: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(workers)]

    def _run(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        question = f"GET /load HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n".encode()
        while not self._stop.is_set():
            self.requests += 1
            try:
                with (
                    socket.create_connection((self.address, 443), timeout=20) as raw,
                    context.wrap_socket(raw, server_hostname=SITE) as line,
                ):
                    seen = hashlib.sha256(line.getpeercert(binary_form=True) or b"").hexdigest()
                    if seen not in self.certificates:
                        self.certificates.append(seen)
                    line.sendall(question)
                    first = line.recv(64)
                    if b" 200 " not in first:
                        self.failures.append(first.decode("latin-1"))
            except OSError as error:
                self.failures.append(repr(error))
            time.sleep(0.01)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # On a slow machine it takes longer until there have been enough to say something. Without end it is not.
        end = time.monotonic() + 60
        while self.requests <= ENOUGH and time.monotonic() < end:
            time.sleep(0.1)
        self._stop.set()
        for thread in self._threads:
            thread.join()


RELOAD = r"""
log=/var/log/apache2/error.log
known=$(stat -c %s $log)
old=$(pgrep -P "$(cat /run/apache2/apache2.pid)")
left() { for pid in $old; do if [ -e /proc/$pid ]; then return 1; fi; done; }

systemctl reload apache2
for n in $(seq 600); do
    sleep 0.1
    if tail -c +$((known + 1)) $log | grep -q "resuming normal operations"; then
        sleep 1
        for n in $(seq 100); do if left; then exit 0; fi; sleep 0.1; done
        # A browser keeps its connection.
        exit 0
    fi
done
exit 1
"""


def reload(gate: t.Any) -> None:
    """Apache, until it says that it goes on; those who served before have some seconds to leave."""
    gate.check_output(RELOAD)


def start(wiki: t.Any) -> None:
    """The application, until it listens at its three ports."""
    wiki.check_output(
        "systemctl start wiki; for n in $(seq 600); do"
        ' test "$(ss -Hltn "( sport >= 8443 and sport <= 8445 )" | wc -l)" -ge 3 && exit 0; sleep 0.1; done; exit 1'
    )


@contextlib.contextmanager
def configured(gate: t.Any, old: str, new: str) -> t.Iterator[None]:
    """Apache with one word of its configuration changed, for a moment."""
    path = "/etc/apache2/apache2.conf"
    gate.check_output(
        f"cp -p {path} /root/apache2.conf.kept && grep -q '{old}' {path} && sed -i 's#{old}#{new}#' {path}"
    )
    reload(gate)
    try:
        yield
    finally:
        gate.check_output(f"mv /root/apache2.conf.kept {path}")
        reload(gate)
