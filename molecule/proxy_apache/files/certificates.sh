#!/bin/sh
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
# The backend's certificates, made once: by the CA that the proxy trusts, by another CA, and for another name.
set -eu
cd "$1"
[ ! -s other-name.crt ] || exit 0

make() { # NAME OPTIONS
    name=$1
    shift
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$name" \
        -keyout "$name.key" -out "$name.crt" "$@"
}
authority() {
    make "$1"
}
certificate() { # NAME AUTHORITY SUBJECT-ALTERNATIVE-NAMES
    make "$1" -CA "$2.crt" -CAkey "$2.key" -addext basicConstraints=critical,CA:FALSE -addext "subjectAltName=$3"
}

authority ca
authority another
certificate good ca DNS:wiki1,DNS:wiki.example.org
certificate other-ca another DNS:wiki1,DNS:wiki.example.org
certificate other-name ca DNS:mail.example.org
echo made
