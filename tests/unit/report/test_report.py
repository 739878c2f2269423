# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report never says more than the tests did, and shows what machines said without believing it."""

from __future__ import annotations

import html.parser
import json
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
ABOUT = {"box": "hospital", "seconds": 12.0, "time": "2026-01-01 00:00 UTC", "version": "securebox.stack 0.1.0"}
EVIL = "<script>alert(1)</script><!--sections--><img src=x onerror=alert(2)> \" ' & </pre>"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(SUITE))
    sys.modules.pop("report", None)
    import report as module

    yield module
    sys.modules.pop("report", None)


def control(name="NET-1", **more):
    return {"id": name, "title": f"About {name}", "references": {"cis": ["4.2"], "hipaa": ["§164.312(e)(1)"]}, **more}


def outcome(kind="passed", controls=("NET-1",), **more):
    return {
        "test": "test_it",
        "controls": list(controls),
        "promise": "It holds.",
        "outcome": kind,
        "reason": "" if kind == "passed" else f"because of {kind}",
        "evidence": ["seen"],
        "seconds": 0.1,
        **more,
    }


def result_of(report, *outcomes, **more):
    [row] = report.build([control(**more)], list(outcomes), ABOUT)["controls"]
    return row["result"]


@pytest.mark.parametrize(
    ("kinds", "result"),
    [
        (["passed"], "passed"),
        (["passed", "passed"], "passed"),
        (["passed", "not applicable"], "passed"),
        (["not applicable"], "not_applicable"),
        (["passed", "failed"], "failed"),
        (["not run", "failed"], "failed"),
        (["passed", "not run"], "not_covered"),
        (["not run"], "not_covered"),
        (["not applicable", "not run"], "not_covered"),
        (["something new"], "not_covered"),
        ([], "not_covered"),
    ],
)
def test_only_what_was_proved_is_passed(report, kinds, result):
    assert result_of(report, *[outcome(kind) for kind in kinds], since="0.1.0") == result


def test_a_control_of_a_later_version_says_so(report):
    [row] = report.build([control()], [], ABOUT)["controls"]

    assert row["result"] == "not_covered"
    assert "does not cover it yet" in row["reason"]


def test_every_control_has_a_row(report):
    built = report.build([control("NET-1"), control("NET-2")], [outcome(controls=["NET-2"])], ABOUT)

    assert [(row["id"], row["result"]) for row in built["controls"]] == [("NET-1", "not_covered"), ("NET-2", "passed")]
    assert built["summary"]["counts"] == {"failed": 0, "passed": 1, "not_covered": 1, "not_applicable": 0}


def test_a_test_of_two_controls_counts_for_both(report):
    built = report.build([control("A-1"), control("B-1")], [outcome("failed", controls=["A-1", "B-1"])], ABOUT)

    assert {row["result"] for row in built["controls"]} == {"failed"}


def test_a_failure_without_a_control_is_not_lost(report):
    built = report.build([control()], [outcome(), outcome("failed", controls=[])], ABOUT)

    assert report.has_failed(built)
    assert "Other promises" in report.page(built)
    assert "because of failed" in report.words(built)


def test_no_failure_is_no_failure(report):
    assert not report.has_failed(report.build([control()], [outcome()], ABOUT))


def test_the_words_say_what_failed_and_why(report):
    built = report.build([control()], [outcome("failed", reason="AssertionError: 23 is open\nassert 23")], ABOUT)

    assert "FAILED  NET-1  About NET-1" in report.words(built)
    assert "-> 23 is open" in report.words(built)


class Page(html.parser.HTMLParser):
    """Whether the tags of a page fit together, and what it would load."""

    VOID = {"meta", "img", "br", "link", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.loads = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "srcset", "data")]
        self.loads += [value for name, value in attributes if name == "href" and not value.startswith("#")]
        assert not [name for name, _value in attributes if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_hostile_evidence_stays_text(report):
    """A broken machine must not be able to write the report about itself."""
    evil = outcome("failed", reason=EVIL, evidence=[EVIL], promise=EVIL, test=EVIL)
    built = report.build([control(title=EVIL)], [evil], {**ABOUT, "box": EVIL, "address": EVIL})

    page = Page()
    page.feed(report.page(built))

    assert page.open == []
    assert not {"script", "img"} & set(page.tags)
    assert page.loads == []
    assert page.tags.count("article") == 1


def test_the_page_needs_nothing_else(report):
    built = report.build([control()], [outcome()], ABOUT)
    text = report.page(built)

    assert "http://" not in text
    assert "https://" not in text
    assert "<!--" not in text
    assert "default-src 'none'" in text


def test_the_report_is_json(report):
    built = report.build([control()], [outcome()], ABOUT)

    assert set(json.loads(json.dumps(built))["controls"][0]) >= {"id", "title", "result", "evidence", "references"}


SCAN = {
    "time": "2026-01-01T00:00:00Z",
    "lynis": {"index": 84, "warnings": [["A-1", EVIL]]},
    "openscap": {"profile": "cis_level2_server", "percent": 91.5, "failed": ["rule_x", EVIL]},
    "debsecan": {"error": EVIL},
}


def test_what_scanners_found_is_a_table(report):
    """A row a machine; what nobody looked at is not nought; and scanners cannot write the page either."""
    built = report.build([control()], [outcome(scans={"hospital": SCAN, EVIL: {"lynis": {"index": 70}}})], ABOUT)
    text = report.page(built)
    page = Page()
    page.feed(text)

    assert page.open == []
    assert not {"script", "img"} & set(page.tags)
    assert page.tags.count("table") == 1
    assert page.tags.count("tr") == 3
    assert "<b>91.5</b> %" in text
    assert "2 failed rules" in text
    assert "not looked at" in text
    assert json.loads(json.dumps(built))["summary"]["scans"][0]["cis_failed"] == ["rule_x", EVIL]


def test_the_drawing_says_who_tried(report):
    """Not everybody does: the box tries nobody for it, and a container that is down cannot."""
    reach = [{"from": "the world", "to": "hospital", "ports": [822]}, {"from": EVIL, "to": "hospital", "ports": []}]
    about = {**ABOUT, "machines": ["the world", "hospital"]}
    shown = report.page(report.build([control()], [outcome(reach=reach)], about))

    assert "Ports of TCP, tried by the world, &lt;" in shown
    assert "hospital reaches nobody" not in shown
    assert EVIL not in shown


def test_without_scans_there_is_no_table(report):
    assert "<table" not in report.page(report.build([control()], [outcome()], ABOUT))
