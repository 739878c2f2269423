# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for a word on a machine. The word comes on standard input, so that the search itself is not what is found.

poll FILE      until FILE exists: every process's command line and environment
sweep DIR...   once: every file below the directories, and the journal
"""

import json
import subprocess
import sys
import time
from pathlib import Path


def poll(word: bytes, stop: str) -> set[str]:
    found, looks = set(), 0
    while not Path(stop).exists():
        looks += 1
        for process in (path for path in Path("/proc").iterdir() if path.name.isdigit()):
            for what in ("cmdline", "environ"):
                try:
                    if word in (process / what).read_bytes():
                        found.add(what)
                except OSError:
                    continue
        # argon2id takes longer than this, and the machine needs time for its work.
        time.sleep(0.1)
    print(f"{looks} looks", file=sys.stderr)
    return found


def sweep(word: bytes, places: list[str]) -> set[str]:
    grep = ["grep", "--recursive", "--devices=skip", "--text", "--files-with-matches", "--fixed-strings", "--file=-"]
    there = [place for place in places if Path(place).exists()]
    listed = subprocess.run([*grep, *there], input=word + b"\n", capture_output=True, check=False).stdout
    # The journal compresses long fields, which grep cannot see through.
    journal = subprocess.run(["journalctl", "--no-pager", "--output=cat"], capture_output=True, check=False).stdout
    return set(listed.decode().split()) | ({"journal"} if word in journal else set())


if __name__ == "__main__":
    word = sys.stdin.buffer.readline().strip()
    found = poll(word, sys.argv[2]) if sys.argv[1] == "poll" else sweep(word, sys.argv[2:])
    print(json.dumps(sorted(found)))
