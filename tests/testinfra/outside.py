# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What anybody can do from outside, from the machine that runs the suite. Python's own library only."""

from __future__ import annotations

import concurrent.futures
import functools
import http.client
import os
import socket
import ssl
import struct
import typing as t

WAIT = 3.0


@functools.cache
def knock(address: str, port: int, forwarded: bool = False, wait: float = WAIT) -> str:
    """open, refused or silent.

    A forwarder of ports in between (`forwarded`) accepts for a port that is closed, and hangs up, which is `closed`; or
    that nobody answers at, and waits. Then only what speaks, or answers when spoken to, is open.

    Asked once only: each knock at ssh counts for the limit on new connections.
    """
    try:
        with socket.create_connection((address, port), wait) as stream:
            stream.settimeout(1.0)
            try:
                return "open" if stream.recv(1) else "closed"
            except TimeoutError:
                # Connected, and the other side waits for us to speak.
                return speak(stream, wait) if forwarded else "open"
            except OSError:
                return "closed"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return f"no way: {error}"


def speak(stream: socket.socket, wait: float) -> str:
    """HTTP's first line: also what speaks TLS, or a protocol of its own, says something to that."""
    stream.settimeout(2 * wait)
    try:
        stream.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
        return "open" if stream.recv(1) else "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"


def knock_all(address: str, ports: t.Iterable[int], forwarded: bool = False) -> dict[int, str]:
    ports = list(ports)
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        return dict(zip(ports, pool.map(lambda port: knock(address, port, forwarded), ports), strict=True))


def context() -> ssl.SSLContext:
    """Takes any certificate: whether it is the right one is a question of its own."""
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["h2", "http/1.1"])
    return tls


def trusts(address: str, port: int, name: str) -> str:
    """`trusted`, or why a browser would warn."""
    try:
        with (
            socket.create_connection((address, port), 30) as stream,
            ssl.create_default_context().wrap_socket(stream, server_hostname=name),
        ):
            return "trusted"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message


def handshake(address: str, port: int, name: str) -> dict[str, str]:
    with (
        socket.create_connection((address, port), 30) as stream,
        context().wrap_socket(stream, server_hostname=name) as tls,
    ):
        return {
            "version": tls.version() or "",
            "cipher": (tls.cipher() or ("",))[0],
            "protocol": tls.selected_alpn_protocol() or "",
        }


def request(
    address: str,
    port: int,
    name: str,
    path: str = "/",
    tls: bool = True,
    method: str = "GET",
    headers: t.Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], str]:
    """Status, headers (names in lower case) and body of one request, a GET unless said otherwise."""
    connection = http.client.HTTPConnection(address, port, timeout=60)
    if tls:
        layer = context()
        layer.set_alpn_protocols(["http/1.1"])
        connection.sock = layer.wrap_socket(socket.create_connection((address, port), 60), server_hostname=name)
    try:
        connection.request(method, path, headers={"Host": name, "User-Agent": "securebox-verify", **(headers or {})})
        return read(connection.getresponse())
    finally:
        connection.close()


def read(answer: http.client.HTTPResponse) -> tuple[int, dict[str, str], str]:
    headers: dict[str, str] = {}
    for key, value in answer.getheaders():
        headers[key.lower()] = f"{headers[key.lower()]}\n{value}" if key.lower() in headers else value
    return answer.status, headers, answer.read(200_000).decode(errors="replace")


def malformed(address: str, port: int, name: str) -> tuple[int, dict[str, str], str]:
    """The answer to something that is no request: no client of Python's would send it."""
    layer = context()
    layer.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection((address, port), 60) as stream,
        layer.wrap_socket(stream, server_hostname=name) as tls,
    ):
        tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nno header at all\r\n\r\n".encode())
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        return read(answer)


OLD_CIPHERS = (0xC013, 0xC014, 0xC009, 0xC00A, 0x002F, 0x0035, 0x000A)
NEW_CIPHERS = (0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9)
VERSIONS = {"SSL 3.0": 0x0300, "TLS 1.0": 0x0301, "TLS 1.1": 0x0302, "TLS 1.2": 0x0303}


def offers(address: str, port: int, name: str, version: str) -> str:
    """`accepted`, or how the server refuses this version.

    Written out by hand, because the TLS library of this machine would refuse the old versions before the server could.
    """
    with socket.create_connection((address, port), 30) as stream:
        stream.sendall(client_hello(VERSIONS[version], name))
        try:
            head = stream.recv(5)
        except OSError as error:
            return f"hung up ({error})"
        if len(head) < 5:
            return "hung up"
        body = stream.recv(64)
    if head[0] == 22 and body[:1] == b"\x02":
        return "accepted" if struct.unpack("!H", body[4:6])[0] == VERSIONS[version] else "another version chosen"
    return f"alert {body[1]}" if head[0] == 21 and len(body) > 1 else f"record {head[0]}"


def client_hello(version: int, name: str) -> bytes:
    ciphers = NEW_CIPHERS + OLD_CIPHERS if version >= 0x0303 else OLD_CIPHERS
    host = name.encode("idna")
    extensions = [
        (0, struct.pack("!HBH", len(host) + 3, 0, len(host)) + host),
        (10, struct.pack("!HHHH", 6, 0x001D, 0x0017, 0x0018)),
        (11, b"\x01\x00"),
    ]
    if version >= 0x0303:
        schemes = (0x0403, 0x0503, 0x0804, 0x0805, 0x0401, 0x0501)
        extensions.append((13, struct.pack(f"!H{len(schemes)}H", 2 * len(schemes), *schemes)))
    packed = b"".join(struct.pack("!HH", kind, len(data)) + data for kind, data in extensions)
    body = struct.pack("!H", version) + os.urandom(32) + b"\x00"
    body += struct.pack(f"!H{len(ciphers)}H", 2 * len(ciphers), *ciphers) + b"\x01\x00"
    body += struct.pack("!H", len(packed)) + packed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return struct.pack("!BHH", 22, min(version, 0x0301), len(message)) + message
