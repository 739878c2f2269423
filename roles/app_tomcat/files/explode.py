# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""explode.py WAR DIRECTORY: unpacks the WAR, all of it or nothing, and clears away what is older than the last version.

Tomcat could do this itself, but then it would have to be able to write where its own programs are.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

SERVER = Path("/etc/tomcat10/server.xml")


def main(war: Path, directory: Path) -> None:
    os.umask(0o022)
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with zipfile.ZipFile(war) as archive:
        archive.extractall(partial)
    # What has its name is complete, also after a power failure.
    os.sync()
    partial.rename(directory)
    # The version that is still running stays, as the way back.
    running = SERVER.read_text() if SERVER.exists() else ""
    prune(directory.parent.iterdir(), directory, running)
    prune(war.parent.glob("app_tomcat-*.war"), war, running)


def prune(candidates, new: Path, running: str) -> None:
    """Keeps the new one, and the one that runs; if none does, the one before."""
    others = sorted((path for path in candidates if path != new), key=lambda path: path.stat().st_mtime)
    kept = [path for path in others if path.stem.removeprefix("app_tomcat-") in running] or others[-1:]
    for path in others:
        if path in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
