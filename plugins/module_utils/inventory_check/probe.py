# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one look at the server: reads what the script of check.yml printed there. Needs no Python on the server."""

from __future__ import annotations

import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Server

# The script's last line. Without it the output is cut off, and nothing may be concluded from it.
END = "@@end"


def parse(output: str) -> Server | None:
    """What the server is, or None when the output is not whole."""
    sections: dict[str, list[str]] = {}
    paths: dict[str, dict[str, t.Any]] = {}
    lines: list[str] = []
    for raw in output.replace("\r", "").splitlines():
        line = raw.strip()
        if line.startswith("@@"):
            lines = sections.setdefault(line[2:], [])
        elif line:
            lines.append(line)
    if END[2:] not in sections:
        return None
    for name, body in sections.items():
        if name.startswith("path "):
            paths[name[len("path ") :]] = _path(body)
    release = dict(line.split("=", 1) for line in sections.get("os", []) if "=" in line)
    mounts = [line.split() for line in sections.get("mounts", [])]
    return Server(
        distribution=release.get("ID", "").strip('"'),
        release=release.get("VERSION_ID", "").strip('"'),
        architecture=_word(sections, "architecture"),
        python=_word(sections, "python"),
        memory=int(_word(sections, "memory") or 0) * 1024,
        cpus=int(_word(sections, "cpus") or 0),
        disks=dict(_disk(line) for line in sections.get("disks", []) if line.startswith("/") or "%" in line),
        mounts={words[1].replace("\\040", " "): words[0] for words in mounts if len(words) > 1},
        addresses=[(words[1], words[3]) for words in map(str.split, sections.get("addresses", [])) if len(words) > 3],
        routes=[route for route in map(_route, sections.get("routes", [])) if route],
        paths=paths,
        lxd=_word(sections, "lxd") or "unknown",
    )


def _word(sections: dict[str, list[str]], name: str) -> str:
    lines = sections.get(name) or [""]
    return (lines[0].split() or [""])[0]


def _disk(line: str) -> tuple[str, tuple[int, int]]:
    """A line of `df -Pk`: source, total, used, free, percent, mount point."""
    words = line.split(None, 5)
    return words[5], (int(words[3]) * 1024, int(words[1]) * 1024)


def _route(line: str) -> tuple[str, str] | None:
    words = line.split()
    if "dev" not in words[:-1] or words[0] in ("default", "unreachable", "blackhole", "multicast", "anycast", "local"):
        return None
    return words[words.index("dev") + 1], words[0]


def _path(body: list[str]) -> dict[str, t.Any]:
    """`TYPE SIZE`, then a line `TYPE UUID` for each signature."""
    kind, size = [*body[0].split(), "0"][:2] if body else ("missing", "0")
    signatures = [((words := line.split())[0], words[1] if len(words) > 1 else "") for line in body[1:]]
    return {"type": kind, "size": int(size), "signatures": signatures}
