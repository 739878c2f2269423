# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""In the lab's images, imported by every Python there: remembers what zipimport has compiled.

Ansible sends each module as a zip of sources, and each run of one begins by compiling them: a third of the time of a
small task in an emulated machine. The same source gives the same code; nothing else about the run is different.
"""

import _imp
import marshal
import os
import sys
import zipimport

CACHE = "/var/cache/lab-bytecode"
compile_source = zipimport._compile_source
# zipimport asks twice for each module: once to learn the file's name, and once to run it.
seen = {}


def remembered(pathname, source):
    """The source's code, from the cache if it was compiled before."""
    if pathname not in seen:
        seen[pathname] = find(pathname, source)
    return seen[pathname]


def find(pathname, source):
    """Only root reads and writes the cache."""
    path = f"{CACHE}/{sys.implementation.cache_tag}-{_imp.source_hash(len(source), source).hex()}"
    try:
        with open(path, "rb") as stream:
            code = marshal.load(stream)
    except (OSError, EOFError, ValueError, TypeError):
        code = compile_source(pathname, source)
        keep(code, path)
        return code
    _imp._fix_co_filename(code, pathname)
    return code


def keep(code, path):
    """Whole or not at all: others may read at the same time. Without a place for it, each run compiles for itself."""
    partial = f"{path}.{os.getpid()}"
    try:
        with open(partial, "wb") as stream:
            marshal.dump(code, stream)
        os.replace(partial, path)
    except OSError:
        pass


zipimport._compile_source = remembered
