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


def main(war: Path, directory: Path) -> None:
    os.umask(0o022)
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with zipfile.ZipFile(war) as archive:
        archive.extractall(partial)
    partial.rename(directory)
    # The version that is still running stays, as the way back.
    prune(directory.parent.iterdir(), keep=directory)
    prune(war.parent.glob("app_tomcat-*.war"), keep=war)


def prune(candidates, keep: Path) -> None:
    others = sorted((path for path in candidates if path != keep), key=lambda path: path.stat().st_mtime)
    for path in others[:-1]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
