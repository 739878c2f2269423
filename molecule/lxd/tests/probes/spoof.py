# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""In a container: send frames with its own and with others' addresses, each with a mark of what it is."""

import ipaddress
import pathlib
import socket
import struct
import sys

own4, own6, other4, other6 = sys.argv[1:]
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


def arp(mac, source, mark):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + ipaddress.ip_address(source).packed
    return EVERYBODY + mac + b"\x08\x06" + body + b"\0" * 6 + ipaddress.ip_address(source).packed + f"<{mark}>".encode()


sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("eth0", 0))
for frame in (
    udp4(OWN_MAC, own4, "own-ipv4"),
    udp6(OWN_MAC, own6, "own-ipv6"),
    arp(OWN_MAC, own4, "own-arp"),
    udp4(OTHER_MAC, own4, "other-mac"),
    udp4(OWN_MAC, other4, "other-ipv4"),
    udp6(OWN_MAC, other6, "other-ipv6"),
    arp(OWN_MAC, other4, "other-arp"),
):
    sender.send(frame)
