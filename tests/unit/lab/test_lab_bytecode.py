# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's images remember is the same code, and never somebody else's."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from lab import recipes

RUN = """\
import sys
sys.path[:0] = [{hook!r}, {archive!r}]
import lab_bytecode, zipimport
lab_bytecode.CACHE = {cache!r}
compiled = []
original = lab_bytecode.compile_source
lab_bytecode.compile_source = lambda *words: compiled.append(1) or original(*words)
import thing
print(thing.ANSWER, len(compiled), thing.where())
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "lab_bytecode.py").write_text(recipes.BYTECODE)

    def run(name: str, answer: int, cache: Path) -> list[str]:
        archive = tmp_path / name
        with zipfile.ZipFile(archive, "w") as stream:
            stream.writestr("thing.py", f"ANSWER = {answer}\ndef where():\n    return where.__code__.co_filename\n")
        script = RUN.format(hook=str(tmp_path / "hook"), archive=str(archive), cache=str(cache))
        done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.split()

    return run


def test_the_same_source_is_compiled_once_and_named_after_its_own_zip(run, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    assert run("first.zip", 42, cache) == ["42", "1", f"{tmp_path}/first.zip/thing.py"]
    assert run("second.zip", 42, cache) == ["42", "0", f"{tmp_path}/second.zip/thing.py"]


def test_another_source_is_compiled_anew(run, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    run("first.zip", 42, cache)
    assert run("first.zip", 43, cache)[:2] == ["43", "1"]


def test_a_damaged_entry_is_replaced(run, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    run("first.zip", 42, cache)
    for entry in cache.iterdir():
        entry.write_bytes(b"half")
    assert run("first.zip", 42, cache)[:2] == ["42", "1"]
    assert run("first.zip", 42, cache)[:2] == ["42", "0"]


def test_where_nothing_can_be_kept_all_goes_on(run, tmp_path):
    assert run("first.zip", 42, tmp_path / "none")[:2] == ["42", "1"]
