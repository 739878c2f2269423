# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of others that judge the box from outside, where they are installed: sslyze and ssh-audit.

None of them is Python's own, so a test that needs one that is missing does not run, and says how to get it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

SSLYZE = "sslyze is not installed here: pipx install sslyze"
SSH_AUDIT = "ssh-audit is not installed here: pipx install ssh-audit"
GUIDELINE = "intermediate"


class Silent(Exception):
    """A judge came to no verdict."""


def program(name: str) -> str | None:
    """A command of this machine, or of the environment that Ansible runs in."""
    beside = Path(sys.executable).with_name(name)
    return shutil.which(name) or (str(beside) if beside.exists() else None)


@dataclass(frozen=True)
class Tls:
    """What sslyze says of a server by Mozilla's guideline."""

    version: str
    # {what: the words}, of the protocol and of the certificate. The names are sslyze's.
    issues: dict[str, str]
    # {"TLS 1.2": its suites}, of those versions that the server speaks.
    spoken: dict[str, list[str]]
    groups: list[str]


# What only says that nobody vouches for the certificate, or that its owner made it for longer than an authority may.
TRUST = "certificate_path_validation"
LIFE = "maximum_certificate_lifespan"


def sslyze(command: str, address: str, port: int, name: str, timeout: int = 300) -> Tls:
    """Some hundred handshakes, a few at a time: a small box has other things to do as well."""
    host = f"[{address}]" if ":" in address else address
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        path = Path(directory) / "sslyze.json"
        words = [command, "--slow_connection", "--mozilla_config", GUIDELINE, "--json_out", str(path)]
        try:
            done = subprocess.run(
                [*words, f"{name}:{port}{{{host}}}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Silent(f"sslyze was not done within {timeout} s") from error
        found = path.read_text(encoding="utf-8") if path.exists() else ""
    return read_sslyze(done.stdout, found)


def read_sslyze(text: str, found: str) -> Tls:
    """The verdict stands in what is printed, everything else in the JSON."""
    verdict = text.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    if not re.search(r": (OK - Compliant|FAILED - Not compliant)", verdict):
        raise Silent(f"sslyze came to no verdict: {' '.join(text.split())[-400:]}")
    document = json.loads(found)
    results = document["server_scan_results"][0]["scan_result"]
    spoken = {}
    for part, version in (("ssl_2_0", "SSL 2.0"), ("ssl_3_0", "SSL 3.0"), ("tls_1_0", "TLS 1.0"),
                          ("tls_1_1", "TLS 1.1"), ("tls_1_2", "TLS 1.2"), ("tls_1_3", "TLS 1.3")):  # fmt: skip
        suites = results[f"{part}_cipher_suites"]["result"]["accepted_cipher_suites"]
        if suites:
            spoken[version] = sorted(suite["cipher_suite"]["name"] for suite in suites)
    groups = results["elliptic_curves"]["result"]["supported_curves"] or []
    return Tls(
        version=str(document.get("sslyze_version", "")),
        issues=dict(re.findall(r"^\s*\* (\w+): (.+)$", verdict, re.M)),
        spoken=spoken,
        groups=sorted(group["name"] for group in groups),
    )


@dataclass(frozen=True)
class Ssh:
    """The algorithms that ssh-audit would not have, and those that it would rather not have."""

    failing: list[str]
    warned: list[str]


def ask_ssh_audit(command: str, address: str, port: int, *options: str) -> dict[str, t.Any]:
    """Its answer as JSON. The exit code tells what was found; what went wrong stands where the answer should be."""
    words = [command, "-j", "--skip-rate-test", *options, "-p", str(port), address]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))
    except subprocess.TimeoutExpired as error:
        raise Silent("ssh-audit was not done within 120 s") from error
    except ValueError as error:
        raise Silent(f"ssh-audit: {(done.stdout or done.stderr).strip()[-400:] or 'no answer'}") from error


def read_ssh_audit(answer: dict[str, t.Any]) -> Ssh:
    """Key exchanges, host keys, ciphers and MACs with a note of that kind."""
    entries = [entry for part in ("kex", "key", "enc", "mac") for entry in answer.get(part, [])]
    if not entries:
        raise Silent("ssh-audit saw no algorithm")

    def noted(kind: str) -> list[str]:
        return [entry["algorithm"] for entry in entries if (entry.get("notes") or {}).get(kind)]

    return Ssh(noted("fail"), noted("warn"))


def policy(command: str, release: str) -> str | None:
    """The name of the newest policy of that release, such as `Debian 13`, that this ssh-audit brings."""
    done = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=60, check=False)
    found = re.findall(rf'"(Hardened {re.escape(release)}(?: LTS)? \(version (\d+)\))"', done.stdout)
    return max(found, key=lambda item: int(item[1]))[0] if found else None


def read_ssh_audit_policy(answer: dict[str, t.Any]) -> list[str]:
    """One line a difference: the field, and what is too much or too little in it. Nothing: passed."""
    lines = []
    for error in answer["errors"]:
        actual, wanted = error["actual"], [word for word in error["expected_required"] if word]
        allowed = {*wanted, *error.get("expected_optional", [])}
        much, little = [word for word in actual if word not in allowed], [word for word in wanted if word not in actual]
        parts = [f"not {', '.join(much)}" if much else "", f"but {', '.join(little)}" if little else ""]
        lines.append(f"{error['mismatched_field']}: {' '.join(filter(None, parts)) or 'in another order'}")
    if not lines and not answer["passed"]:
        raise Silent("ssh-audit says that the policy is not met, but not why")
    return lines
