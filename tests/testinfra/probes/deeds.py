# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root, in a person's session: does harmless deeds, and looks them up in the kernel's record.

GIVEN is [deeds, log]: deeds are [key, verb, arguments], log is the record's path. Prints [key, number, event] a deed,
and at last the same for a deed that no rule names, with the first key. Each deed has a process of its own, so that its
event is known by number.
"""

import ctypes
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path


def files(arguments):
    """The first regular file of these files and directories."""
    for path in map(Path, arguments):
        for found in [path, *path.rglob("*")]:
            if found.is_file():
                return found
    raise FileNotFoundError(f"none of {' '.join(arguments)}")


def opens(*paths):
    """For writing, and nothing is written: nobody finds it changed."""
    with files(paths).open("ab"):
        pass


def runs(*command):
    os.execvp(command[0], command)


def loads(command):
    """No further than to its libraries: the loader of a program, or of its interpreter, lists them and ends."""
    with Path(command).open("rb") as stream:
        script = stream.read(2) == b"#!"
    if not script and subprocess.run(["ldd", command], capture_output=True, check=False).returncode:
        raise ValueError(f"{command} has no libraries, and would run")
    os.execve(command, [command], {**os.environ, "LD_TRACE_LOADED_OBJECTS": "1"})


def person(*command):
    """As the person whose session this is."""
    os.setgroups([])
    os.setuid(int(os.environ["SUDO_UID"]))
    os.execvp(command[0], command)


def deletes():
    with tempfile.NamedTemporaryFile():
        pass


def changes_mode():
    with tempfile.NamedTemporaryFile() as stream:
        Path(stream.name).chmod(0o600)


def asks_the_clock():
    """What sets it, with nothing to set."""
    ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))


def nothing():
    pass


def do(verb, arguments):
    """In a child, whose number is returned."""
    number = os.fork()
    if number == 0:
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        try:
            globals()[verb](*arguments)
        finally:
            os._exit(0)
    os.waitpid(number, 0)
    return number


def events(log, known):
    """The system calls in the newest two files of the record, by number and key."""
    found = {}
    files_by_age = sorted(Path(log).parent.glob(f"{Path(log).name}*"), key=lambda path: path.stat().st_mtime)
    for path in files_by_age[-2:]:
        with path.open(errors="replace") as stream:
            stream.seek(max(0, path.stat().st_size - 4_000_000))
            for line in stream:
                said = re.search(r'type=SYSCALL .* pid=(\d+) .*key="([^"]*)"', line)
                if said and int(said[1]) in known:
                    found.setdefault((said[2], int(said[1])), line.strip())
    return found


def main(deeds, log):
    done = [(key, do(verb, arguments)) for key, verb, *arguments in deeds]
    other = (deeds[0][0], do("nothing", []))
    for _try in range(20):
        found = events(log, {number for _key, number in [*done, other]})
        if all(deed in found for deed in done):
            break
        time.sleep(0.5)
    print(json.dumps([[*deed, found.get(deed, "")] for deed in [*done, other]]))


if "GIVEN" in globals():
    main(*globals()["GIVEN"])  # put before this text by whoever sends it
