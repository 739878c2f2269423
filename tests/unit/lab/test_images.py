# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image is kept by what it is made of: a change makes a new one, no change never does."""

from __future__ import annotations

import json
import os
import tarfile

import pytest
from lab import disk, images, recipes
from lab.run import LabError


def test_the_same_recipe_is_the_same_image():
    assert images.content_hash("db", "bookworm") == images.content_hash("db", "bookworm")


def test_releases_and_images_differ():
    every = {images.content_hash(image, release) for image in recipes.PACKAGES for release in recipes.RELEASES}
    assert len(every) == len(recipes.PACKAGES) * len(recipes.RELEASES)


@pytest.mark.parametrize("part", ["CUSTOMIZE", "NETWORK", "BYTECODE", "EXCLUDED", "BASE"])
def test_a_changed_recipe_is_another_image(monkeypatch, part):
    before = images.content_hash("proxy", "bookworm")
    old = getattr(recipes, part)
    monkeypatch.setattr(recipes, part, old + (" more " if isinstance(old, str) else ("more",)))
    assert images.content_hash("proxy", "bookworm") != before


def test_what_only_the_vm_has_changes_only_the_vm(monkeypatch):
    before = {image: images.content_hash(image, "bookworm") for image in ("vm", "db")}
    monkeypatch.setattr(disk, "SOURCES", [*disk.SOURCES, "more"])
    assert images.content_hash("vm", "bookworm") != before["vm"]
    assert images.content_hash("db", "bookworm") == before["db"]


def test_an_unknown_image_is_named_and_nothing_is_begun(places):
    with pytest.raises(LabError, match="no image 'mail'"):
        images.build("mail", "bookworm")
    assert not (places / "cache").exists()


def test_an_image_that_is_there_is_not_built_again(monkeypatch):
    images.directory("db", "bookworm").mkdir(parents=True)
    monkeypatch.setattr(images, "container", lambda *_: pytest.fail("built again"))
    assert images.build("db", "bookworm") == images.directory("db", "bookworm")


def test_a_build_that_fails_leaves_no_image(monkeypatch):
    def fail(*_):
        raise LabError("mirror is gone")

    monkeypatch.setattr(images, "container", fail)
    with pytest.raises(LabError, match="mirror"):
        images.build("db", "bookworm")
    assert not images.directory("db", "bookworm").exists()


def test_the_mirror_is_the_one_of_this_machine(monkeypatch):
    listing = (
        "Packages http://mirror.test/debian/ bookworm main\n"
        "Packages http://mirror.test/debian/ bookworm-updates main\n"
        "Packages http://mirror.test/sec/ bookworm-security main\n"
        "Packages http://mirror.test/debian/ bookworm contrib\n"
        "Packages http://other.test/ stable main\n"
        "Sources http://mirror.test/debian/ bookworm main\n"
    )
    monkeypatch.setattr(images, "run", lambda *_, **__: listing)
    assert images.mirrors("trixie") == [
        "deb http://mirror.test/debian/ trixie main",
        "deb http://mirror.test/debian/ trixie-updates main",
        "deb http://mirror.test/sec/ trixie-security main",
    ]


def test_without_a_debian_mirror_the_default_is_taken(monkeypatch):
    monkeypatch.setattr(images, "run", lambda *_, **__: "Packages http://ubuntu.test/ jammy main\n")
    assert images.mirrors("bookworm") == []


def test_metadata_names_architecture_and_templates(tmp_path):
    images.metadata("bookworm", tmp_path / "metadata.tar.xz", "a test")
    with tarfile.open(tmp_path / "metadata.tar.xz") as archive:
        about = json.load(archive.extractfile("metadata.yaml"))
        for template in about["templates"].values():
            assert archive.getmember(f"templates/{template['template']}")
    assert about["properties"]["release"] == "bookworm"


def test_tiers_are_found_where_the_disk_is_mounted():
    files = disk.tier_files(["db"])["db"]
    assert f'"$images" {disk.IMAGES};' in disk.BOOT_SCRIPT
    assert all(path.startswith(f"{disk.IMAGES}/db/") for path in files.values())


def test_only_old_images_of_changed_recipes_are_pruned(places):
    """Somebody's build of an hour ago may be of another branch, and in use."""
    folder = places / "cache" / "images"
    current, fresh, old = (images.directory("db", "bookworm"), folder / "db-bookworm-1", folder / "db-bookworm-2")
    for path in (current, fresh, old):
        path.mkdir(parents=True)
    for path in (current, old):
        os.utime(path, (0, 0))

    assert images.prune() == [old]
    assert current.exists()
    assert fresh.exists()


@pytest.fixture
def packing(monkeypatch, tmp_path):
    """Pretends to pack; the unpacking fails as often as the test says."""
    state = {"packed": 0, "broken": 0}

    def run(command, **_):
        state["packed"] += 1
        command[2].touch()

    def succeeds(command, **_):
        state["broken"] -= 1
        return state["broken"] < 0

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(images, "succeeds", succeeds)
    state["target"] = tmp_path / "rootfs.squashfs"
    return state


@pytest.mark.parametrize(("broken", "packed"), [(0, 1), (2, 3)])
def test_an_image_that_cannot_be_unpacked_is_packed_again(packing, broken, packed):
    packing["broken"] = broken
    images.squash(packing["target"].with_name("rootfs.tar"), packing["target"])
    assert packing["packed"] == packed


def test_an_image_that_never_unpacks_is_no_image(packing):
    packing["broken"] = 3
    with pytest.raises(LabError, match="cannot be unpacked"):
        images.squash(packing["target"].with_name("rootfs.tar"), packing["target"])
