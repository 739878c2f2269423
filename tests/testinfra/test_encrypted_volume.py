# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data lie on the encrypted volume, and nothing on the box opens it."""

from __future__ import annotations

import re
import shlex

import pytest
from machine import ask


def place(site):
    return site.get(site.box, "encrypted_volume_file") or site.get(site.box, "encrypted_volume_device")


def questions(site):
    mount_point = shlex.quote(site.get(site.box, "encrypted_volume_mount_point", "/srv/securebox"))
    where = shlex.quote(place(site))
    box = {
        "header": f"cryptsetup luksDump {where}",
        "mount": f"findmnt -no SOURCE,FSTYPE,OPTIONS {mount_point}",
        "chain": f'lsblk -nspo NAME,TYPE "$(findmnt -no SOURCE {mount_point})"',
        # The directory below the mount: seen through a second view of the root file system, in a namespace of its own.
        "beneath": f"unshare -m sh -c 'mount --bind / /mnt && lsattr -d /mnt{mount_point} && ls -A /mnt{mount_point}'",
        "crypttab": "grep -v '^#' /etc/crypttab 2>/dev/null; true",
        "wrong": f"printf 'not the passphrase' | cryptsetup open --test-passphrase --key-file - {where}; echo exit $?",
        "kept": "find /etc /root /home /var/lib/securebox /usr/local -xdev -type f -size -64k "
        "\\( -name '*.key' -o -name '*keyfile*' \\) 2>/dev/null | while read -r f; do "
        f'timeout 60 cryptsetup open --test-passphrase --key-file "$f" {where} 2>/dev/null && echo "$f"; done; true',
    }
    return {site.box: box, **{host: {"data": script} for host, script in data_scripts(site).items()}}


def data_scripts(site):
    """For each container with data: the places where its programs write, and what is mounted there."""
    attached = {item["instance"]: item["path"] for item in site.get(site.box, "lxd_storage_attachments", [])}
    scripts = {
        host: f"echo {shlex.quote(attached[site.instance(host)])};"
        for host in site.containers
        if site.instance(host) in attached
    }
    for host in site.groups.get("db", []):
        # A running PostgreSQL works in its data's directory.
        scripts[host] = scripts.get(host, "") + 'readlink /proc/"$(pgrep -o -x postgres)"/cwd;'
    for host in site.groups.get("app", []):
        home = site.get(host, "app_tomcat_home", "/var/lib/app_tomcat")
        # Java's place for temporary files, where uploads pass through, is said on its command line.
        scripts[host] = (
            f"{scripts.get(host, '')} echo {shlex.quote(home)}; ls -d {shlex.quote(home)}/work;"
            "ps -eo args | grep '[c]atalina.startup.Bootstrap' | grep -o 'java.io.tmpdir=[^ ]*' | cut -d= -f2;"
        )
    look = 'while read -r place; do echo "$place $(findmnt -no SOURCE,FSTYPE --target "$place")"; done'
    return {host: f"{{ {script} }} | {look}" for host, script in scripts.items()}


@pytest.mark.control("ENC-1")
def test_the_volume_is_luks2_with_a_strong_cipher(site, said, evidence):
    """The header of the volume itself says how it is encrypted, and that it is the volume of this box."""
    text = said(site.box, "header").text
    fields = {
        name: re.search(pattern, text)
        for name, pattern in (
            ("version", r"Version:\s+(\d)"),
            ("uuid", r"UUID:\s+(\S+)"),
            ("cipher", r"cipher: (\S+)"),
            ("pbkdf", r"PBKDF:\s+(\S+)"),
        )
    }
    found = {name: match.group(1) if match else None for name, match in fields.items()}
    evidence(f"{place(site)}: {found}")
    assert found["version"] == "2"
    assert found["cipher"] == "aes-xts-plain64"
    assert found["pbkdf"] == "argon2id"
    assert found["uuid"].lower() == str(site.get(site.box, "encrypted_volume_uuid")).lower()


@pytest.mark.control("ENC-1")
def test_what_is_mounted_is_the_volume(site, said, unlocked, evidence):
    """The mounted file system is ext4, and goes through dm-crypt."""
    mount = said(site.box, "mount").text.split()
    chain = said(site.box, "chain").text.split()
    evidence(f"{' '.join(mount[:2])} by way of {' '.join(chain)}")
    assert mount[1] == "ext4"
    assert "crypt" in chain


@pytest.mark.control("ENC-1")
def test_the_tiers_data_are_on_the_volume(site, said, unlocked, evidence):
    """Asked inside the containers: where the database and the application really write is on the encrypted device."""
    source = said(site.box, "mount").text.split()[0]
    # What was attached; PostgreSQL's directory; the application's home, and its two places for what is on its way.
    expected = {
        **dict.fromkeys(data_scripts(site), 1),
        **dict.fromkeys(site.groups.get("db", []), 2),
        **dict.fromkeys(site.groups.get("app", []), 4),
    }
    assert expected, "no container has data on the volume"
    for host, places in expected.items():
        lines = said(host, "data").lines
        evidence(f"{host}: {'; '.join(lines)}")
        assert len(lines) >= places, f"{host}: not all places were found: {lines}"
        assert {line.split()[1].split("[")[0] for line in lines} == {source}


@pytest.mark.control("ENC-1", "ENC-2")
def test_a_locked_box_cannot_write_beside_the_volume(site, said, unlocked, evidence):
    """The directory below the mount is empty and immutable: without the volume, writing fails instead of leaking."""
    lines = said(site.box, "beneath").lines
    evidence(" / ".join(lines))
    assert said(site.box, "beneath").code == 0
    assert "i" in lines[0].split()[0], "the bare mount point is not immutable"
    assert lines[1:] == [], "there is something in the bare mount point"


@pytest.mark.control("ENC-2")
def test_nothing_on_the_box_opens_the_volume(site, said, evidence):
    """No token (TPM, network), no crypttab, and no file that looks like a key opens it; nor does a wrong passphrase."""
    header = said(site.box, "header").text
    tokens = header.split("Tokens:", 1)[-1].split("Digests:", 1)[0].strip()
    evidence(f"tokens: {tokens or 'none'}; crypttab: {said(site.box, 'crypttab').text or 'empty'}")
    assert not tokens
    uuid = str(site.get(site.box, "encrypted_volume_uuid")).lower()
    assert uuid not in said(site.box, "crypttab").text.lower()
    assert place(site) not in said(site.box, "crypttab").text
    assert said(site.box, "kept").text == "", "a file on the box opens the volume"
    assert "exit 2" in said(site.box, "wrong").text, f"a wrong passphrase: {said(site.box, 'wrong').text}"


@pytest.mark.control("ENC-2")
def test_the_box_says_that_all_is_well(status, unlocked, evidence):
    """The command on the box has checked the volume, its mount and every tier."""
    evidence(
        f"{status['state']}; "
        + ", ".join(f"{item['name']} running={item['running']} ready={item['ready']}" for item in status["dependents"])
    )
    assert status["problems"] == []
    assert status["state"] == "unlocked"


@pytest.mark.last
@pytest.mark.control("ENC-3")
def test_locking_stops_and_closes_and_the_data_are_gone(box, site, status, unlocked, evidence):
    """After `securebox lock` nothing is mounted, no key is in the kernel, and no tier with data runs.

    It cannot be opened again without the passphrase, which this suite does not have: the box stays locked.
    """
    if not site.lock:
        pytest.skip("it would lock the box; allow that with -e securebox_verify_lock=true")
    answer = box.run("securebox lock --json", timeout=600)
    evidence(answer.text[:500])
    assert answer.code == 0, answer.text
    mount_point = site.get(site.box, "encrypted_volume_mount_point", "/srv/securebox")
    after = ask(
        box,
        {
            site.box: {
                "mounted": f"findmnt {mount_point}",
                "keys": "dmsetup ls --target crypt",
                "running": "lxc list status=running --format csv -c n",
            }
        },
    )[site.box]
    assert after["mounted"].code != 0
    assert "No devices found" in after["keys"].text or not after["keys"].text
    with_data = {item["instance"] for item in site.get(site.box, "lxd_storage_attachments", [])}
    assert not with_data & set(after["running"].lines)
