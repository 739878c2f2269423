# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was in memory does not end up on a disk."""

from __future__ import annotations

import pytest

# A program that dies of a signal, in a directory of its own: does it leave its memory there?
CRASH = (
    "d=$(mktemp -d) && cd \"$d\" && (ulimit -c unlimited; sh -c 'kill -SEGV $$'; true) >/dev/null 2>&1; sleep 0.5; "
    'ls -A "$d"; cd / && rm -rf "$d"; '
    "test ! -d /var/lib/systemd/coredump || find /var/lib/systemd/coredump -type f -mmin -1"
)


def questions(site):
    asked = {host: {"crash": CRASH} for host in site.machines}
    asked[site.box]["swap"] = (
        'swapon --show=NAME --noheadings; for a in $(swapon --show=NAME --noheadings); do lsblk -nso TYPE "$a"; done'
    )
    return asked


@pytest.mark.control("ENC-5")
def test_swap_cannot_take_a_key_to_the_disk(site, said, evidence):
    """There is no swap, or it is encrypted."""
    answer = said(site.box, "swap")
    evidence(answer.text or "no swap")
    if answer.lines:
        assert "crypt" in answer.text.split(), f"swap in clear: {answer.text}"


@pytest.mark.control("ENC-5")
def test_a_crash_leaves_no_memory_behind(site, said, evidence):
    """A program is made to crash on every machine, and no core file appears."""
    for host in site.machines:
        left = said(host, "crash").text
        evidence(f"{host}: {left or 'nothing left'}")
        assert not left, f"{host}: a core dump was written: {left}"
