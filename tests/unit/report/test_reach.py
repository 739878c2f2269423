# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drawing shows each open way once, and nothing that was not open."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
ORDER = ["the world", "hospital", "proxy1", "app1", "db1"]
FOUND = [
    {"from": "the world", "to": "proxy1", "ports": [443, 80]},
    {"from": "the world", "to": "hospital", "ports": [822]},
    {"from": "proxy1", "to": "app1", "ports": [8443]},
    {"from": "proxy1", "to": "app1", "ports": [8443]},
    {"from": "proxy1", "to": "db1", "ports": []},
    {"from": "app1", "to": "hospital", "ports": [3128]},
    {"from": "db1", "to": "app1", "ports": []},
]


@pytest.fixture
def reach(monkeypatch):
    monkeypatch.syspath_prepend(str(SUITE))
    sys.modules.pop("reach", None)
    import reach as module

    yield module
    sys.modules.pop("reach", None)


def test_the_words_say_what_was_open_and_who_reaches_nobody(reach):
    assert reach.sentences(FOUND, ORDER) == [
        "the world reaches hospital: 822",
        "the world reaches proxy1: 80, 443",
        "proxy1 reaches app1: 8443",
        "app1 reaches hospital: 3128",
        "db1 reaches nobody",
    ]
    assert reach.tried(FOUND, ORDER) == ["the world", "proxy1", "app1", "db1"], "the box itself has tried nothing"


def test_a_bow_for_each_open_way_and_a_box_for_each_machine(reach):
    tree = ElementTree.fromstring(reach.drawing(FOUND, ORDER))
    assert len(tree.findall("rect")) == 5
    assert len(tree.findall("path[@class='way']")) == 4
    assert [item.text for item in tree.findall("text[@class='name']")] == ORDER


def test_all_of_it_lies_within_the_drawing(reach):
    """Also a bow from one end to the other, both ways."""
    ends = [{"from": a, "to": b, "ports": [1]} for a, b in (("the world", "db1"), ("db1", "the world"))]
    tree = ElementTree.fromstring(reach.drawing(FOUND + ends, ORDER))
    _, _, width, height = map(float, tree.get("viewBox").split())
    for item in tree.iter("text"):
        assert 0 < float(item.get("x")) < width
        assert 10 < float(item.get("y")) < height
    for item in tree.findall("path[@class='way']"):
        numbers = [float(text) for text in re.findall(r"-?[\d.]+", item.get("d"))]
        assert all(0 <= x <= width for x in numbers[::2])
        # Three quarters of a bow's height is where its control points pull it.
        edge, peak = numbers[1], numbers[3]
        assert 0 <= edge + 0.75 * (peak - edge) <= height


def test_a_listener_of_the_probe_stands_for_any_port(reach):
    found = [{"from": "app1", "to": "db1", "ports": [reach.ANY, 22]}]
    assert reach.sentences(found, ORDER)[0] == "app1 reaches db1: any port"


def test_names_of_machines_become_no_markup(reach):
    evil = "<script>\"'&"
    text = reach.drawing([{"from": evil, "to": "db1", "ports": [1]}], ORDER)
    assert "<script>" not in text
    ElementTree.fromstring(text)


def test_nothing_open_is_no_drawing(reach):
    assert reach.drawing([{"from": "db1", "to": "app1", "ports": []}], ORDER) == ""
