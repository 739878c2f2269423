#!/bin/sh
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
# NAME, OWN ADDRESS, OWN ADDRESS6, GATE, WEB, STRANGER, STRANGER6
set -eu
name=$1 own=$2 gate=$4 web=$5 stranger=$6 stranger6=$7

tunnel() { # DEVICE FAR-SIDE: the network behind the gate, between two machines of the lab
    ip link add "$1" type vxlan id 91 remote "$2" local "$own" dstport 4789
    ip link set "$1" mtu 1400 up
}

case $name in
gate)
    tunnel tunnel "$web"
    ip link add testproxy type bridge
    ip link set tunnel master testproxy
    ip address add 10.91.1.1/24 dev testproxy
    ip -6 address add fd91:0:0:1::1/64 dev testproxy nodad
    ip link set testproxy up
    # The stranger comes from any of these.
    ip route add 198.18.0.0/15 via "$stranger"
    ip -6 route add 2001:db8:51::/64 via "$stranger6"
    ;;
web)
    tunnel inside "$gate"
    ip address add 10.91.1.10/24 dev inside
    ip -6 address add fd91:0:0:1::10/64 dev inside nodad
    # Answers go back the way by which questions came.
    ip rule add from 10.91.1.10 table 91
    ip route add 10.91.1.0/24 dev inside table 91
    ip route add default via 10.91.1.1 table 91
    ip -6 rule add from fd91:0:0:1::10 table 91
    ip -6 route add fd91:0:0:1::/64 dev inside table 91
    ip -6 route add default via fd91:0:0:1::1 table 91
    ;;
stranger)
    ip route add local 198.18.0.0/15 dev lo
    ip -6 route add local 2001:db8:51::/64 dev lo
    echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind
    ;;
esac
