# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are looked for where they must never be. The suite does not have them: it compares keyed hashes of words."""

from __future__ import annotations

import pytest
from machine import python

LOOK = r"""
import glob, hashlib, hmac, re, subprocess
key, digests = bytes.fromhex(GIVEN[0]["key"]), GIVEN[0]["digests"]
known, hits, count = set(), set(), 0
def look(place, text):
    global count
    for line in text.splitlines():
        parts = {line, *re.split(r"[\s\0]+", line), *re.split(r"[\s\0=:,;'\"]+", line)}
        for word in parts:
            if len(word) < 8 or word in known: continue
            known.add(word); count += 1
            name = digests.get(hmac.new(key, word.encode(errors="replace"), hashlib.sha256).hexdigest())
            if name: hits.add(f"{name} in {place}"); known.discard(word)
for place in ("cmdline", "environ"):
    for path in glob.glob(f"/proc/[0-9]*/{place}"):
        try: look(f"the {'arguments' if place == 'cmdline' else 'environment'} of a process",
                  open(path, errors="replace").read().replace("\0", "\n"))
        except OSError: pass
look("the journal", subprocess.run(["journalctl", "-q", "-o", "cat", "-n", "4000"], capture_output=True, text=True,
                                   errors="replace").stdout)
for path in glob.glob("/root/.*history") + glob.glob("/home/*/.*history") + glob.glob("/var/log/*.log"):
    try: look(path, open(path, errors="replace").read()[-500000:])
    except OSError: pass
# Turned round on the way here, or it would be found in the arguments of this very program.
look("the sample", GIVEN[1][::-1])
print(json.dumps({"hits": sorted(hits), "words": count}))
"""
READABLE = (
    # What lies in a container is looked at from inside of it.
    "find /etc /opt /srv /usr/local /var/lib -xdev -path '*/storage-pools' -prune -o -type f -perm /004 "
    "\\( -name '*.key' -o -name dhis.conf -o -name '*privkey*' -o -name .pgpass \\) -print 2>/dev/null; true"
)


def questions(site):
    every = {"readable": READABLE}
    if site.canaries:
        every["look"] = python(LOOK, {k: site.canaries[k] for k in ("key", "digests")}, site.canaries["sample"][::-1])
    return {host: dict(every) for host in [site.box, *site.containers]}


@pytest.mark.control("SEC-1")
def test_no_secret_is_in_a_process_or_a_log(site, said, evidence):
    """Arguments, environments, the journal, histories and logs of every machine, against every secret of the vault."""
    if not site.canaries:
        pytest.skip("the secrets of the inventory are not known here")
    for host in [site.box, *site.containers]:
        found = said(host, "look").json
        evidence(f"{host}: {found['words']} different words, {len(found['hits']) - 1} secrets")
        # One hit is put there on purpose, so that a search that finds nothing at all is noticed.
        assert found["hits"] == ["(sample) in the sample"], f"{host}: {found['hits']}"


@pytest.mark.control("SEC-1")
def test_no_private_key_is_readable_by_everybody(site, said, evidence):
    """Files that hold keys and passwords are for their owner, or one group."""
    for host in [site.box, *site.containers]:
        found = said(host, "readable").lines
        evidence(f"{host}: {', '.join(found) or 'none'}")
        assert found == []
