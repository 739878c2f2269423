# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs on the box as root: asks all questions of all machines side by side, and prints the answers as JSON."""

import concurrent.futures
import json
import subprocess

MARK = "\n@@answer@@ "


def script(questions):
    """One shell script a machine: each question in a shell of its own, so that none can disturb the next."""
    parts = []
    for name, question in questions.items():
        parts.append(f"sh -s 2>&1 <<'QUESTION'\nexport LC_ALL=C\n{question}\nQUESTION\n")
        parts.append(f"printf '\\n{MARK[1:]}%s %s\\n' {name} $?\n")
    # An LXD before 5.14 may lose what is said at the very end.
    return "".join([*parts, "sleep 0.05\n"])


def answers(text):
    found, rest = {}, text
    while MARK in rest:
        before, rest = rest.split(MARK, 1)
        line, _end, rest = rest.partition("\n")
        name, code = line.split()
        found[name] = [int(code), before.strip()]
    return found


def put(host, questions, instance):
    command = ["lxc", "exec", instance, "--", "sh", "-s"] if instance else ["sh", "-s"]
    try:
        done = subprocess.run(
            command,
            input=script(questions),
            capture_output=True,
            text=True,
            timeout=240,
            errors="replace",
            check=False,
        )
        found, trouble = answers(done.stdout), done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        found, trouble = {}, str(error)
    return host, {name: found.get(name, [125, f"not answered: {trouble}"]) for name in questions}


def main(given):
    instances = given["instances"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        done = [pool.submit(put, host, named, instances.get(host)) for host, named in given["questions"].items()]
        print(json.dumps(dict(future.result() for future in done)))


if "GIVEN" in globals():
    main(json.loads(globals()["GIVEN"]))  # put before this text by whoever sends it
