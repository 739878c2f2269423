# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module encrypted_volume, run in rounds as its action plugin does, on a machine that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume import (
    INITIALISING,
    Spec,
    Volume,
    explain,
    parse_size,
    pbkdf_cost,
)
from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume_system import (
    MIB,
    Mapping,
    Result,
    VolumeError,
    parse_header,
)
from ansible_collections.securebox.stack.plugins.modules import encrypted_volume
from encrypted_volume_machine import Machine, header_bytes

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
OTHER = "11111111-2222-4333-8444-555555555555"
SECRET = b' -it\'s "quoted" p\xc3\xa4ss $HOME \xff'


class Wrong(Exception):
    pass


class Host:
    """The module and its action plugin, without the network between them."""

    def __init__(self, directory: Path) -> None:
        self.machine = Machine()
        self.file = directory / "var/vault.luks"
        self.mount_point = directory / "srv"
        self.exported: list[str] = []

    def spec(self, **options):
        given = {"name": "vault", "file": str(self.file), "size": "64M", "uuid": UUID}
        return Spec.build({**given, "mount_point": str(self.mount_point), **options})

    def run(self, state, check=False, secret=SECRET, **options):
        """Rounds until the module is content. The machine's log shows what was run."""
        params = {"state": state, "header_backup": None, "header_digests": [], **options}
        changed, volume = False, Volume(self.spec(**options), self.machine)
        for _round in range(6):
            result = encrypted_volume.ensure(params, volume, check)
            changed = changed or result["changed"]
            command = result.get("secret_command")
            if command:
                done = self.machine.run(command["argv"], secret=secret)
                if done.rc:
                    raise Wrong(explain(command["step"], done.rc, done.err, "volume vault"))
            if check or not command:
                return {**result, "changed": changed}
        raise AssertionError("it never comes to rest")


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


@pytest.fixture
def made(host):
    host.run("initialised")
    host.machine.log.clear()
    return host


# -- making ------------------------------------------------------------------------------------------------------


def test_initialising_in_check_mode_makes_nothing(host):
    assert host.run("initialised", check=True)["changed"]
    assert not host.file.exists()
    assert not host.machine.ran("luksFormat")


def test_initialising_makes_a_closed_volume_once(host):
    assert host.run("initialised")["volume"]["state"] == "closed"
    assert host.machine.ran("mkfs.ext4")
    host.machine.log.clear()
    assert not host.run("initialised")["changed"]
    assert not host.run("initialised", check=True)["changed"]
    assert host.machine.log == []


def test_the_file_is_really_allocated(made):
    """A sparse file lets the volume's writes fail when the root disk is full."""
    status = made.file.stat()
    assert status.st_size == 64 * MIB
    assert status.st_blocks * 512 >= 64 * MIB


@pytest.mark.parametrize("interrupted", ["luksFormat", "mkfs.ext4", "cryptsetup config", "cryptsetup close"])
def test_an_interrupted_initialisation_goes_on(host, interrupted):
    host.machine.fail[f"cryptsetup {interrupted}" if "luks" in interrupted else interrupted] = Result(1, "", "killed")
    with pytest.raises((VolumeError, Wrong)):
        host.run("initialised")
    host.machine.fail.clear()
    assert host.run("initialised")["volume"]["state"] in ("closed", "open")
    assert host.run("open")["volume"]["state"] == "mounted"


def test_a_header_without_a_key_slot_is_made_anew(host, monkeypatch):
    """cryptsetup writes the header first, and its key slot seconds later: a power failure may come between."""
    format_whole = host.machine._cryptsetup_luksFormat

    def format_half(argv, secret):
        format_whole(argv, secret)
        path = Path(argv[-1])
        with path.open("r+b") as stream:
            stream.write(header_bytes(host.machine._option(argv, "uuid"), INITIALISING, slots=0))
        return Result(1, "", "killed")

    monkeypatch.setattr(host.machine, "_cryptsetup_luksFormat", format_half)
    with pytest.raises((VolumeError, Wrong)):
        host.run("initialised")
    monkeypatch.undo()

    assert host.run("initialised")["volume"]["state"] in ("closed", "open")
    assert host.run("open")["volume"]["state"] == "mounted"


def test_an_unfinished_volume_is_not_opened(host):
    host.machine.fail["mkfs.ext4"] = Result(1, "", "killed")
    with pytest.raises(VolumeError):
        host.run("initialised")
    with pytest.raises(VolumeError, match="never completely initialised"):
        host.run("open")


@pytest.mark.parametrize(
    ("content", "signature", "message"),
    [
        (header_bytes(OTHER, "someone's"), "", f"already holds the LUKS volume {OTHER}"),
        (header_bytes(OTHER, INITIALISING), "", f"already holds the LUKS volume {OTHER}"),
        (header_bytes(OTHER, "old", version=1), "", "LUKS1"),
        (bytes(64 * MIB), "0x438 ext4\n", "holds data: ext4 at 0x438"),
        (bytes(3 * MIB) + b"x" + bytes(61 * MIB), "", "first 4 MiB are not empty"),
    ],
)
def test_what_holds_data_is_never_formatted(host, content, signature, message):
    host.file.parent.mkdir()
    host.file.write_bytes(content)
    host.machine.signatures[str(host.file)] = signature
    for check in (True, False):
        with pytest.raises(VolumeError, match=message):
            host.run("initialised", check=check)
    assert not host.machine.ran("luksFormat")
    assert host.file.read_bytes() == content


def test_an_empty_file_is_formatted(host):
    """The pair of the refusals above: a file that a killed run has left allocated."""
    host.file.parent.mkdir()
    host.file.write_bytes(bytes(64 * MIB))
    assert host.run("initialised")["changed"]


def test_a_directory_a_link_and_a_missing_device_are_refused(host):
    host.file.mkdir(parents=True)
    with pytest.raises(VolumeError, match="is a directory"):
        host.run("initialised")
    link = host.file.parent / "link"
    link.symlink_to(host.file)
    with pytest.raises(VolumeError, match="is a link"):
        host.run("initialised", file=str(link))
    with pytest.raises(VolumeError, match="does not exist"):
        host.run("initialised", file=None, device="/dev/disk/by-id/none")


def test_a_device_in_use_is_refused_and_a_free_one_is_formatted(host):
    host.file.parent.mkdir()
    host.file.write_bytes(bytes(64 * MIB))
    host.machine.devices = {str(host.file)}
    host.machine.in_use = {str(host.file)}
    with pytest.raises(VolumeError, match="is in use"):
        host.run("initialised", file=None, device=str(host.file))
    host.machine.in_use.clear()
    assert host.run("initialised", file=None, device=str(host.file))["changed"]
    assert not host.machine.ran("--sector-size")


def test_a_size_larger_than_the_disk_is_refused(host):
    host.machine.free = 66 * MIB
    with pytest.raises(VolumeError, match="Choose a smaller size"):
        host.run("initialised", check=True)
    assert not host.file.parent.exists()


def test_a_backup_of_a_new_header_is_exported(host, monkeypatch):
    monkeypatch.setattr(encrypted_volume, "export_header", lambda volume: "/run/there")
    result = host.run("initialised", header_backup="backups")
    assert result["header_export"] == "/run/there"
    digest = result["volume"]["header_digest"]
    assert "header_export" not in host.run("initialised", header_backup="backups", header_digests=[digest])


# -- opening -----------------------------------------------------------------------------------------------------


def test_opening_quadruple(made):
    assert made.run("open", check=True)["changed"]
    assert made.machine.mounted == []
    result = made.run("open", directories=["db1", "app1"])
    assert result["changed"]
    assert result["volume"]["state"] == "mounted"
    assert (made.mount_point / "db1").is_dir()
    assert not made.run("open", directories=["db1", "app1"])["changed"]
    assert not made.run("open", check=True, directories=["db1", "app1"])["changed"]
    assert made.run("open", check=True, directories=["more"])["changed"]


def test_a_check_comes_before_the_mount_and_the_bare_mount_point_is_made_immutable(made):
    made.run("open")
    order = [line.split()[0] for line in made.machine.log]
    assert order.index("e2fsck") < order.index("chattr") < order.index("mount")
    assert not made.machine.ran("mkfs")
    assert not made.machine.ran("luksFormat")


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_passphrase_is_tried_once_and_named(made, check):
    with pytest.raises(Wrong, match=r"does not open volume vault.*Nothing was changed"):
        made.run("open", check=check, secret=b"wrong")
    assert sum("cryptsetup open" in line for line in made.machine.log) == 1
    assert made.machine.open == []


def test_no_command_line_has_the_passphrase(made):
    made.run("open")
    made.run("open", size="128M")
    made.run("closed")
    assert len(made.machine.log) > 5
    assert not any("it's" in line for line in made.machine.log)


def test_opening_never_creates(host):
    with pytest.raises(VolumeError, match=r"Opening never creates.*encrypted_volume_initialise=true"):
        host.run("open")
    host.file.parent.mkdir()
    host.file.write_bytes(bytes(64 * MIB))
    with pytest.raises(VolumeError, match="Opening never formats"):
        host.run("open")
    assert host.machine.log == []


def test_another_volume_is_refused(made):
    with pytest.raises(VolumeError, match=f"holds the LUKS volume {UUID}, but {OTHER} is expected"):
        made.run("open", uuid=OTHER)
    assert made.run("open")["changed"]


def test_another_mapping_of_that_name_is_refused(made):
    made.machine.open.append(Mapping("vault", f"CRYPT-PLAIN-{UUID.replace('-', '')}", "253:9", 1, "/dev/sdz"))
    with pytest.raises(VolumeError, match="/dev/mapper/vault is open, but it is CRYPT-PLAIN"):
        made.run("open")


def test_a_foreign_mount_is_refused(made):
    made.machine.mounted.append((str(made.mount_point), "8:1"))
    for state in ("open", "closed"):
        with pytest.raises(VolumeError, match="has device 8:1 mounted, which is not CRYPT-LUKS2-"):
            made.run(state)


def test_data_beside_the_volume_is_shown_not_covered(made):
    made.mount_point.mkdir()
    (made.mount_point / "dump.sql").touch()
    with pytest.raises(VolumeError, match=r"dump\.sql.*beside the volume"):
        made.run("open")
    assert made.machine.mounted == []
    (made.mount_point / "dump.sql").unlink()
    assert made.run("open")["volume"]["state"] == "mounted"


HALVES = [{"size": 0, "backing": "/dev/"}, {"size": 0}, {"suspended": True}]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(("state", "found"), [("open", "mounted"), ("closed", "closed")])
def test_what_a_killed_cryptsetup_left_is_recovered(made, half, state, found):
    made.run("open")
    if half.get("size") == 0:
        made.machine.mounted.clear()
    made.machine.interrupt(**half)
    made.machine.log.clear()
    assert made.run(state, check=True)["changed"]
    assert not made.machine.ran("dmsetup")
    result = made.run(state)
    assert (result["changed"], result["volume"]["state"]) == (True, found)
    assert not made.run(state)["changed"]


def test_an_initialisation_killed_while_opening_goes_on(host):
    host.machine.fail["mkfs.ext4"] = Result(1, "", "killed")
    with pytest.raises(VolumeError):
        host.run("initialised")
    host.machine.fail.clear()
    host.machine.interrupt(size=0)
    assert host.run("initialised")["volume"]["state"] == "closed"
    assert host.run("open")["volume"]["state"] == "mounted"


def test_a_broken_file_system_is_not_mounted(made):
    made.machine.fail["e2fsck"] = Result(4, "UNEXPECTED INCONSISTENCY", "")
    with pytest.raises(VolumeError, match="need a decision"):
        made.run("open")
    assert made.machine.mounted == []
    made.machine.fail["e2fsck"] = Result(1, "repaired", "")
    assert made.run("open")["volume"]["state"] == "mounted"


# -- growing -----------------------------------------------------------------------------------------------------


def test_growing_quadruple(made):
    made.run("open")
    assert made.run("open", check=True, size="96M")["changed"]
    assert made.file.stat().st_size == 64 * MIB
    assert made.run("open", size="96M")["changed"]
    assert made.file.stat().st_size == 96 * MIB
    assert made.machine.file_systems["/dev/mapper/vault"] == 80 * MIB
    assert not made.run("open", size="96M")["changed"]
    assert not made.run("open", check=True, size="96M")["changed"]


def test_growing_while_opening(made):
    assert made.run("open", size="96M")["volume"]["state"] == "mounted"
    assert made.machine.file_systems["/dev/mapper/vault"] == 80 * MIB


def test_a_volume_never_shrinks(made):
    made.run("open", size="128M")
    with pytest.raises(VolumeError, match="it never shrinks"):
        made.run("open", size="64M")


# -- closing -----------------------------------------------------------------------------------------------------


def test_closing_quadruple(made):
    made.run("open")
    assert made.run("closed", check=True)["changed"]
    assert made.machine.mounted
    assert made.run("closed")["volume"]["state"] == "closed"
    assert not made.run("closed")["changed"]
    assert not made.run("closed", check=True)["changed"]


def test_a_busy_mount_names_the_processes(made):
    made.run("open")
    made.machine.fail["umount"] = Result(32, "", "target is busy")
    with pytest.raises(VolumeError, match="less \\(pid 42"):
        made.run("closed")
    made.machine.fail.clear()
    assert made.run("closed")["changed"]


# -- the parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "processors", "cost"),
    [(8192, 4, (1048576, 4, 4)), (2048, 2, (262144, 16, 2)), (512, 1, (65536, 64, 1)), (65536, 32, (1048576, 4, 4))],
)
def test_the_cost_follows_the_machine(host, memory, processors, cost):
    assert pbkdf_cost(memory * MIB, processors, host.spec()) == cost


def test_the_cost_can_be_chosen(host):
    assert pbkdf_cost(8192 * MIB, 2, host.spec(pbkdf_memory="64M", pbkdf_iterations=4)) == (65536, 4, 2)


def test_a_header_is_read_from_either_copy():
    both = bytearray(header_bytes(UUID, "vault", slots=2))
    both[5000] ^= 1
    found = parse_header(lambda offset, count: bytes(both[offset : offset + count]), "x")
    assert (found.uuid, found.label, len(found.keyslots)) == (UUID, "vault", 2)
    both[16384 + 5000] ^= 1
    with pytest.raises(VolumeError, match="damaged in both its copies"):
        parse_header(lambda offset, count: bytes(both[offset : offset + count]), "x")


def test_the_digest_follows_the_key_slots_only():
    def digest(*arguments):
        block = header_bytes(*arguments)
        return parse_header(lambda offset, count: block[offset : offset + count], "x").digest

    assert digest(UUID, "a") == digest(UUID, "b")
    assert digest(UUID, "a", 1) != digest(UUID, "a", 2)


@pytest.mark.parametrize("size", ["60", "60k", "1.5G", "-1G", "G", ""])
def test_a_size_needs_a_unit(size):
    with pytest.raises(VolumeError, match="size is"):
        parse_size(size, "size")


@pytest.mark.parametrize(
    "options",
    [
        {"device": "/dev/sdb"},
        {"file": None},
        {"uuid": "vault"},
        {"mount_point": "/"},
        {"mount_point": "srv"},
        {"name": "../x"},
        {"size": "16M"},
        {"directories": ["../etc"]},
        {"directories": ["/etc"]},
    ],
)
def test_what_cannot_be_meant_is_refused(host, options):
    with pytest.raises(VolumeError):
        host.spec(**options)
