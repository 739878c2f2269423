#!/bin/sh
# The address of a bridge that comes and goes.
set -eu
cat > /etc/systemd/system/bridge.service <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add late0 type bridge
ExecStart=ip address add 10.93.1.1/24 dev late0
ExecStart=ip link set late0 up
ExecStop=ip link delete late0
UNIT
systemctl start bridge
