# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's page keeps what was not measured anew, and a run that did not end well is no figure."""

from __future__ import annotations

import re

import benchmark
import pytest
from lab import judges, scores
from lab.run import LabError
from lab.state import Machine

RECAP = """
PLAY RECAP *********************************************************************
server                     : ok=140  changed=39   unreachable=0    failed=0    skipped=52   rescued=0    ignored=3
"""
PAGE = """\
# Page
<!-- results bookworm: begin -->
<!-- results bookworm: end -->
<!-- judges bookworm: begin -->
<!-- judges bookworm: end -->
<!-- trend: begin -->
<!-- trend: end -->
the end
"""


def result(name, index=60, version="", date="2026-01-02"):
    """A row's result, with one index and otherwise the same."""
    scap = judges.Scap({"a": "pass", "b": "pass", "c": "pass", "one": "fail"})
    runs = [scores.Run(138, 40, 2, 61.4, 30.2), scores.Run(130, 2, 2, 40.0, 20.0)] if version else []
    ssh = judges.SshAudit(["a"], ["a", "b"])
    lynis = judges.Lynis(index, [], [])
    judged = {"lynis": "3.1.7-1"}
    return scores.Result(benchmark.ROWS[name].title, version, lynis, scap, scap, ssh, runs, judged, date)


def write(text, one, where="bookworm"):
    """One row into the page."""
    order = [row.title for row in benchmark.ROWS.values()]
    return scores.write(text, [one], where, order, benchmark.ROWS["ours"].title)


def rows(text):
    """The first two cells of the table of results."""
    inner = text.partition("results bookworm: begin -->\n")[2].partition("<!--")[0]
    return [tuple(word.strip() for word in line.split("|")[1:3]) for line in inner.splitlines()[2:]]


def test_the_last_recap_counts():
    assert benchmark.recap(RECAP.replace("140", "7") + RECAP)["ok"] == 140


def test_a_run_without_a_recap_is_an_error():
    with pytest.raises(LabError, match="no recap"):
        benchmark.recap("ERROR! the role was not found")


def test_a_row_says_both_runs():
    assert scores.cells(result("devsec", version="10.6.0")) == [
        "60",
        "75.0 %",
        "75.0 %",
        "1 / 2",
        "138 / 2",
        "2",
        "61 / 40",
        "30 / 20",
    ]


def test_what_was_not_applied_has_no_times():
    assert scores.cells(result("nothing"))[4:] == ["", "", "", ""]


def test_rows_stand_in_their_order_and_have_as_many_cells_as_the_head():
    first = result("devsec", version="10.6.0")
    text = write(PAGE, first)
    text = write(text, result("nothing"))
    assert [row[0] for row in rows(text)] == [benchmark.ROWS["nothing"].title, f"{first.title} 10.6.0"]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {11}
    assert text.startswith("# Page\n")
    assert text.endswith("the end\n")


def test_a_newer_version_takes_the_row_of_the_older_one():
    text = write(PAGE, result("devsec", 70, "1.0.0"))
    text = write(text, result("devsec", 71, "2.0.0"))
    assert rows(text) == [(f"{benchmark.ROWS['devsec'].title} 2.0.0", "71")]


def test_the_trend_is_of_ours_and_keeps_the_past():
    text = write(PAGE, result("ours", 80, "a1"))
    text = write(text, result("nothing"))
    text = write(text, result("ours", 85, "b2", "2026-01-04"))
    trend = re.findall(r"^\| (2026-\S+) \| bookworm \| (\S+) \| (\d+) \|", text, re.MULTILINE)
    assert trend == [("2026-01-02", "a1", "80"), ("2026-01-04", "b2", "85")]


def test_a_page_without_the_marks_is_not_overwritten():
    with pytest.raises(LabError, match="no marks"):
        write("# Page\n", result("nothing"))


def test_the_page_of_this_checkout_has_all_marks():
    for where in judges.LIMITS:
        write(benchmark.PAGE.read_text(), result("ours", version="a1"), where)


def test_no_title_begins_another():
    titles = [row.title for row in benchmark.ROWS.values()]
    assert not any(one != other and other.startswith(one) for one in titles for other in titles)


def test_what_was_measured_can_be_written_later(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "WORK", tmp_path)
    found = result("devsec", version="10.6.0")
    found.store(tmp_path / "devsec-bookworm.json")
    assert scores.Result.load(tmp_path / "devsec-bookworm.json") == found
    assert benchmark.main(["--stored", "--rows", "devsec,lockdown"]) == 1
    out = capsys.readouterr()
    assert "10.6.0 | 60 |" in out.out
    assert "lockdown: not measured here yet" in out.err


def test_an_unknown_row_is_named():
    with pytest.raises(LabError, match="mine"):
        benchmark.main(["--rows", "nothing,mine"])


def test_a_row_below_a_limit_says_which_and_fails(monkeypatch, tmp_path, capsys):
    """On both sides of the limit, and for the rows alone of which something is promised."""
    limits = {"lynis": 90, "level1": 75.0, "level2": 75.0}
    assert result("logged", 90).short_of(limits) == ["ssh-audit fails ['a'], warns ['a', 'b']"]
    assert result("logged", 89).short_of(limits)[0] == "lynis 89, not 90"
    assert result("logged", 90).short_of({**limits, "level2": 75.1})[0] == "level2 75.0, not 75.1"

    monkeypatch.setattr(benchmark, "WORK", tmp_path)
    for name, engine, promised in (("ours", "container", False), ("logged", "container", True), ("ours", "vm", True)):
        result(name).store(benchmark.stored(name, benchmark.place("trixie", engine)))
        words = ["--stored", "--release", "trixie", "--engine", engine, "--rows", name]
        assert benchmark.main(words) == int(promised)
        assert (f"{name}: lynis 60, not" in capsys.readouterr().err) == promised


def test_a_machine_behind_forwarded_ports_is_reached_by_them():
    machine = Machine("server", engine="vm", forwards={"22": 40001, "822": 40002})
    play = benchmark.OURS.play(machine)
    assert (play["vars"]["ansible_port"], play["vars"]["firewall_ssh_port"]) == (40002, 822)
    assert play["pre_tasks"][0]["securebox.stack.bootstrap_connection"]["port"] == 40001
    assert benchmark.outside(Machine("server"), 822) == 822


def test_a_real_kernel_excuses_no_failure():
    row = benchmark.ROWS["devsec"]
    assert row.play(Machine("server"))["ignore_errors"] is True
    play = row.play(Machine("server", engine="vm"))
    assert (play["ignore_errors"], play["pre_tasks"]) == (False, [])
