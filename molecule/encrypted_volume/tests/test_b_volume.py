# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promises of the volume, asked of cryptsetup and the kernel. Each refusal has a success beside it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PASSPHRASE, SCENARIO, VARIABLES

sys.path.insert(0, str(SCENARIO.parents[1] / "plugins/plugin_utils"))
import header_backup

FILE, UUID = VARIABLES["encrypted_volume_file"], VARIABLES["encrypted_volume_uuid"]
VAULT = {
    "name": "vault",
    "file": FILE,
    "uuid": UUID,
    "mount_point": "/srv/vault",
    "header_backup": VARIABLES["encrypted_volume_header_backup"],
}


def vault(state: str, **options) -> dict:
    return {"securebox.stack.encrypted_volume": {**VAULT, "state": state, **options}, "ignore_errors": True}


# -- what it is --------------------------------------------------------------------------------------------------


@pytest.mark.control("ENC-1")
def test_the_data_is_on_luks2(host, unlocked):
    """Asked of the kernel: what is mounted is a dm-crypt device with the expected UUID."""
    device = host.check_output("findmnt --noheadings --output SOURCE --mountpoint /srv/vault")
    number = host.check_output(f"lsblk --noheadings --nodeps --output KNAME {device}")
    dm_uuid = host.file(f"/sys/class/block/{number}/dm/uuid").content_string.strip()
    assert dm_uuid == f"CRYPT-LUKS2-{UUID.replace('-', '')}-vault"
    dump = host.check_output(f"cryptsetup luksDump {FILE}")
    for expected in ("Version:       \t2", "argon2id", "aes-xts-plain64", "512 bits", "Memory:     32768"):
        assert expected in dump
    assert {"nodev", "nosuid"} <= set(host.mount_point("/srv/vault").options)


@pytest.mark.control("ENC-1")
def test_what_is_written_cannot_be_read_on_the_disk(host, unlocked):
    host.check_output("echo PLAINTEXTq7 > /srv/vault/documents/mark && sync -f /srv/vault/documents/mark")
    assert host.check_output("cat /srv/vault/documents/mark") == "PLAINTEXTq7"
    assert host.run(f"grep --quiet --text PLAINTEXTq7 {FILE}").rc == 1


def test_the_file_is_really_allocated(host):
    """A sparse file lets the volume's writes fail when the root disk is full."""
    size, blocks = (int(word) for word in host.check_output(f"stat --format='%s %b' {FILE}").split())
    assert blocks * 512 >= size


@pytest.mark.control("ENC-5")
def test_memory_stays_off_the_disk(host):
    assert host.check_output("swapon --show") == ""
    assert host.check_output("systemctl is-enabled swap.target || true") == "masked"
    assert host.sysctl("kernel.core_pattern") == "|/bin/false"


def test_info_needs_no_passphrase(playbook):
    asked = {key: VAULT[key] for key in ("name", "file", "uuid", "mount_point")}
    (result,) = playbook.results([{"securebox.stack.encrypted_volume_info": asked}])
    (slot,) = result["volume"]["keyslots"]
    assert (slot["pbkdf"], slot["memory"], slot["iterations"]) == ("argon2id", 32768, 4)
    assert result["volume"]["expected"]


# -- refusals ----------------------------------------------------------------------------------------------------

REFUSALS = """
import json, sys
sys.path.insert(0, "/usr/local/lib")
from securebox.encrypted_volume import Spec, Volume
answers = {}
for line in sys.stdin:
    kind, path = line.split()
    spec = {"name": "new", kind: path, "size": "64M", "mount_point": "/srv/new",
            "uuid": "11111111-2222-4333-8444-555555555555"}
    volume = Volume(Spec.build(spec))
    try:
        volume.refuse_to_initialise(volume.observe())
        answers[path] = "ok"
    except Exception as error:
        answers[path] = str(error)
print(json.dumps(answers))
"""

PREPARE = r"""
mkdir -p /opt/refuse/directory && cd /opt/refuse
for name in empty ext4 swap table random luks1 looped; do truncate -s 64M $name; done
mkfs.ext4 -q ext4; mkswap swap
printf '\0\1\1\0\203\1\1\1\0\10\0\0\0\20\0\0' | dd of=table bs=1 seek=446 conv=notrunc
printf '\125\252' | dd of=table bs=1 seek=510 conv=notrunc
dd if=/dev/urandom of=random bs=4k seek=512 count=1 conv=notrunc
echo x | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 luks1 -
losetup /dev/loop7 looped; ln -sf empty link; cat > probe.py
"""


@pytest.mark.control("ENC-1")
def test_only_what_is_empty_is_formatted(shell):
    """Real signatures, found by the real wipefs; real use, told by the kernel."""
    shell(PREPARE, REFUSALS.encode())
    try:
        given = "\n".join(
            [
                "device /dev/disk/by-id/virtio-root",
                "device /dev/disk/by-id/virtio-data",
                "device /dev/none",
                *(f"file /opt/refuse/{name}" for name in ("ext4", "swap", "table", "random", "luks1", "looped")),
                *(f"file /opt/refuse/{name}" for name in ("directory", "link", "empty", "absent")),
                f"file {FILE}",
            ]
        )
        done = shell("python3 /opt/refuse/probe.py", given.encode())
        answers = {path.rsplit("/", 1)[-1]: answer for path, answer in json.loads(done.stdout).items()}
    finally:
        shell("losetup --detach /dev/loop7; rm -r /opt/refuse")

    expected = {
        "virtio-root": "is in use",
        "virtio-data": "already holds the LUKS volume",
        "none": "does not exist",
        "ext4": "holds data: ext4",
        "swap": "holds data: swap",
        "table": "holds data: dos",
        "random": "first 4 MiB are not empty",
        "luks1": "LUKS1",
        "looped": "in use by a loop device",
        "directory": "is a directory",
        "link": "is a link",
        "vault.luks": f"already holds the LUKS volume {UUID}",
        "empty": "ok",
        "absent": "ok",
    }
    assert {name: message in answers[name] for name, message in expected.items()} == dict.fromkeys(expected, True), (
        answers
    )


def test_a_wrong_passphrase_and_a_wrong_uuid_are_refused_and_the_right_ones_open(playbook, locked):
    other = UUID.replace("6e0a", "7e0a")
    results = playbook.results(
        [
            {**vault("open", passphrase_variable="wrong"), "vars": {"wrong": "no"}, "check_mode": True},
            {**vault("open", passphrase_variable="wrong"), "vars": {"wrong": "no"}},
            vault("open", uuid=other),
            {**vault("open"), "check_mode": True},
            vault("open"),
        ]
    )
    for refused in results[:2]:
        assert "does not open volume vault of files1. Nothing was changed" in refused["msg"]
    assert f"{other} is expected" in results[2]["msg"]
    assert [result["changed"] for result in results[3:]] == [True, True]
    assert results[4]["volume"]["state"] == "mounted"


# -- growing, key slots, the header ------------------------------------------------------------------------------


@pytest.mark.control("ENC-4")
def test_the_volume_grows_while_it_is_used(playbook, host, unlocked):
    """File, loop device, mapping and file system, online: the service goes on."""
    before = host.check_output("systemctl show --property MainPID documents")
    results = playbook.results([vault("open", size="96M"), vault("open", size="192M"), vault("open", size="192M")])
    assert "it never shrinks" in results[0]["msg"]
    assert [result["changed"] for result in results[1:]] == [True, False]
    assert int(host.check_output("findmnt --bytes --noheadings --output SIZE /srv/vault")) > 150 * 1024 * 1024
    assert host.check_output("systemctl show --property MainPID documents") == before


@pytest.mark.control("ENC-4")
def test_a_lost_header_comes_back_from_its_backup(playbook, shell, securebox, locked, tmp_path):
    """A new key slot makes a new backup; it opens with the passphrase alone, and brings a wiped header back."""
    directory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "header-backups"
    known = set(directory.iterdir())
    shell("cat > /dev/shm/key", PASSPHRASE.encode())
    add = "--pbkdf=pbkdf2 --pbkdf-force-iterations=1000"
    shell(
        f"echo -n second > /dev/shm/second; cryptsetup luksAddKey {add} --key-file /dev/shm/key {FILE} /dev/shm/second"
    )
    shell("rm /dev/shm/key /dev/shm/second")
    (opened,) = playbook.results([vault("open")])
    (fresh,) = set(directory.iterdir()) - known
    assert opened["header_backup"] == str(fresh)
    assert len(opened["volume"]["keyslots"]) == 2

    securebox("lock")
    shell(f"dd if=/dev/zero of={FILE} bs=1M count=16 conv=notrunc")
    code, lost = securebox("unlock", passphrase=PASSPHRASE)
    assert code == 1
    assert "holds no LUKS volume" in lost["message"]
    header = header_backup.unseal(fresh.read_bytes(), PASSPHRASE.encode())
    shell("cat > /root/header", header)
    shell(f"cryptsetup luksHeaderRestore --batch-mode --header-backup-file /root/header {FILE}; rm /root/header")
    assert securebox("unlock", passphrase=PASSPHRASE)[0] == 0


# -- locking -----------------------------------------------------------------------------------------------------


@pytest.mark.control("ENC-3")
def test_a_busy_volume_names_who_uses_it_and_then_locks(shell, securebox, host, unlocked):
    shell("cd /srv/vault; setsid sleep 987 > /dev/null 2>&1 < /dev/null &")
    code, result = securebox("lock")
    assert (code, result["failed_step"]) == (1, "unmount")
    assert "sleep (pid" in result["message"]
    shell("pkill -f 'sleep 987'")
    code, result = securebox("lock")
    assert (code, result["state"]) == (0, "locked")
    assert host.run("losetup --associated " + FILE).stdout == ""
    assert host.run("test -e /dev/mapper/vault").rc == 1
    assert securebox("lock")[1]["changed"] is False


def test_an_unlock_that_was_killed_goes_on(shell, securebox, locked):
    for seconds in ("0.8", "2", "3.5"):
        shell(f"timeout --signal=KILL {seconds} securebox unlock", PASSPHRASE.encode())
    code, result = securebox("unlock", passphrase=PASSPHRASE)
    assert code == 0, result


# A cryptsetup killed between two of its requests to the device-mapper. They follow each other within milliseconds.
HALF_OPEN = f"""
loop=$(losetup --find --show {FILE})
dmsetup create vault --notable --uuid CRYPT-LUKS2-{UUID.replace("-", "")}-vault
"""
HALVES = {
    "made": HALF_OPEN + "losetup --detach $loop",
    "loaded": HALF_OPEN + "dmsetup load vault --table \"0 32768 linear $loop 32768\"",
    "suspended": "dmsetup suspend vault",
}


@pytest.mark.parametrize("half", ["made", "loaded", "suspended"])
@pytest.mark.parametrize("verb", ["unlock", "lock"])
def test_what_a_killed_cryptsetup_left_is_recovered(shell, securebox, host, half, verb):
    """Neither opens nor closes by cryptsetup; with a table, the kernel holds the key."""
    assert securebox("unlock" if half == "suspended" else "lock", passphrase=PASSPHRASE)[0] == 0
    done = shell(f"set -e; {HALVES[half]}")
    assert done.returncode == 0, done.stderr
    code, status = securebox("status")
    assert (code, status["state"], status["volume"]["state"]) == (1, "degraded", "interrupted")
    code, result = securebox(verb, passphrase=PASSPHRASE)
    assert (code, result["state"]) == (0, f"{verb}ed"), result
    assert {"name": "recover", "changed": True}.items() <= next(
        step for step in result["steps"] if step["name"] == "recover"
    ).items()
    assert (host.run("test -e /dev/mapper/vault").rc == 0) is (verb == "unlock")
    assert securebox("lock")[0] == 0
    assert host.run("losetup --associated " + FILE).stdout == ""


# -- asking ------------------------------------------------------------------------------------------------------


def typed(command: list[str], question: str, answer: str, seconds: float = 120) -> tuple[int, str]:
    """Run a command on a terminal of its own and answer its question; return what the terminal showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    shown, answered, end = b"", False, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
        if not answered and question.encode() in shown:
            time.sleep(1)
            os.write(terminal, answer.encode() + b"\n")
            answered = True
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


@pytest.mark.control("SEC-1")
def test_the_command_asks_without_echo(lab, locked, securebox):
    ssh = ["ssh", "-tt", "-F", str(lab.directory / "ssh_config"), "files1", "securebox unlock"]
    code, shown = typed(ssh, "Passphrase of volume", PASSPHRASE)
    assert code == 0, shown
    assert "unlocked in" in shown
    assert "CANARY" not in shown


@pytest.mark.control("SEC-1")
def test_the_playbook_asks_without_echo_and_only_when_needed(playbook, locked):
    ask = ["-e", "encrypted_volume_passphrase="]
    playbook.write([{"securebox.stack.box": {"state": "unlocked"}}])
    code, shown = typed([*playbook.command, *ask], "Passphrase of", PASSPHRASE)
    assert code == 0, shown
    assert "CANARY" not in shown
    again = subprocess.run([*playbook.command, *ask], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert again.returncode == 0
    assert b"changed=0" in again.stdout


def test_without_a_terminal_the_error_says_what_to_do(playbook, locked):
    (result,) = playbook.results([{"securebox.stack.box": {"state": "unlocked"}}], "-e", "encrypted_volume_passphrase=")
    assert "encrypted_volume_passphrase is undefined or empty, and there is no terminal" in result["msg"]
