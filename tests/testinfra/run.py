# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify a box: reads its description (JSON, made by playbooks/verify.yml) from standard input, writes the report."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="directory of report.json and report.html")
    parser.add_argument("--only", default="", help="pytest's -k: run some of the tests only")
    options = parser.parse_args()
    try:
        import pytest
        import yaml
    except ImportError as error:
        print(
            f"{error.name} is missing beside Ansible, and the tests need it. Install it there:\n"
            f"  {sys.executable} -m pip install pytest pyyaml",
            file=sys.stderr,
        )
        return 3

    sys.path.insert(0, str(HERE))
    import report

    site = {"version": version(), **json.load(sys.stdin)}
    controls = yaml.safe_load((HERE / "controls.yml").read_text(encoding="utf-8"))["controls"]
    begun = time.time()
    with tempfile.TemporaryDirectory(prefix="securebox-verify-") as directory:
        described, outcomes = Path(directory) / "site.json", Path(directory) / "outcomes.json"
        described.write_text(json.dumps(site), encoding="utf-8")
        # Nobody else's settings or plugins: the suite has to mean the same on every workstation.
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.environ.pop("PYTEST_ADDOPTS", None)
        arguments = [
            str(HERE),
            f"--rootdir={HERE}",
            f"--confcutdir={HERE}",
            "-c",
            os.devnull,
            "-q",
            "--tb=short",
            "-p",
            "no:cacheprovider",
        ]
        arguments += ["--strict-markers", f"--site={described}", f"--outcomes={outcomes}"]
        log = io.StringIO()
        with contextlib.redirect_stdout(log):
            code = pytest.main([*arguments, "-k", options.only] if options.only else arguments)
        found = json.loads(outcomes.read_text(encoding="utf-8")) if outcomes.exists() else []
    built = report.build(controls, found, about(site, begun))
    write(options.output, built, report.page(built))
    if code not in (0, 1):
        print(log.getvalue(), file=sys.stderr)
    print(report.words(built))
    print(f"\nReport: {(options.output / 'report.html').resolve()}")
    # pytest: 0 all well, 1 some failed; everything else means that the suite itself did not run to its end.
    return 1 if report.has_failed(built) else 0 if code in (0, 1) else 2


def version() -> str:
    """Of the collection that this suite is part of: installed, or a working copy."""
    import yaml

    root = HERE.parents[1]
    manifest = root / "MANIFEST.json"
    if manifest.is_file():
        return json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"]
    return str(yaml.safe_load((root / "galaxy.yml").read_text(encoding="utf-8"))["version"])


def about(site: dict, begun: float) -> dict:
    box = site["groups"]["box"][0]
    seconds = time.time() - begun
    host = site["hosts"][box]
    when = datetime.datetime.fromtimestamp(begun, datetime.UTC)
    proxy = site["hosts"][site["groups"]["proxy"][0]]
    return {
        "box": box,
        # In the order in which a request passes them.
        "machines": ["the world", box, *(h for g in ("proxy", "app", "db") for h in site["groups"].get(g, []))],
        "address": host.get("ansible_host", box),
        "domain": proxy.get("proxy_apache_server_name", ""),
        "time": when.strftime("%Y-%m-%d %H:%M UTC"),
        "controller": platform.node(),
        "version": f"securebox.stack {site.get('version', '')}",
        "seconds": round(seconds, 1),
        "took": f"{seconds:.0f} s",
    }


def write(directory: Path, built: dict, page: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (("report.json", json.dumps(built, indent=2, ensure_ascii=False)), ("report.html", page)):
        # A report tells an attacker where to look: it is for its owner.
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False, encoding="utf-8") as stream:
            stream.write(content)
        Path(stream.name).replace(directory / name)


if __name__ == "__main__":
    sys.exit(main())
