#!/bin/sh
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
set -eu
mkdir -p /etc/application /var/log/application
cd /etc/application
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=application \
    -addext subjectAltName=DNS:application -keyout key.pem -out certificate.pem
echo 127.0.0.1 application >> /etc/hosts
htpasswd -bc /etc/apache2/staff.htpasswd alice right
chmod 644 /etc/apache2/staff.htpasswd
touch /var/log/application/login.log
cat > /etc/systemd/system/application.service <<'UNIT'
[Service]
ExecStart=/usr/local/bin/application /etc/application/certificate.pem /etc/application/key.pem
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now application
