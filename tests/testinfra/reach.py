# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who reaches whom, as it was measured: a drawing for people, and the same in words for who does not see it."""

from __future__ import annotations

import html
import typing as t

# What is drawn, in units of the drawing.
STEP, WIDTH, HEIGHT, RISE = 190, 128, 46, 42
# A connection to a port that was opened for the measurement alone: whatever listens is reached.
ANY = "any port"


def edges(found: list[dict[str, t.Any]]) -> dict[tuple[str, str], list[str]]:
    """The open ways, `{"from", "to", "ports"}` each, put together: (from, to) -> ports as people read them."""
    ways: dict[tuple[str, str], set[t.Any]] = {}
    for item in found:
        if item["from"] != item["to"] and item["ports"]:
            ways.setdefault((item["from"], item["to"]), set()).update(item["ports"])
    return {
        way: [ANY] if ANY in ports else [str(port) for port in sorted(ports, key=int)] for way, ports in ways.items()
    }


def names(found: list[dict[str, t.Any]], order: list[str]) -> list[str]:
    """All that were asked from or to, the known ones in their order."""
    seen = dict.fromkeys(name for item in found for name in (item["from"], item["to"]))
    return [name for name in order if name in seen] + [name for name in seen if name not in order]


def tried(found: list[dict[str, t.Any]], order: list[str]) -> list[str]:
    """Those that tried to reach somebody."""
    sources = {item["from"] for item in found}
    return [name for name in names(found, order) if name in sources]


def drawing(found: list[dict[str, t.Any]], order: list[str]) -> str:
    """An SVG: the machines in a line, a bow for each open way, forwards above the line and back below it."""
    machines, ways = names(found, order), edges(found)
    if not ways:
        return ""
    spans = [machines.index(b) - machines.index(a) for a, b in ways]
    above, below = 26 + RISE * max(0, *spans), 26 + RISE * max(0, *(-span for span in spans))
    width, height = STEP * (len(machines) - 1) + WIDTH + 40, above + HEIGHT + below
    drawn = [bow(way, ports, machines, above) for way, ports in sorted(ways.items())]
    # The words last: no bow crosses them.
    bows = "".join([line for line, _label in drawn] + [label for _line, label in drawn])
    boxes = "".join(machine(name, number, above) for number, name in enumerate(machines))
    return (
        f'<svg class="reach" viewBox="0 0 {width} {height}" role="img" style="min-width:{min(width, 620)}px" '
        f'aria-label="Who reaches whom: {html.escape("; ".join(sentences(found, order)), quote=True)}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z"/></marker></defs>{bows}{boxes}</svg>'
    )


def centre(number: int) -> float:
    return 20 + WIDTH / 2 + STEP * number


def machine(name: str, number: int, top: float) -> str:
    left = centre(number) - WIDTH / 2
    return (
        f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text x="{centre(number)}" y="{top + HEIGHT / 2 + 5}" class="name">{html.escape(name)}</text>'
    )


def bow(way: tuple[str, str], ports: list[str], machines: list[str], top: float) -> tuple[str, str]:
    """From the upper edge of one to that of another, or below the line on the way back; and the ports at it."""
    first, last = machines.index(way[0]), machines.index(way[1])
    forward = first < last
    edge, sign = (top, -1) if forward else (top + HEIGHT, 1)
    # Leaves on the side that faces the other, so that two ways between the same machines do not lie on each other.
    shift = 22 if forward else -22
    begin, end = centre(first) + shift, centre(last) - shift
    peak = edge + sign * RISE * abs(last - first)
    label = ", ".join(ports)
    return (
        f'<path class="way" d="M{begin} {edge}C{begin} {peak} {end} {peak} {end} {edge}" marker-end="url(#tip)"/>',
        f'<text x="{(begin + end) / 2}" y="{edge + sign * RISE * abs(last - first) * 0.75 + (-5 if forward else 14)}" '
        f'class="ports">{html.escape(label)}</text>'
    )


def sentences(found: list[dict[str, t.Any]], order: list[str]) -> list[str]:
    """`proxy1 reaches app1: 8443`, and who reaches nobody."""
    machines, ways = names(found, order), edges(found)
    place = {name: number for number, name in enumerate(machines)}
    lines = [
        f"{a} reaches {b}: {', '.join(ports)}"
        for (a, b), ports in sorted(ways.items(), key=lambda item: (place[item[0][0]], place[item[0][1]]))
    ]
    # Of who did not try nobody knows.
    silent = [name for name in tried(found, order) if name not in {source for source, _target in ways}]
    return [*lines, *(f"{name} reaches nobody" for name in silent)]
