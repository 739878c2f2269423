# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when this machine gets security updates, and whether it has to be restarted for one it has already.

The role hardening installs it as `hardening-support`. It works offline, from a dated table (support.json), and changes
nothing; but `hardening-support record-boot`, which a unit runs at each boot, notes whether that boot went well.
Exit status: 0 nothing to do, 1 something needs attention, 2 it could not tell.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

TABLE = "usr/local/share/hardening/support.json"
CONFIG = "etc/hardening/support.json"
BOOTS = "var/lib/hardening/boots.json"
KEPT = 20
# A boot that takes longer than this has not been completed.
BOOT_SECONDS = 900
# After that, ends have been told that the table does not know.
TABLE_DAYS = 400
PACKAGES = "${db:Status-Status}\t${Package}\t${Version}\t${Section}\n"
# Where the distribution's promise of security updates does not reach.
UNPROMISED = (
    (r"(universe|multiverse)/", "section", "Ubuntu's {} without Ubuntu Pro"),
    (r".*~bpo", "version", "backports"),
)


class Done(t.NamedTuple):
    code: int
    out: str


class Machine:
    """Every touch of the machine, so that tests can stand in another one."""

    def __init__(self, root: str = "/") -> None:
        self.root = Path(root)

    def read(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def names(self, path: str, pattern: str) -> list[str]:
        return sorted(entry.name for entry in (self.root / path).glob(pattern))

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)

    def run(self, *argv: str, timeout: float = 30) -> Done:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=timeout,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return Done(127, "")
        return Done(done.returncode, done.stdout.strip())


# -- what is in use ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Package:
    name: str
    version: str
    section: str = ""


def installed(listing: str) -> list[Package]:
    """What dpkg-query printed. Removed packages leave their configuration, and a line here."""
    rows = [line.split("\t") for line in listing.splitlines()]
    return [Package(*row[1:]) for row in rows if len(row) == 4 and row[0] == "installed"]


def os_release(text: str) -> tuple[str, str, str]:
    """Id, version and name of the release."""
    found = dict(re.findall(r'^(\w+)="?(.*?)"?$', text, re.M))
    return found.get("ID", ""), found.get("VERSION_ID", ""), found.get("NAME", "This system")


def in_use(product: dict[str, t.Any], packages: t.Iterable[Package], snaps: dict[str, str]) -> dict[str, Package]:
    """The product's cycles in use, each with a package of it."""
    found: dict[str, Package] = {}
    for package in packages:
        name = re.fullmatch(product["packages"], package.name)
        if name and (cycle := name.groupdict().get("cycle") or cycle_of(product, package.version)):
            found.setdefault(cycle, package)
    version = snaps.get(product.get("snap", ""))
    if version and (cycle := cycle_of(product, version)):
        found.setdefault(cycle, Package(f"snap {product['snap']}", version, "snap"))
    return found


def cycle_of(product: dict[str, t.Any], version: str) -> str:
    match = re.match(product.get("version", "(?!)"), version)
    return match["cycle"] if match else ""


def is_upstream(product: dict[str, t.Any], package: Package) -> bool:
    """Whether the package comes from the project itself, so that it gets updates from there only."""
    by_version, by_name = product.get("upstream_version"), product.get("upstream_package")
    return bool(
        package.section == "snap"
        or (by_version and re.search(by_version, package.version))
        or (by_name and package.name.startswith(by_name))
    )


# -- until when ----------------------------------------------------------------------------------------------------


def state(until: str | None, today: datetime.date, warn_days: int) -> tuple[str, int | None]:
    """ok, ends_soon or ended, and how many days are left. The day of the end is the last good one."""
    if until is None:
        return "ok", None
    days = (datetime.date.fromisoformat(until) - today).days
    return "ended" if days < 0 else "ends_soon" if days <= warn_days else "ok", days


def judged(
    label: str, until: str | None, by: str | None, found: str, days: int | None, text: str = ""
) -> dict[str, t.Any]:
    """The part that all entries have, with the line that an administrator reads."""
    if not text and until is None:
        text = f"{label}: supported by {by}, no end announced"
    elif not text and found == "ended":
        text = f"{label}: OUT OF SUPPORT since {until} ({by})"
    elif not text:
        soon = f", {plural(days or 0)} left" if found == "ends_soon" else ""
        text = f"{label}: supported until {until}{soon} ({by})"
    return {"label": label, "until": until, "by": by, "state": found, "days": days, "text": text}


def plural(days: int) -> str:
    return f"{days} day{'' if days == 1 else 's'}"


def not_in_table(label: str, table: dict[str, t.Any]) -> dict[str, t.Any]:
    text = f"{label}: not in the table of {table['written']}; a newer version of the collection may know it"
    return judged(label, None, None, "unknown", None, text)


def release_support(table: dict[str, t.Any], text: str, today: datetime.date, warn_days: int) -> dict[str, t.Any]:
    """The support of the operating system: the first end and, where there is one, who goes on after it."""
    key, version, name = os_release(text)
    known = table["releases"].get(key, {})
    entry = {"product": key or "system", "version": version, "package": "", "of_release": True, "upstream": None}
    label = f"{known.get('name', name)} {version}".strip()
    cycle = known.get("cycles", {}).get(version)
    if cycle is None:
        return {**entry, **not_in_table(label, table)}
    until, by = cycle["until"], known["by"]
    if cycle.get("extended"):
        goes_on = known["extended_by"]
        by = f"{by} until {until}, then {goes_on}" if state(until, today, 0)[0] != "ended" else goes_on
        until = cycle["extended"]
    return {**entry, **judged(label, until, by, *state(until, today, warn_days))}


def unpromised(package: Package) -> str:
    for pattern, field, words in UNPROMISED:
        if match := re.match(pattern, getattr(package, field)):
            return words.format(*match.groups()[:1])
    return ""


def product_support(
    table: dict[str, t.Any],
    use: tuple[str, str, Package],
    release: dict[str, t.Any],
    today: datetime.date,
    warn_days: int,
) -> dict[str, t.Any]:
    """The support of one version of a product: by the project for its own packages, else by the distribution."""
    key, cycle, package = use
    product = table["products"][key]
    label, known = f"{product['name']} {cycle}", cycle in product["cycles"]
    end = product["cycles"].get(cycle)
    entry = {"product": key, "version": cycle, "package": f"{package.name} {package.version}", "upstream": None}
    entry["of_release"] = not is_upstream(product, package)
    if not entry["of_release"]:
        if not known:
            return {**entry, **not_in_table(label, table)}
        return {**entry, **judged(label, end, product["by"], *state(end, today, warn_days))}
    if known:
        found, days = state(end, today, warn_days)
        entry["upstream"] = {"until": end, "state": found, "days": days}
    if nobody := unpromised(package):
        text = f"{label}: nobody promises security updates ({nobody})"
        verdict = judged(label, None, None, "unpromised", None, text)
    elif release["state"] == "unknown":
        text = f"{label}: supported as long as {release['label']}, whose end is not in the table"
        verdict = judged(label, None, None, "unknown", None, text)
    else:
        verdict = judged(label, release["until"], release["by"], release["state"], release["days"])
    verdict["text"] += upstream_words(entry["upstream"])
    return {**entry, **verdict}


def upstream_words(upstream: dict[str, t.Any] | None) -> str:
    if not upstream or not upstream["until"]:
        return ""
    if upstream["state"] == "ended":
        return f"; the project's own support ended {upstream['until']}"
    soon = f", in {plural(upstream['days'])}" if upstream["state"] == "ends_soon" else ""
    return f"; the project's own support ends {upstream['until']}{soon}"


def support(
    table: dict[str, t.Any],
    release: str,
    packages: list[Package],
    snaps: dict[str, str],
    today: datetime.date,
    warn_days: int,
) -> list[dict[str, t.Any]]:
    """One entry for the release and one for each version of each product in use."""
    system = release_support(table, release, today, warn_days)
    entries = [system]
    for key, product in table["products"].items():
        for cycle, package in sorted(in_use(product, packages, snaps).items()):
            entries.append(product_support(table, (key, cycle, package), system, today, warn_days))
    return entries


def support_attention(entries: list[dict[str, t.Any]]) -> list[str]:
    """The lines that somebody has to read. What ends with the release is said with it, once."""
    system, products = entries[0], entries[1:]
    found = []
    if system["state"] != "ok":
        along = [entry["label"] for entry in products if entry["of_release"] and entry["state"] == system["state"]]
        found.append(system["text"] + (f"; with it {', '.join(along)}" if along else ""))
    for entry in products:
        told = entry["of_release"] and entry["state"] == system["state"] != "ok"
        soon = (entry["upstream"] or {}).get("state") == "ends_soon"
        if not told and (soon or entry["state"] != "ok"):
            found.append(entry["text"])
    return found


# -- restart -------------------------------------------------------------------------------------------------------


def kernel_version(name: str) -> str:
    """Of `6.1.0-39-cloud-amd64`, what tells older from newer: `6.1.0-39`."""
    return re.sub(r"-[a-z].*$", "", name)


def newest(kernels: t.Iterable[str], newer: t.Callable[[str, str], bool]) -> str | None:
    best: str | None = None
    for name in kernels:
        if best is None or newer(kernel_version(name), kernel_version(best)):
            best = name
    return best


def kernel(machine: Machine, packages: list[Package]) -> tuple[dict[str, t.Any], list[str]]:
    """The running and the newest installed kernel, and why the one should give way to the other."""

    def newer(one: str, other: str) -> bool:
        return machine.run("dpkg", "--compare-versions", one, "gt", other).code == 0

    running, build = machine.run("uname", "-r").out, machine.run("uname", "-v").out
    files = [name.split("-", 1)[1] for name in machine.names("boot", "vmlinuz-*")]
    there = newest([name for name in files if not name.endswith((".old", ".dpkg-new", ".dpkg-tmp"))], newer)
    reasons = []
    if there and newer(kernel_version(there), kernel_version(running)):
        reasons.append(f"kernel {running} runs, {there} is installed")
    elif match := re.search(r"\bDebian (\S+)", build):
        # An update may keep the kernel's name. Debian's kernel says which version of the package it is.
        package = {item.name: item.version for item in packages}.get(f"linux-image-{running}")
        if package and newer(package, match[1]):
            reasons.append(f"kernel {running} runs as of {match[1]}, {package} is installed")
    if not reasons:
        status = re.search(r"^NEEDRESTART-KSTA: *(\d)", machine.run("needrestart", "-b", "-k").out, re.M)
        if status and status[1] in "23":
            reasons.append("needrestart says that a newer kernel waits")
    return {"running": running, "newest": there or running}, reasons


def restart(machine: Machine, packages: list[Package], container: bool) -> dict[str, t.Any]:
    found, reasons = (None, []) if container else kernel(machine, packages)
    if machine.read("run/reboot-required") is not None:
        names = list(dict.fromkeys((machine.read("run/reboot-required.pkgs") or "").split()))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        reasons.append(f"asked for by {', '.join(names[:5]) or 'an update'}{more}")
    return {"needed": bool(reasons), "reasons": reasons, "kernel": found}


# -- boots ---------------------------------------------------------------------------------------------------------


def boots(machine: Machine) -> list[dict[str, t.Any]]:
    try:
        found = json.loads(machine.read(BOOTS) or "[]")
    except ValueError:
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def failed_units(machine: Machine) -> list[str]:
    text = machine.run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--full").out
    return [row.split()[0] for row in text.splitlines() if row.split()]


def record_boot(machine: Machine, now: str) -> dict[str, t.Any]:
    """Wait for the end of this boot and note how it went. What is noted of a boot stays as it is."""
    known = boots(machine)
    this = (machine.read("proc/sys/kernel/random/boot_id") or "").strip()
    before = [entry for entry in known if entry.get("boot_id") != this]
    mine = next((entry for entry in known if entry.get("boot_id") == this), None)
    if mine and mine.get("completed"):
        return mine
    came = machine.run("systemctl", "is-system-running", "--wait", timeout=BOOT_SECONDS).out or "starting"
    entry = {
        "boot_id": this,
        "time": now,
        "kernel": machine.run("uname", "-r").out,
        "previous_kernel": before[-1].get("kernel") if before else None,
        "completed": came in ("running", "degraded"),
        "state": came,
        "failed": failed_units(machine),
    }
    machine.write(BOOTS, json.dumps([*before, entry][-KEPT:], indent=1) + "\n")
    return entry


def boot(machine: Machine) -> dict[str, t.Any]:
    """The record of this boot, with those of its failed units that have not been mended since."""
    this = (machine.read("proc/sys/kernel/random/boot_id") or "").strip()
    mine = next((entry for entry in boots(machine) if entry.get("boot_id") == this), None)
    if mine is None:
        return {"recorded": False}
    still = sorted(set(mine.get("failed", [])) & set(failed_units(machine))) if mine.get("failed") else []
    return {"recorded": True, **{key: value for key, value in mine.items() if key != "boot_id"}, "still_failed": still}


def boot_attention(found: dict[str, t.Any] | None) -> list[str]:
    if not found or not found["recorded"]:
        return []
    new = found["previous_kernel"] not in (None, found["kernel"])
    what = f"the {'first ' if new else ''}boot of kernel {found['kernel']} on {found['time']}"
    if not found["completed"]:
        return [f"{what} did not come to its end: {found['state']}"]
    return [f"{what} left failed: {', '.join(found['still_failed'])}"] if found["still_failed"] else []


def failed_attention(failed: list[str], booted: dict[str, t.Any] | None) -> list[str]:
    """Units that failed later: a check that found something, as of files that have changed, is one of them."""
    since = [unit for unit in failed if unit not in (booted or {}).get("still_failed", [])]
    return [f"failed: {', '.join(since)}; look at: systemctl status {since[0]}"] if since else []


# -- all of it -----------------------------------------------------------------------------------------------------


def table_attention(table: dict[str, t.Any], today: datetime.date) -> list[str]:
    age = (today - datetime.date.fromisoformat(table["written"])).days
    if age <= TABLE_DAYS:
        return []
    text = f"the table of support is of {table['written']}: ends may have been told since; renew the collection"
    return [text]


def snap_versions(machine: Machine, table: dict[str, t.Any]) -> dict[str, str]:
    found = {}
    for name in {product["snap"] for product in table["products"].values() if "snap" in product}:
        match = re.search(
            r"^version: *['\"]?([^'\"\s]+)", machine.read(f"snap/{name}/current/meta/snap.yaml") or "", re.M
        )
        if match:
            found[name] = match[1]
    return found


def look(machine: Machine, today: datetime.date, warn_days: int | None = None) -> dict[str, t.Any]:
    """Everything, as plain data."""
    table = json.loads(machine.read(TABLE) or "")
    if warn_days is None:
        warn_days = int(json.loads(machine.read(CONFIG) or "{}").get("warn_days", 180))
    container = machine.run("systemd-detect-virt", "--container", "--quiet").code == 0
    packages = installed(machine.run("dpkg-query", "-W", "-f", PACKAGES).out)
    if not packages:
        raise ValueError("dpkg-query lists no packages")
    if machine.names("etc/apt/sources.list.d", "ubuntu-esm-apps.*"):
        # With Ubuntu Pro, universe has support for at least as long as the release.
        packages = [dataclasses.replace(package, section="") for package in packages]
    entries = support(
        table, machine.read("etc/os-release") or "", packages, snap_versions(machine, table), today, warn_days
    )
    again = restart(machine, packages, container)
    booted = None if container else boot(machine)
    failed = failed_units(machine)
    needs = [f"needs restart: {'; '.join(again['reasons'])}"] if again["needed"] else []
    return {
        "date": today.isoformat(),
        "table": table["written"],
        "warn_days": warn_days,
        "container": container,
        "support": entries,
        "restart": again,
        "boot": booted,
        "failed": failed,
        "attention": [
            *support_attention(entries),
            *needs,
            *boot_attention(booted),
            *failed_attention(failed, booted),
            *table_attention(table, today),
        ],
    }


def words(found: dict[str, t.Any]) -> str:
    lines = [entry["text"] for entry in found["support"]]
    lines.append(f"Restart: {'; '.join(found['restart']['reasons']) or 'not needed'}")
    if found["boot"] and found["boot"]["recorded"]:
        booted = found["boot"]
        lines.append(f"Boot of {booted['time']}, kernel {booted['kernel']}: {booted['state']}")
    lines += [f"ATTENTION  {text}" for text in found["attention"]]
    lines.append(f"(table of {found['table']}; warns {plural(found['warn_days'])} before)")
    return "\n".join(lines)


def main(arguments: list[str], machine: Machine | None = None) -> int:
    parser = argparse.ArgumentParser(prog="hardening-support", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("what", nargs="?", choices=["show", "record-boot"], default="show")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--date", type=datetime.date.fromisoformat, help="look as if it were this day (YYYY-MM-DD)")
    parser.add_argument("--warn-days", type=int, help="warn so many days before an end")
    options = parser.parse_args(arguments)
    machine = machine or Machine()
    if options.what == "record-boot":
        entry = record_boot(machine, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        print(json.dumps(entry))
        return 0 if entry["completed"] else 1
    try:
        found = look(machine, options.date or datetime.date.today(), options.warn_days)
    except (KeyError, ValueError) as error:
        print(f"hardening-support: {error}; the role hardening writes /{TABLE} and /{CONFIG}", file=sys.stderr)
        return 2
    print(json.dumps(found) if options.json else words(found))
    return 1 if found["attention"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
