# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the judges said of a row of the benchmark, kept as a file, and the page that shows all rows."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from . import judges
from .run import LabError


@dataclasses.dataclass
class Run:
    """One run of a playbook."""

    ok: int
    changed: int
    # Tasks that failed, and were let.
    failed: int
    seconds: float
    # Of this machine's processors, which is where a playbook spends most of its time.
    cpu: float


@dataclasses.dataclass
class Result:
    """What came out of a row."""

    title: str
    version: str
    lynis: judges.Lynis
    level1: judges.Scap
    level2: judges.Scap
    ssh: judges.SshAudit
    runs: list[Run]
    versions: dict[str, str]
    date: str = dataclasses.field(default_factory=lambda: time.strftime("%Y-%m-%d", time.gmtime()))

    def store(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Result:
        """What a row came to when it was last measured here."""
        try:
            stored = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise LabError(f"not measured here yet: there is no {path}") from error
        kinds = {"lynis": judges.Lynis, "level1": judges.Scap, "level2": judges.Scap, "ssh": judges.SshAudit}
        parts = {key: kind(**stored.pop(key)) for key, kind in kinds.items()}
        runs = [Run(**item) for item in stored.pop("runs")]
        return cls(**stored, **parts, runs=runs)

    def short_of(self, limits: dict[str, float]) -> list[str]:
        """Where it does not reach what the documents promise."""
        found = {
            "lynis": self.lynis.index,
            "level1": round(self.level1.share, 1),
            "level2": round(self.level2.share, 1),
        }
        short = [f"{name} {found[name]}, not {limit}" for name, limit in limits.items() if found[name] < limit]
        if self.ssh.failing or self.ssh.warned:
            short.append(f"ssh-audit fails {self.ssh.failing}, warns {self.ssh.warned}")
        return short


HEAD = (
    "| | Lynis | CIS level 1 | CIS level 2 | ssh-audit fail / warn "
    "| tasks ok / failed, first run | changed, second run | seconds | CPU seconds of the controller |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)

# HEAD's columns behind when, what and which.
TREND_HEAD = HEAD.replace("| |", "| measured | release | version |", 1).replace("|---|", "|---|---|---|", 1)


def cells(result: Result) -> list[str]:
    """A row's numbers. Both runs stand in one cell."""
    first, second = result.runs or [None, None]
    return [
        str(result.lynis.index),
        f"{result.level1.share:.1f} %",
        f"{result.level2.share:.1f} %",
        f"{len(result.ssh.failing)} / {len(result.ssh.warned)}",
        f"{first.ok} / {first.failed}" if first else "",
        str(second.changed) if second else "",
        f"{first.seconds:.0f} / {second.seconds:.0f}" if first and second else "",
        f"{first.cpu:.0f} / {second.cpu:.0f}" if first and second else "",
    ]


def line(*words: str) -> str:
    return "| " + " | ".join(words) + " |\n"


def named(result: Result) -> str:
    """A row's name and its version."""
    return f"{result.title} {result.version}".strip()


def table(results: list[Result]) -> str:
    return HEAD + "".join(line(named(result), *cells(result)) for result in results)


def between(text: str, mark: str, inner: str) -> str:
    """The page with other lines between the two marks."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
    if begin not in text or end not in text:
        raise LabError(f"the page has no marks {begin.strip()} and {end}")
    head, _, rest = text.partition(begin)
    return head + begin + inner + end + rest.partition(end)[2]


def inside(text: str, mark: str) -> str:
    return text.partition(f"<!-- {mark}: begin -->\n")[2].partition(f"<!-- {mark}: end -->")[0]


def write(text: str, results: list[Result], where: str, order: list[str], trend: str) -> str:
    """The page with these rows in place of their older selves; rows that were not measured now stay.

    `order` has the titles of all rows, and `trend` the one whose past is kept.
    """
    mark = f"results {where}"
    rows = {item.split("|")[1].strip(): item for item in inside(text, mark).splitlines(keepends=True)[2:]}
    for result in results:
        rows = {name: item for name, item in rows.items() if not name.startswith(result.title)}
        rows[named(result)] = line(named(result), *cells(result), result.date)
    ranked = sorted(rows.items(), key=lambda item: [item[0].startswith(title) for title in order].index(True))
    head = HEAD.replace("|\n", "| measured |\n", 1).replace("--:|\n", "--:|---|\n")
    text = between(text, mark, head + "".join(item for _, item in ranked))
    used = results[0].versions
    text = between(text, f"judges {where}", f"Judges: {', '.join(f'{key} {used[key]}' for key in sorted(used))}.\n")
    for result in results:
        if result.title == trend:
            past = inside(text, "trend") or TREND_HEAD
            text = between(text, "trend", past + line(result.date, where, result.version, *cells(result)))
    return text
