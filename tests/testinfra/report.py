# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report: what the tests found, a row a control. For machines as JSON, for people as one page of HTML.

A control is `passed` only when all its tests ran and none failed. What did not run is never a success.
"""

from __future__ import annotations

import html
import re
import typing as t
from pathlib import Path

import reach

RESULTS = ("failed", "passed", "not_covered", "not_applicable")
WORDS = {"passed": "Passed", "failed": "Failed", "not_applicable": "Not applicable", "not_covered": "Not covered"}
SIGNS = {"passed": "✓", "failed": "✗", "not_applicable": "·", "not_covered": "○"}
HEADINGS = {
    "failed": "What has to be mended",
    "passed": "What was proved",
    "not_covered": "What this run says nothing about",
    "not_applicable": "What this site does not have",
}
BOOKS = {"cis": "CIS Debian 12", "hipaa": "HIPAA"}


def build(controls: list[dict], outcomes: list[dict], about: dict[str, t.Any]) -> dict[str, t.Any]:
    """The whole report as plain data."""
    rows = [row(control, [item for item in outcomes if control["id"] in item["controls"]]) for control in controls]
    known = {control["id"] for control in controls}
    strays = [item for item in outcomes if not set(item["controls"]) & known]
    counts = {result: sum(row["result"] == result for row in rows) for result in RESULTS}
    return {
        "summary": {
            **about,
            "counts": counts,
            "controls": len(rows),
            "tests": {
                kind: sum(item["outcome"] == kind for item in outcomes)
                for kind in sorted({item["outcome"] for item in outcomes} | {"passed", "failed"})
            },
            "scans": [scan(host, found) for item in outcomes for host, found in item.get("scans", {}).items()],
            "reach": [way for item in outcomes for way in item.get("reach", [])],
            # Tests that belong to no control still have to hold.
            "other_failures": [check(item) for item in strays if item["outcome"] == "failed"],
        },
        "controls": rows,
    }


def row(control: dict[str, t.Any], outcomes: list[dict]) -> dict[str, t.Any]:
    result, reason = verdict(control, outcomes)
    return {
        "id": control["id"],
        "title": control["title"],
        "result": result,
        "reason": reason,
        "evidence": [check(item) for item in outcomes],
        "references": [
            f"{BOOKS[book]} {text}" for book in BOOKS for text in control.get("references", {}).get(book, [])
        ],
    }


def check(item: dict[str, t.Any]) -> dict[str, t.Any]:
    return {key: item[key] for key in ("test", "promise", "outcome", "reason", "evidence", "seconds")}


def scan(host: str, result: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the scanners found on one machine, in a row; None is what nobody looked at."""
    lynis, openscap, debsecan = (result.get(name) or {} for name in ("lynis", "openscap", "debsecan"))
    waiting = debsecan.get("fixed_but_not_installed")
    return {
        "machine": host,
        "time": result.get("time"),
        "lynis_index": lynis.get("index"),
        "lynis_warnings": [" ".join(map(str, item)) for item in lynis.get("warnings", [])],
        "cis_profile": openscap.get("profile"),
        "cis_percent": openscap.get("percent"),
        "cis_failed": openscap.get("failed", []),
        "weaknesses": None if waiting is None else len(waiting),
        "errors": [f"{name}: {found['error']}" for name, found in result.items()
                   if isinstance(found, dict) and "error" in found],
    }  # fmt: skip


def verdict(control: dict[str, t.Any], outcomes: list[dict]) -> tuple[str, str]:
    """The result of a control from its tests, and why it is not a success."""
    kinds = {item["outcome"] for item in outcomes}
    if "failed" in kinds:
        return "failed", ""
    if not outcomes:
        return "not_covered", "" if control.get("since") else "This version of the collection does not cover it yet."
    if "not run" in kinds:
        return "not_covered", "; ".join(
            dict.fromkeys(item["reason"] for item in outcomes if item["outcome"] == "not run")
        )
    if kinds == {"not applicable"}:
        return "not_applicable", "; ".join(dict.fromkeys(item["reason"] for item in outcomes))
    return ("passed", "") if "passed" in kinds else ("not_covered", "unknown outcome")


def has_failed(report: dict[str, t.Any]) -> bool:
    return bool(report["summary"]["counts"]["failed"] or report["summary"]["other_failures"])


def words(report: dict[str, t.Any]) -> str:
    """The summary and what failed, for a terminal."""
    summary, counts = report["summary"], report["summary"]["counts"]
    lines = [
        f"{summary['box']}: {counts['passed']} controls passed, {counts['failed']} failed, "
        f"{counts['not_covered']} not covered, {counts['not_applicable']} not applicable ({summary['seconds']:.0f} s)"
    ]
    for item in report["controls"]:
        if item["result"] == "failed":
            lines += ["", f"FAILED  {item['id']}  {item['title']}"]
            lines += [
                f"        {test['promise']}\n        -> {first_line(test['reason'])}"
                for test in item["evidence"]
                if test["outcome"] == "failed"
            ]
    for test in summary["other_failures"]:
        lines += ["", f"FAILED  {test['promise']}", f"        -> {first_line(test['reason'])}"]
    for item in report["controls"]:
        if item["result"] == "not_covered" and item["evidence"]:
            lines += ["", f"not covered  {item['id']}  {item['title']}", f"        {item['reason']}"]
    return "\n".join(lines)


def first_line(text: str) -> str:
    return (
        (text.strip().splitlines() or ["no reason given"])[0].removeprefix("AssertionError: ").removeprefix("Failed: ")
    )


def page(report: dict[str, t.Any]) -> str:
    """One page that needs nothing else: no script, no picture, no request."""
    summary = report["summary"]
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    values = {
        "box": text(summary["box"]),
        "lead": lead(report),
        "facts": facts(summary),
        "tiles": "".join(tile(result, summary) for result in RESULTS),
        "bar": proportions(summary),
        "reach": reached(summary.get("reach", []), summary.get("machines", [])),
        "scans": scans(summary["scans"]),
        "sections": "".join(section(report, result) for result in RESULTS),
        "verdict": "failed" if has_failed(report) else "passed",
    }
    # In one pass: what is put in is never looked at again, so evidence cannot pull in another part.
    return re.sub(r"<!--(\w+)-->", lambda match: values[match.group(1)], template)


def text(value: t.Any) -> str:
    """Evidence comes from machines that may be broken: nothing of it may become markup."""
    return html.escape(str(value), quote=True)


def lead(report: dict[str, t.Any]) -> str:
    counts = report["summary"]["counts"]
    failed = counts["failed"] + len(report["summary"]["other_failures"])
    if failed:
        return f"{failed} promise{'s do' if failed > 1 else ' does'} not hold. {counts['passed']} controls were proved."
    if counts["passed"]:
        return f"Every control that was tested holds: {counts['passed']} were proved on the running box."
    return "Nothing was tested."


def facts(summary: dict[str, t.Any]) -> str:
    shown = (
        ("Address", "address"),
        ("Site", "domain"),
        ("Verified", "time"),
        ("From", "controller"),
        ("Collection", "version"),
        ("System", "system"),
        ("Took", "took"),
    )
    return "".join(
        f"<div><dt>{label}</dt><dd>{text(summary[key])}</dd></div>" for label, key in shown if summary.get(key)
    )


def tile(result: str, summary: dict[str, t.Any]) -> str:
    count = summary["counts"][result]
    return (
        f'<li class="tile {result}"><a href="#{result}"><span class="sign" aria-hidden="true">{SIGNS[result]}</span>'
        f'<span class="number">{count}</span><span class="word">{WORDS[result]}</span></a></li>'
    )


def proportions(summary: dict[str, t.Any]) -> str:
    return "".join(
        f'<span class="{result}" style="flex-grow:{count}"></span>'
        for result, count in summary["counts"].items()
        if count
    )


def reached(found: list[dict[str, t.Any]], order: list[str]) -> str:
    """Who reaches whom, drawn from what was measured, and once more in words."""
    if not found:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in reach.sentences(found, order))
    return (
        '<section id="reach" aria-labelledby="h-reach"><h2 id="h-reach">Who reaches whom</h2>'
        f"<p>Ports of TCP, tried by {text(', '.join(reach.tried(found, order)))}. What was open is drawn; all else "
        "that was tried did not pass.</p>"
        f'<div class="table">{reach.drawing(found, order)}</div>'
        f"<details><summary>In words</summary><ul>{lines}</ul></details></section>"
    )


def scans(rows: list[dict[str, t.Any]]) -> str:
    """What the scanners say, a row a machine; the names of what they dislike are folded."""
    if not rows:
        return ""
    heads = ("Machine", "Scanned", "Lynis index", "CIS rules that hold", "Weaknesses with an update")
    body = "".join(
        f'<tr><th scope="row">{text(row["machine"])}</th><td>{text(row["time"] or "unknown")}</td>'
        f"<td>{number(row['lynis_index'])}{folded(row['lynis_warnings'], 'warning')}</td>"
        f"<td>{number(row['cis_percent'], ' %')}{folded(row['cis_failed'], 'failed rule')}</td>"
        f"<td>{number(row['weaknesses'])}{folded(row['errors'], 'scanner failed', 'scanners failed')}</td></tr>"
        for row in rows
    )
    return (
        '<section id="scans" aria-labelledby="h-scans"><h2 id="h-scans">What scanners found</h2>'
        f'<div class="table"><table><thead><tr>{"".join(f"<th scope=col>{head}</th>" for head in heads)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def number(value: t.Any, unit: str = "") -> str:
    return "not looked at" if value is None else f"<b>{text(value)}</b>{unit}"


def folded(names: list[str], one: str, many: str = "") -> str:
    if not names:
        return ""
    head = f"{len(names)} {one if len(names) == 1 else many or one + 's'}"
    items = "".join(f"<li>{text(name)}</li>" for name in names)
    return f"<details><summary>{head}</summary><ul>{items}</ul></details>"


def section(report: dict[str, t.Any], result: str) -> str:
    rows = [item for item in report["controls"] if item["result"] == result]
    others = report["summary"]["other_failures"] if result == "failed" else []
    if not rows and not others:
        return ""
    body = "".join(control(item) for item in rows)
    if others:
        body += control(
            {
                "id": "",
                "title": "Other promises",
                "result": "failed",
                "reason": "",
                "evidence": others,
                "references": [],
            }
        )
    return (
        f'<section id="{result}" aria-labelledby="h-{result}"><h2 id="h-{result}">{HEADINGS[result]} '
        f"<small>{len(rows) + bool(others)}</small></h2>{body}</section>"
    )


def control(item: dict[str, t.Any]) -> str:
    result = item["result"]
    references = "".join(f"<li>{text(reference)}</li>" for reference in item["references"])
    head = (
        f'<span class="badge {result}"><span aria-hidden="true">{SIGNS[result]}</span> {WORDS[result]}</span>'
        f'<span class="id">{text(item["id"])}</span><span class="title">{text(item["title"])}</span>'
    )
    reason = f'<p class="reason">{text(item["reason"])}</p>' if item["reason"] else ""
    references = f'<ul class="references" aria-label="References">{references}</ul>' if references else ""
    if not item["evidence"]:
        return f'<article class="control {result}"><div class="head">{head}</div>{reason}{references}</article>'
    # What failed is open from the beginning.
    opened = " open" if result == "failed" else ""
    tests = "".join(test(entry) for entry in item["evidence"])
    return (
        f'<article class="control {result}"><details{opened}><summary class="head">{head}</summary>'
        f"{reason}<ol>{tests}</ol>{references}</details></article>"
    )


def test(entry: dict[str, t.Any]) -> str:
    kind = {"passed": "passed", "failed": "failed", "not applicable": "not_applicable"}.get(
        entry["outcome"], "not_covered"
    )
    word = WORDS[kind] if kind != "not_covered" else "Not run"
    reason = f'<pre class="reason">{text(entry["reason"])}</pre>' if entry["reason"] else ""
    shown = f"<pre>{text(chr(10).join(entry['evidence']))}</pre>" if entry["evidence"] else ""
    return (
        f'<li><p><span class="badge small {kind}"><span aria-hidden="true">{SIGNS[kind]}</span> {word}</span> '
        f'{text(entry["promise"])} <span class="name">{text(entry["test"])}</span></p>'
        f"{reason}{shown}</li>"
    )
