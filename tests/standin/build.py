#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the stand-in for the application: a small WAR that is wired as DHIS2 is.

    python3 tests/standin/build.py OUT.war

The same sources give the same bytes, so its sha256 can be named. Needs javac (package openjdk-17-jdk-headless, or
a newer one) and, for the libraries, apt-get and dpkg-deb; they are unpacked into .cache/standin, nothing is installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "standin"

# Debian's packages, and what of each goes where: `lib` into the WAR, `compile` on javac's path only.
PACKAGES = {
    "libtomcat10-java": {"compile": ["tomcat10-servlet-api.jar"]},
    "libpostgresql-jdbc-java": {"lib": ["postgresql.jar"]},
}
EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    out = Path(sys.argv[1]).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(build(), out)
    print(f"{hashlib.sha256(out.read_bytes()).hexdigest()}  {out}")
    return 0


def build() -> Path:
    """The WAR in the cache, built if the sources have changed since."""
    sources = sorted(path for folder in ("src", "webapp") for path in (HERE / folder).rglob("*") if path.is_file())
    state = hashlib.sha256(b"".join(path.read_bytes() for path in [Path(__file__), *sources])).hexdigest()[:16]
    war = CACHE / f"standin-{state}.war"
    if not war.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        jars = {name: unpacked(name) for name in PACKAGES}
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            classes = Path(scratch, "classes")
            compile_sources(classes, find(jars, "compile"))
            pack(Path(scratch, "war"), classes, find(jars, "lib")).rename(war)
    return war


def unpacked(package: str) -> Path:
    """Where a package's files are: on this machine if it is installed, or else unpacked into the cache."""
    question = ["dpkg-query", "-W", "-f", "${Status}", package]
    installed = subprocess.run(question, capture_output=True, text=True, check=False)
    if installed.stdout.endswith(" installed"):
        return Path("/")
    folder = CACHE / package
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            try:
                subprocess.run(
                    ["apt-get", "download", package], cwd=scratch, check=True, capture_output=True, text=True
                )
            except (OSError, subprocess.CalledProcessError) as problem:
                reason = getattr(problem, "stderr", None) or problem
                raise SystemExit(f"The package {package} is needed: apt-get install {package}\n{reason}") from None
            (deb,) = Path(scratch).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, Path(scratch, "root")], check=True)
            Path(scratch, "root").rename(folder)
    return folder


def find(folders: dict[str, Path], use: str) -> list[Path]:
    """The jars for one use: the real files, whatever links the package has to them."""
    return [
        (folders[package] / "usr/share/java" / name).resolve(strict=True)
        for package, wanted in PACKAGES.items()
        for name in wanted.get(use, [])
    ]


def compile_sources(classes: Path, path: list[Path]) -> None:
    if not shutil.which("javac"):
        raise SystemExit(
            "javac is not here: apt-get install openjdk-17-jdk-headless (on Debian 13: openjdk-21-jdk-headless)"
        )
    classes.mkdir(parents=True)
    sources = sorted((HERE / "src").rglob("*.java"))
    options = ["--release", "17", "-Xlint:all,-serial", "-Werror", "-encoding", "UTF-8", "-g:none", "-proc:none"]
    command = ["javac", *options, "-d", classes, "-cp", ":".join(map(str, path)), *sources]
    subprocess.run([str(word) for word in command], check=True)


def pack(war: Path, classes: Path, libraries: list[Path]) -> Path:
    """A zip whose bytes depend on the contents only: sorted, one date, one mode."""
    webapp = HERE / "webapp"
    contents = {str(path.relative_to(webapp)): path for path in webapp.rglob("*") if path.is_file()}
    contents |= {f"WEB-INF/classes/{path.relative_to(classes)}": path for path in classes.rglob("*.class")}
    contents |= {f"WEB-INF/lib/{jar.name}": jar for jar in libraries}
    with zipfile.ZipFile(war, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return war


if __name__ == "__main__":
    sys.exit(main())
