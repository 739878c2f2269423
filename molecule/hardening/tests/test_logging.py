# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened stays known, here and, if there is one, on the log server; and it does not fill the disk."""

from __future__ import annotations

import time

import pytest

# A log server as another administrator would set it up: rsyslog, TLS, certificates on both sides.
MAKE = r"""
set -eu
mkdir -p /root/logs && cd /root/logs
openssl req -x509 -newkey ed25519 -nodes -days 2 -subj '/CN=lab logs CA' -keyout ca.key -out ca.crt 2>/dev/null
for name in server client stranger; do
    openssl req -newkey ed25519 -nodes -subj /CN=$name.example.org -keyout $name.key -out $name.csr 2>/dev/null
    printf 'subjectAltName=DNS:%s.example.org\n' $name > $name.ext
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext \
        -out $name.crt 2>/dev/null
done
openssl req -x509 -newkey ed25519 -nodes -days 2 -subj '/CN=another CA' -keyout other.key -out other.crt 2>/dev/null
install -d -m 0700 /etc/rsyslog.d/server && cp ca.crt server.crt server.key /etc/rsyslog.d/server/
cat > /etc/rsyslog.d/10-receive.conf <<'END'
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/name"
    PermittedPeer=["client.example.org"])
global(DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="/etc/rsyslog.d/server/ca.crt"
    DefaultNetstreamDriverCertFile="/etc/rsyslog.d/server/server.crt"
    DefaultNetstreamDriverKeyFile="/etc/rsyslog.d/server/server.key")
ruleset(name="remote") { action(type="omfile" file="/var/log/remote.log") }
input(type="imtcp" port="6514" ruleset="remote")
END
systemctl restart rsyslog
"""


@pytest.fixture(scope="module")
def receiver(inside):
    machine = inside["next"]
    machine.check_output(MAKE)
    yield machine
    machine.run("rm -rf /etc/rsyslog.d/10-receive.conf /etc/rsyslog.d/server /root/logs; systemctl restart rsyslog")


def arrives(receiver, text: str, seconds: int) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if receiver.run(f"grep -q '{text}' /var/log/remote.log").rc == 0:
            return True
        time.sleep(0.5)
    return False


@pytest.mark.control("LOG-1")
def test_messages_go_to_the_log_server_over_tls(receiver, server, converge, lab):
    """With a certificate that the server believes; with one of somebody else's, nothing arrives, and nothing is lost:
    what was said meanwhile comes when the right certificate is back."""
    pem = {name: receiver.check_output(f"cat /root/logs/{name}") for name in
           ("ca.crt", "client.crt", "client.key", "other.crt")}
    given = {
        "hardening_log_server": str(lab.machines["next"].address), "hardening_log_server_name": "server.example.org",
        "hardening_log_server_ca": pem["ca.crt"], "hardening_log_server_client_certificate": pem["client.crt"],
        "hardening_log_server_client_key": pem["client.key"],
    }
    done = converge(**given)
    assert done.returncode == 0, done.stdout
    key = pem["client.key"].splitlines()[1]
    assert key not in done.stdout
    server.check_output("logger said with the right certificate")
    assert arrives(receiver, "said with the right certificate", 120)
    assert server.file("/etc/rsyslog.d/tls/client.key").mode == 0o600

    # The server shows a certificate that this machine has no reason to believe.
    assert converge(**given | {"hardening_log_server_ca": pem["other.crt"]}).returncode == 0
    server.check_output("logger said while the server was a stranger")
    assert not arrives(receiver, "said while the server was a stranger", 5)

    assert converge(**given).returncode == 0
    # After a connection that failed, rsyslog waits for half a minute.
    assert arrives(receiver, "said while the server was a stranger", 120)
    # And back to where the other tests are.
    assert converge().returncode == 0
    assert not server.file("/etc/rsyslog.d/90-hardening-forward.conf").exists


@pytest.mark.control("LOG-1")
@pytest.mark.parametrize("name", ["shell", "next", "worker"])
def test_the_journal_survives_and_has_a_limit(inside, name):
    """By what the daemon itself says of it."""
    said = inside[name].check_output("journalctl -u systemd-journald -o cat | grep 'System Journal' | tail -1")

    assert "/var/log/journal" in said
    assert "max 1" in said or "max 1.0G" in said


@pytest.mark.control("USR-1")
def test_what_administrators_do_is_written_down(server, login):
    """By sudo itself, with the name of the person."""
    login("sudo -n /usr/bin/printf a-mark-in-the-log")

    assert "alice" in server.check_output("grep -B2 a-mark-in-the-log /var/log/sudo.log")
