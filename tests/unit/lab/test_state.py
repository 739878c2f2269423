# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs are described, kept and named without surprises."""

from __future__ import annotations

import pytest
import yaml
from lab import inventory, paths, ssh
from lab.run import LabError, run, succeeds, wait_for
from lab.state import Lab, Machine, every


@pytest.fixture
def lab():
    """Two machines, one of each engine."""
    found = Lab("pair")
    box = Machine(
        "box", engine="vm", groups=["box"], address="127.0.0.1", port=2201, forwards={"22": 2201, "822": 2202}
    )
    db = Machine("db", address="10.1.2.3", address6="fd00::3")
    found.machines = {"box": box, "db": db}
    found.save()
    ssh.make_key(found.key)
    return found


def test_a_saved_lab_is_the_same_when_read_again(lab):
    assert Lab("pair").machines == lab.machines
    assert [found.name for found in every()] == ["pair"]


def test_a_removed_lab_leaves_nothing(lab):
    lab.remove()
    assert not lab.directory.exists()
    assert every() == []


@pytest.mark.parametrize("name", ["", "Box", "a b", "../x", "-x", "a" * 26, "1a"])
def test_names_that_would_break_paths_are_refused(name):
    with pytest.raises(ValueError, match="name"):
        Lab(name)


def test_an_unknown_word_in_a_platform_is_named():
    with pytest.raises(LabError, match="memori"):
        Machine.parse({"name": "box", "memori": 1})


def test_an_unknown_engine_is_named():
    with pytest.raises(LabError, match="vagrant"):
        Machine.parse({"name": "box", "engine": "vagrant"})


def test_molecules_own_words_in_a_platform_are_no_error():
    assert Machine.parse({"name": "box", "children": [], "networks": []}).name == "box"


def test_two_checkouts_never_share_an_instance(monkeypatch, tmp_path):
    here = paths.instance("site", "box")
    monkeypatch.setenv("SECUREBOX_LAB_STATE", str(tmp_path / "other"))
    assert paths.instance("site", "box") != here


def test_instance_names_are_valid_for_lxd():
    name = paths.instance("a" * 25, "b" * 25)
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()


def test_the_inventory_says_how_to_reach_each_machine(lab):
    hosts = inventory.inventory(lab)["all"]["hosts"]
    assert (hosts["box"]["ansible_host"], hosts["box"]["ansible_port"]) == ("127.0.0.1", 2201)
    assert hosts["box"]["lab_forwards"] == {"22": 2201, "822": 2202}
    assert hosts["db"]["lab_address6"] == "fd00::3"
    assert hosts["db"]["ansible_ssh_private_key_file"] == str(lab.key)


def test_groups_hold_only_the_machines_that_asked_for_them(lab):
    assert inventory.inventory(lab)["all"]["children"] == {"box": {"hosts": {"box": {}}}}


def test_the_written_inventory_is_the_inventory(lab):
    inventory.write(lab)
    assert yaml.safe_load((lab.directory / "inventory.yml").read_text()) == inventory.inventory(lab)


@pytest.mark.parametrize("value", [{}, {"a": {}}, {"a": {"b": [1, {"c": None}]}}, {"a": "x: y # z", "b": True}])
def test_the_yaml_writer_is_understood_by_a_real_reader(value):
    assert yaml.safe_load(inventory.yaml(value)) == value


def test_molecule_is_told_address_port_user_and_key(lab):
    assert inventory.instance_config(lab)[0] == {
        "instance": "box",
        "address": "127.0.0.1",
        "port": 2201,
        "user": "root",
        "identity_file": str(lab.key),
    }


def test_known_hosts_knows_every_port_that_sshd_may_move_to(lab):
    ssh.write_files(lab)
    known = (lab.directory / "known_hosts").read_text()
    assert "[127.0.0.1]:2201 ssh-ed25519" in known
    assert "[127.0.0.1]:2202 ssh-ed25519" in known
    assert "\n10.1.2.3 ssh-ed25519" in known


def test_a_program_that_fails_says_why():
    with pytest.raises(LabError, match="no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
    assert not succeeds(["false"])
    assert succeeds(["true"])


def test_a_program_that_is_not_there_leads_to_the_doctor():
    with pytest.raises(LabError, match="doctor"):
        run(["surely-not-a-program"])


def test_no_program_reads_our_standard_input():
    assert run(["cat"]) == ""
    assert run(["cat"], stdin="x") == "x"


def test_waiting_ends():
    with pytest.raises(LabError, match="the moon"):
        wait_for("the moon", lambda: False, timeout=0.05, pause=0.01)
    assert wait_for("an answer", lambda: 42, timeout=1) == 42
