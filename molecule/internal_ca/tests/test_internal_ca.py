# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that both ends believe, keys that never travel, and a CA that can do no more than it should."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[1]
PASSPHRASE = "canary-Zu4ohm5iek"
CA, CERTIFICATE, KEY = "/etc/ssl/internal-ca.crt", "/etc/ssl/internal.crt", "/etc/ssl/private/internal.key"


@pytest.fixture(scope="module")
def pki() -> Path:
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "pki")


@pytest.fixture(scope="module")
def north(on):
    return on("north")


@pytest.fixture(scope="module")
def south(on):
    return on("south")


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def handshake(server, client, name: str, ca: str = CA) -> int:
    """Connect as the client to a server that shows its certificate: 0 when the client believes it."""
    listen = f"openssl s_server -accept 4433 -cert {CERTIFICATE} -key {KEY} -quiet -naccept 1"
    server.run(f"systemctl reset-failed shown; systemd-run --quiet --collect --unit shown {listen}")
    server.check_output("timeout 60 sh -c 'until ss -ltn | grep -q :4433; do sleep 0.1; done'")
    ask = f"openssl s_client -connect {name}:4433 -CAfile {ca} -verify_hostname {name} -verify_return_error"
    answer = client.run(f"sh -c '{ask} </dev/null'")
    server.run("systemctl stop shown")
    return answer.rc


@pytest.mark.control("ENC-6")
def test_each_end_believes_the_other_and_no_other_ca(north, south, lab):
    """That is what the certificates are for. A stranger's CA of the same name convinces nobody."""
    south.check_output(f"sh -c 'grep -q north /etc/hosts || echo {lab.machines['north'].address} north >> /etc/hosts'")
    south.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Offices CA' "
        "-keyout /tmp/other.key -out /tmp/other.crt"
    )

    assert handshake(north, south, "north") == 0
    assert handshake(north, south, "north", ca="/tmp/other.crt") != 0


@pytest.mark.control("ENC-6")
def test_the_certificate_is_the_hosts_own(north, lab):
    """Name and address are in it, it can serve and ask, it is no CA, and the chain holds when looked at closely."""
    text = north.check_output(f"openssl x509 -noout -text -in {CERTIFICATE}")

    north.check_output(f"openssl verify -x509_strict -CAfile {CA} {CERTIFICATE}")
    assert f"DNS:north, IP Address:{lab.machines['north'].address}" in text
    assert "CA:FALSE" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text


def test_the_key_is_for_root_and_its_group(north):
    """Whoever else gets a shell cannot pose as this server."""
    north.check_output("id member 2>/dev/null || useradd --groups ssl-cert member")

    assert north.run(f"runuser -u nobody -- cat {KEY}").rc != 0
    assert north.run(f"runuser -u member -- cat {KEY}").rc == 0


def test_no_hosts_key_is_on_the_controller(pki, north):
    """A key that has not travelled cannot have been copied on the way."""
    keys = [path.name for path in pki.rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]

    assert keys == ["ca.key"]
    assert "PRIVATE KEY" in north.file(KEY).content_string


def test_the_cas_key_is_encrypted(pki):
    """Whoever has the directory, from a backup say, still cannot sign."""
    right = subprocess.run(["openssl", "pkey", "-in", pki / "ca.key", "-noout", "-passin", f"pass:{PASSPHRASE}"])
    wrong = subprocess.run(["openssl", "pkey", "-in", pki / "ca.key", "-noout", "-passin", "pass:wrong"])

    assert right.returncode == 0
    assert wrong.returncode != 0
    assert (pki / "ca.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "believed"), [("south", True), ("bank.example", False)])
def test_the_ca_can_sign_its_own_hosts_only(pki, tmp_path, name, believed):
    """A leaked CA key opens this site, not the world: its limits are in its own certificate."""
    request, extensions, leaf = tmp_path / "leaf.csr", tmp_path / "leaf.ext", tmp_path / "leaf.crt"
    extensions.write_text(f"subjectAltName = DNS:{name}\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", tmp_path / "leaf.key", "-out", request)  # fmt: skip
    openssl("x509", "-req", "-in", request, "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-passin",
            f"pass:{PASSPHRASE}", "-set_serial", "7", "-extfile", extensions, "-out", leaf)  # fmt: skip

    verdict = subprocess.run(["openssl", "verify", "-CAfile", pki / "ca.crt", leaf], capture_output=True, text=True)

    assert (verdict.returncode == 0) is believed, verdict.stderr
    assert believed or "permitted subtree violation" in verdict.stdout + verdict.stderr


def test_a_wrong_passphrase_changes_nothing(pki, north, play):
    """It is a typing error, not the wish for another CA."""
    before = {path.name: path.read_bytes() for path in pki.iterdir()}

    refused = play(internal_ca_passphrase="mistyped")
    limited = play(internal_ca_passphrase="mistyped", internal_ca_days=100)

    assert refused.returncode != 0
    assert "rong passphrase" in refused.stdout + refused.stderr
    assert limited.returncode != 0
    assert {path.name: path.read_bytes() for path in pki.iterdir()} == before


def test_a_certificate_is_renewed_in_time_and_its_services_read_it(north, pki, play):
    """The key stays, the dates move, and whoever has the old one open is told. And nobody sees the passphrase."""
    key = north.check_output(f"cat {KEY}")
    serial = north.check_output(f"openssl x509 -noout -serial -in {CERTIFICATE}")
    # The first one was a reason to reload too.
    north.check_output("rm -f /run/counter")

    renewed = play("converge.yml", "--limit", "north", "-vvvv", internal_ca_renew_days=900)

    assert renewed.returncode == 0, renewed.stdout
    assert PASSPHRASE not in renewed.stdout + renewed.stderr
    assert north.check_output(f"openssl x509 -noout -serial -in {CERTIFICATE}") != serial
    assert north.check_output(f"cat {KEY}") == key
    assert north.check_output("cat /run/counter") == "reloaded"
    north.check_output(f"openssl verify -CAfile {CA} {CERTIFICATE}")


def test_another_limit_renews_the_ca_and_breaks_nothing(north, south, pki, play):
    """A new host is let in by a longer list. The old certificates go on, because the CA's key is the same."""
    serial = south.check_output(f"openssl x509 -noout -serial -in {CERTIFICATE}")

    changed = play(internal_ca_permitted=["DNS:north", "DNS:south", "DNS:west", "IP:10.0.0.0/8"])

    assert changed.returncode == 0, changed.stdout
    assert "DNS:west" in south.check_output(f"openssl x509 -noout -text -in {CA}")
    assert south.check_output(f"openssl x509 -noout -serial -in {CERTIFICATE}") == serial
    south.check_output(f"openssl verify -CAfile {CA} {CERTIFICATE}")
