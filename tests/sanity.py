#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `ansible-test sanity` over what users install, once for every ansible-core that this machine can run.

Each core has an environment of its own, kept in the cache. ansible-test fetches pip's bootstrap script from the
internet for every virtual environment that it makes; Python ships one (ensurepip), so that one is put in its place.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("SECUREBOX_SANITY_CACHE", ROOT / ".cache" / "sanity"))

# ansible-core -> the Pythons that it runs on as a controller, the oldest first: what is old breaks first.
CORES = {
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}

GET_PIP = '''\
import re, subprocess, sys
wanted = next(a for a in sys.argv if re.match(r"pip==", a))
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted], check=True)
'''


def find_python(versions: tuple[str, ...]) -> tuple[str, str] | None:
    """The first of these versions that really runs here: (version, path)."""
    for version in versions:
        places = [Path(found)] if (found := shutil.which(f"python{version}")) else []
        places += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
        for place in places:
            if subprocess.run([place, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return version, str(place)
    return None


def prepare(core: str, python: str) -> Path:
    """An environment with this core; returns its bin directory."""
    environment = CACHE / core
    if not (environment / ".ready").exists():
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([python, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", f"ansible-core~={core}.0"], check=True)
        (environment / ".ready").touch()
    return environment / "bin"


def prepare_home(binaries: Path) -> Path:
    """A home for ansible-test, so that its caches, with our pip script among them, stay out of the user's."""
    home = CACHE / "home"
    scripts = home / ".ansible" / "test" / "cache"
    scripts.mkdir(parents=True, exist_ok=True)
    for name in (".config", ".pip", ".pyenv"):
        if (Path.home() / name).exists() and not (home / name).exists():
            (home / name).symlink_to(Path.home() / name)
    source = next(binaries.parent.glob("lib/python*/site-packages/ansible_test/_internal/python_requirements.py"))
    for version in set(re.findall(r"pip='([\d.]+)'", source.read_text())):
        (scripts / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP)
    return home


def unpack(core: str, binaries: Path) -> Path:
    """What users install, where ansible-test wants it: below ansible_collections/NAMESPACE/NAME."""
    tree = CACHE / "tree" / core / "ansible_collections" / "securebox" / "stack"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    built = CACHE / "tree" / core
    for old in built.glob("*.tar.gz"):
        old.unlink()
    command = [binaries / "ansible-galaxy", "collection", "build", "--force", "--output-path", built, ROOT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(built.glob("*.tar.gz"))) as tarball:
        tarball.extractall(tree, filter="data")
    # ansible-test asks git which files there are. Without a repository of its own here, it would ask the one around.
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "--all", "--force"], cwd=tree, check=True)
    return tree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default=",".join(CORES), help="which ansible-core releases, separated by commas")
    parser.add_argument("--test", action="append", default=[], help="only this sanity test; may be repeated")
    options = parser.parse_args()

    failed, ran = [], 0
    for core in options.cores.split(","):
        found = find_python(CORES[core])
        if found is None:
            print(f"sanity {core}: left out, it needs Python {' or '.join(CORES[core])} on this machine", flush=True)
            continue
        version, python = found
        begin = time.monotonic()
        binaries = prepare(core, python)
        environment = {
            **os.environ, "HOME": str(prepare_home(binaries)), "PATH": f"{binaries}:{os.environ['PATH']}",
        }
        for name in ("ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_HOME", "PYTHONPATH", "VIRTUAL_ENV"):
            environment.pop(name, None)
        command = [binaries / "ansible-test", "sanity", "--python", version, "--requirements", "--color", "no"]
        command += [word for name in options.test for word in ("--test", name)]
        print(f"sanity {core} on Python {version} ...", flush=True)
        result = subprocess.run(command, cwd=unpack(core, binaries), env=environment, check=False)
        ran += 1
        print(f"sanity {core}: {'passed' if result.returncode == 0 else 'FAILED'} in {time.monotonic() - begin:.0f} s")
        if result.returncode != 0:
            failed.append(core)
    if not ran:
        print("sanity: no Python here runs any of these ansible-core releases", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
