# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""app_tomcat's explode.py: a version is there as a whole, and the one that runs is never cleared away."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "roles/app_tomcat/files/explode.py"


@pytest.fixture
def machine(tmp_path):
    spec = importlib.util.spec_from_file_location("explode", SOURCE)
    explode = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(explode)
    explode.SERVER = tmp_path / "server.xml"
    (tmp_path / "opt").mkdir()
    (tmp_path / "cache").mkdir()

    class Machine:
        clock = 1_700_000_000
        main = staticmethod(explode.main)

        def deploy(self, name: str) -> None:
            war = tmp_path / "cache" / f"app_tomcat-{name}.war"
            with zipfile.ZipFile(war, "w") as archive:
                archive.writestr("WEB-INF/web.xml", name)
            explode.main(war, tmp_path / "opt" / name)
            self.clock += 60
            for path in (war, tmp_path / "opt" / name):
                os.utime(path, (self.clock, self.clock))

        def serve(self, name: str) -> None:
            explode.SERVER.write_text(f'<Context docBase="{tmp_path}/opt/{name}"/>')

        def versions(self) -> set[str]:
            wars = {path.stem.removeprefix("app_tomcat-") for path in (tmp_path / "cache").iterdir()}
            assert wars == {path.name for path in (tmp_path / "opt").iterdir()}
            return wars

    return Machine()


def test_the_version_before_stays(machine):
    for name in ("aaaa", "bbbb", "cccc"):
        machine.deploy(name)
        machine.serve(name)
    assert machine.versions() == {"bbbb", "cccc"}


def test_the_version_that_runs_stays_though_it_is_the_oldest(machine):
    """Forth, back, and forth again: what failed goes, what runs is not touched."""
    machine.deploy("aaaa")
    machine.deploy("bbbb")
    machine.serve("aaaa")
    machine.deploy("cccc")
    assert machine.versions() == {"aaaa", "cccc"}


def test_a_damaged_archive_leaves_no_version(machine, tmp_path):
    machine.deploy("aaaa")
    broken = tmp_path / "cache" / "app_tomcat-bbbb.war"
    broken.write_bytes((tmp_path / "cache" / "app_tomcat-aaaa.war").read_bytes()[:-30])
    with pytest.raises(zipfile.BadZipFile):
        machine.main(broken, tmp_path / "opt" / "bbbb")
    assert not (tmp_path / "opt" / "bbbb").exists()
    assert (tmp_path / "opt" / "aaaa" / "WEB-INF" / "web.xml").read_text() == "aaaa"
