# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""UPD-2 and UPD-3: what is told of support and restarts becomes a failure, or evidence, and never silence."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
SITE = SimpleNamespace(box="box", containers=["db1"])


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(SUITE))
    spec = importlib.util.spec_from_file_location("suite_support", SUITE / "test_support.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from machine import Answer

    module.answer = Answer
    yield module
    sys.modules.pop("machine", None)


def told(**more):
    return {
        "table": "2026-11-21",
        "warn_days": 180,
        "container": False,
        "support": [{"state": "ok", "text": "Debian 12: supported until 2028-06-30 (Debian LTS)"}],
        "restart": {"needed": False, "reasons": [], "kernel": {"running": "6.1.0-39-amd64"}},
        "boot": {"recorded": True, "time": "2026-11-20T04:00:00Z", "kernel": "6.1.0-39-amd64", "previous_kernel": None,
                 "completed": True, "state": "running", "failed": [], "still_failed": []},
        **more,
    }  # fmt: skip


class Run:
    """One test of the suite, with what the machines say put in."""

    def __init__(self, suite, **hosts) -> None:
        self.evidence: list[str] = []
        self.suite, self.hosts = suite, {"box": told(), "db1": told(container=True, boot=None), **hosts}

    def said(self, host, name):
        if name == "unit":
            return self.suite.answer(0, "enabled")
        given = self.hosts[host]
        return given if isinstance(given, self.suite.answer) else self.suite.answer(0, json.dumps(given))

    def __call__(self, name: str, *more) -> str:
        getattr(self.suite, name)(SITE, self.said, self.evidence.append, *more)
        return "\n".join(self.evidence)


SUPPORT, RESTART, BOOT = (
    "test_nothing_in_use_is_out_of_support",
    "test_no_update_waits_for_a_restart",
    "test_the_last_boot_was_looked_at",
)


def in_use(state, text):
    return told(support=[*told()["support"], {"state": state, "text": text}])


def test_every_machine_is_asked(suite):
    assert set(suite.questions(SITE)) == {"box", "db1"}


def test_a_warning_is_evidence_and_no_failure(suite):
    shown = Run(suite, db1=in_use("ends_soon", "PostgreSQL 15: supported until X, 9 days left"))(SUPPORT)
    assert "db1: WARNING: PostgreSQL 15: supported until X, 9 days left" in shown
    assert "box: Debian 12: supported until 2028-06-30 (Debian LTS)" in shown


def test_the_projects_own_end_that_is_near_is_a_warning(suite):
    entry = {"state": "ok", "text": "PostgreSQL 15: supported", "upstream": {"state": "ends_soon"}}
    assert "db1: WARNING: PostgreSQL 15" in Run(suite, db1=told(support=[entry]))(SUPPORT)


@pytest.mark.parametrize("state", ["ended", "unknown"])
def test_what_has_no_support_fails_with_its_name(suite, state):
    with pytest.raises(AssertionError, match="db1: PostgreSQL 13: OUT"):
        Run(suite, db1=in_use(state, "PostgreSQL 13: OUT OF SUPPORT since 2025-11-13"))(SUPPORT)


@pytest.mark.parametrize(("code", "text"), [(127, "not found"), (2, "the role hardening writes"), (0, "no JSON")])
@pytest.mark.parametrize("name", [SUPPORT, RESTART])
def test_a_machine_that_cannot_tell_fails(suite, name, code, text):
    with pytest.raises((AssertionError, pytest.fail.Exception), match="db1: hardening-support"):
        Run(suite, db1=suite.answer(code, text))(name)


def test_a_restart_that_is_due_fails_and_says_why(suite):
    assert "box: kernel 6.1.0-39-amd64: ok\ndb1: kernel" in Run(suite)(RESTART)
    due = {"needed": True, "reasons": ["asked for by libc6"], "kernel": None}
    with pytest.raises(AssertionError, match="db1 needs restart: asked for by libc6"):
        Run(suite, db1=told(restart=due))(RESTART)


def never(reason):
    raise AssertionError(reason)


def test_a_good_boot_after_an_update_is_shown(suite):
    shown = Run(suite, box=told(boot={**told()["boot"], "previous_kernel": "6.1.0-38-amd64"}))(BOOT, never)
    assert "kernel 6.1.0-39-amd64, after 6.1.0-38-amd64: running; failed units: none" in shown


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"recorded": False}, "was not noted"),
        ({"completed": False, "state": "starting"}, "did not come to its end: starting"),
        ({"failed": ["a.service"], "still_failed": ["a.service"]}, "left failed: a.service"),
    ],
)
def test_a_bad_boot_fails(suite, more, why):
    with pytest.raises(AssertionError, match=why):
        Run(suite, box=told(boot={**told()["boot"], **more}))(BOOT, never)


def test_units_that_were_mended_are_no_failure(suite):
    mended = told(boot={**told()["boot"], "failed": ["a.service"]})
    assert "failed units: a.service" in Run(suite, box=mended)(BOOT, never)


def test_a_box_in_a_container_has_no_boot_of_its_own(suite):
    with pytest.raises(LookupError, match="itself a container"):
        Run(suite, box=told(container=True, boot=None))(BOOT, lambda reason: (_ for _ in ()).throw(LookupError(reason)))
