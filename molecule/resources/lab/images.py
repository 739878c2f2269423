# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images, built once with mmdebstrap from the distribution's mirror and kept by the hash of what they are made of."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import disk, paths, recipes
from .run import LabError, run, say, stage, succeeds

# How files are made from a tree; raise it when the code below changes what comes out.
FORMAT = 4
# Measured in an emulated machine: unpacking costs the same with lz4, with zstd at this level and without compression
# (making the files is what takes the time), and the smaller file is hashed faster. lz4's best takes 20 times as long.
SQUASHFS = ["-tar", "-comp", "zstd", "-Xcompression-level", "3", "-b", "128K", "-root-mode", "0755"]
QUIET = ["-quiet", "-no-progress"]


def content_hash(image: str, release: str) -> str:
    """Two images with the same hash are the same image."""
    parts = [FORMAT, image, release, recipes.packages(image, release), recipes.EXCLUDED, recipes.CUSTOMIZE]
    parts += [recipes.NETWORK, recipes.BYTECODE, recipes.TEMPLATES, recipes.SSH, recipes.essential(image), SQUASHFS]
    if image == "vm":
        parts.append(disk.SOURCES)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def directory(image: str, release: str) -> Path:
    return paths.cache() / "images" / f"{image}-{release}-{content_hash(image, release)}"


def mirrors(release: str) -> list[str]:
    """This machine's own apt sources with the release's name put in; none: mmdebstrap's default."""
    wanted = "$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    listing = run(["apt-get", "indextargets", "--format", wanted], check=False)
    lines = []
    for line in listing.splitlines():
        words = line.split()
        if len(words) != 4 or words[0] != "Packages" or words[3] != "main":
            continue
        name, _, pocket = words[2].partition("-")
        if name in recipes.RELEASES and pocket in ("", "updates", "security"):
            lines.append(f"deb {words[1]} {release}{'-' + pocket if pocket else ''} main")
    return sorted(set(lines)) if any(f" {release} " in line for line in lines) else []


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One builder at a time; the others wait and then find the image there."""
    path = paths.cache() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def tree(image: str, release: str, target: Path, hooks: list[str]) -> None:
    """Make the root file system as a tar archive."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "--skip=cleanup/apt/lists"]
    command += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"']
    # A build that is cut off is thrown away, so nothing has to be on the disk before it is done.
    command += [f"--dpkgopt={option}" for option in [*recipes.EXCLUDED, "force-unsafe-io"]]
    command.append("--include=" + ",".join(recipes.packages(image, release)))
    command += [f"--essential-hook={hook}" for hook in recipes.essential(image)]
    command += [f"--customize-hook={hook}" for hook in hooks]
    with tempfile.TemporaryDirectory() as scripts:
        files = {"customize": recipes.CUSTOMIZE, "network": recipes.NETWORK, "lab_bytecode.py": recipes.BYTECODE}
        for name, text in files.items():
            (Path(scripts) / name).write_text(text)
        Path(scripts).chmod(0o755)
        command.append(f'--customize-hook=cd {scripts} && sh ./customize "$1" {image}')
        run([*command, release, target, *mirrors(release)], timeout=1800)
    # mmdebstrap writes no time that lies ahead.
    stamp = tarfile.TarInfo(recipes.FRESH)
    stamp.mtime, stamp.mode = recipes.FOR_EVER, 0o644
    with tarfile.open(target, "a") as archive:
        archive.addfile(stamp)


def prune() -> list[Path]:
    """Remove what no recipe of this checkout makes any more. Machines in use keep their backing files open."""
    current = {directory(image, release).name for image in recipes.PACKAGES for release in recipes.RELEASES}
    old = [path for path in (paths.cache() / "images").glob("*-*-*") if path.name not in current]
    # A build in progress, or one of another checkout that has just been made, is not old.
    old = [path for path in old if time.time() - path.stat().st_mtime > 86400]
    for path in old:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return old


def metadata(release: str, target: Path, description: str) -> None:
    """The half of a split LXD image that describes it."""
    texts = recipes.TEMPLATES
    templates = {f"/etc/{name}": {"when": ["create", "copy"], "template": f"{name}.tpl"} for name in texts}
    about = {
        "architecture": os.uname().machine,
        "creation_date": int(time.time()),
        "properties": {"os": "Debian", "release": release, "description": description},
        "templates": templates,
    }
    files = {"metadata.yaml": json.dumps(about)}
    files |= {f"templates/{name}.tpl": text for name, text in texts.items()}
    with tarfile.open(target, "w:xz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def build(image: str, release: str) -> Path:
    """The image's directory, made if it is not there. A build that is killed leaves only a temporary directory."""
    if image not in recipes.PACKAGES or release not in recipes.RELEASES:
        raise LabError(f"no image {image!r} of {release!r}; there are {sorted(recipes.PACKAGES)} of {recipes.RELEASES}")
    target = directory(image, release)
    if target.exists():
        return target
    with locked(target.name):
        if target.exists():
            return target
        work = target.with_name(target.name + ".building")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with stage(f"build image {image} ({release})"):
            if image == "vm":
                disk.build(release, work)
            else:
                container(image, release, work)
        work.replace(target)
    return target


def squash(archive: Path, target: Path) -> None:
    """Pack a tar archive, and unpack the result once to see that it can be done.

    mksquashfs 4.5.1 now and then writes a block that no zstd can read (seen once, in a database image), which LXD
    would find out much later.
    """
    for attempt in (1, 2, 3):
        target.unlink(missing_ok=True)
        run(["mksquashfs", "-", target, *SQUASHFS, *QUIET], stdin=archive, timeout=900)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            if succeeds(["unsquashfs", *QUIET, "-no-exit-code", "-force", "-dest", scratch, target], timeout=600):
                return
        say(f"  {target} cannot be unpacked again (attempt {attempt} of 3)")
    raise LabError(f"mksquashfs wrote three images that cannot be unpacked: {target}")


def container(image: str, release: str, work: Path) -> None:
    """A split image for LXD: metadata.tar.xz and rootfs.squashfs. A tier has no sshd, so its packages lie beside."""
    hooks = []
    if image != "server":
        # For scenarios that reach a tier's container over ssh, without a box around it.
        (work / "ssh").mkdir()
        hooks = [f"set -e; export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG; cd {work}/ssh; apt-get -qq download {recipes.SSH}"]
    tree(image, release, work / "rootfs.tar", hooks)
    squash(work / "rootfs.tar", work / "rootfs.squashfs")
    (work / "rootfs.tar").unlink()
    metadata(release, work / "metadata.tar.xz", f"securebox lab {image} {release}")
    say(f"  {image}: {(work / 'rootfs.squashfs').stat().st_size >> 20} MiB")
