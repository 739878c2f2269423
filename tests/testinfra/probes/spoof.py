# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: containers send frames with addresses that are not theirs. Prints what arrived, as JSON.

A container's own frames are sent the same way and between the forged ones, so that silence means something.
GIVEN: {"times": how often, "senders": {name: {"instance", "bridge", "own4", "own6", "other4", "other6", "gateway4",
"beside": another instance on that bridge, or ""}}}
"""

import json
import subprocess
import sys
import time

# Sends; its arguments are the addresses, and how often.
SEND = r"""
import ipaddress
import json
import pathlib
import socket
import struct
import sys

own4, own6, other4, other6, gateway4, times = sys.argv[1:]
OWN_MAC = bytes.fromhex(pathlib.Path("/sys/class/net/eth0/address").read_text().strip().replace(":", ""))
OTHER_MAC = bytes.fromhex("00163e010203")
EVERYBODY = b"\xff" * 6


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def udp4(mac, source, mark):
    payload = f"<{mark}>".encode()
    udp = struct.pack("!4H", 4000, 4000, 8 + len(payload), 0) + payload
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("255.255.255.255").packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return EVERYBODY + mac + b"\x08\x00" + head + udp


def udp6(mac, source, mark):
    payload = f"<{mark}>".encode()
    udp = struct.pack("!4H", 4000, 4000, 8 + len(payload), 1) + payload
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("ff02::1").packed
    head = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + addresses
    return b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + head + udp


def router(mac, source, mark):
    # I am the way to the world, and this is your network; for no time at all, so that it harms nobody who believes it.
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 0, 0, 0) + ipaddress.ip_address("2001:db8:bad::").packed
    text = f"<{mark}>".encode()
    text += b"\0" * (-(len(text) + 2) % 8)
    # An option of a kind that nobody knows carries the mark.
    option += struct.pack("!BB", 200, (len(text) + 2) // 8) + text
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0) + option
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("ff02::1").packed
    pseudo = addresses + struct.pack("!IxxxB", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + addresses
    return b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + head + body


def arp(mac, source, mark):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ipaddress.ip_address(source).packed
    return EVERYBODY + mac + b"\x08\x06" + body + b"\0" * 6 + ipaddress.ip_address(source).packed + f"<{mark}>".encode()


LINK = ipaddress.IPv6Address("fe80::") + int.from_bytes(
    bytes([OWN_MAC[0] ^ 2, *OWN_MAC[1:3], 0xFF, 0xFE, *OWN_MAC[3:]]), "big"
)
own = [udp4(OWN_MAC, own4, "own-ipv4"), udp6(OWN_MAC, own6, "own-ipv6"), arp(OWN_MAC, own4, "own-arp")]
forged = [
    udp4(OTHER_MAC, own4, "other-mac"),
    udp4(OWN_MAC, other4, "other-ipv4"),
    udp6(OWN_MAC, other6, "other-ipv6"),
    arp(OWN_MAC, other4, "other-arp"),
    arp(OWN_MAC, gateway4, "gateway-arp"),
    router(OWN_MAC, str(LINK), "router"),
    router(OWN_MAC, own6, "router-global"),
]
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("eth0", 0))
sent = dict.fromkeys(("own", "forged"), 0)
for number in range(int(times)):
    for frame in forged:
        sender.send(frame)
        sent["forged"] += 1
    if number % 100 == 0:
        for frame in own:
            sender.send(frame)
            sent["own"] += 1
print(json.dumps(sent))
"""

# Hears at the interface that is its argument, until its standard input ends.
HEAR = r"""
import collections
import json
import re
import select
import socket
import sys

receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
receiver.bind((sys.argv[1], 0))
# A burst of some thousand frames has to wait somewhere.
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
heard = collections.Counter()
print("listening", file=sys.stderr, flush=True)
while receiver in select.select([receiver, sys.stdin], [], [])[0]:
    heard.update(mark.decode() for mark in re.findall(rb"<([a-z0-9-]+)>", receiver.recv(2048)))
print(json.dumps(heard))
"""


def hear(prefix, interface):
    """A listener that is ready."""
    process = subprocess.Popen(
        [*prefix, "python3", "-c", HEAR, interface],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stderr.readline()
    return process


def attempt(sender, times):
    """How many of which frames one container sent, and what of them came to the box and to its neighbour."""
    listeners = {"box": hear([], sender["bridge"])}
    if sender.get("beside"):
        listeners["beside"] = hear(["lxc", "exec", sender["beside"], "--"], "eth0")
    words = [sender[name] for name in ("own4", "own6", "other4", "other6", "gateway4")]
    done = subprocess.run(
        ["lxc", "exec", sender["instance"], "--", "python3", "-c", SEND, *words, str(times)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    time.sleep(0.5)
    heard = {name: json.loads(process.communicate(timeout=60)[0] or "null") for name, process in listeners.items()}
    if done.returncode:
        return {"trouble": done.stderr.strip()[-300:]}
    return {"sent": json.loads(done.stdout), "heard": heard}


if "GIVEN" in globals():
    given = json.loads(globals()["GIVEN"])  # put before this text by whoever sends it
    print(json.dumps({name: attempt(sender, given["times"]) for name, sender in given["senders"].items()}))
    sys.stdout.flush()
