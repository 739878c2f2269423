# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges of how hardened a machine is, none of them ours: Lynis, the CIS profiles of OpenSCAP, and ssh-audit."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shlex
import shutil
import sys
import tempfile
import typing as t
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from . import images, lxd, paths, recipes, ssh
from .run import LabError, run
from .state import Lab, Machine

# From Debian's newest suite, for any release: a benchmark of one year is not compared with a judge of another.
# ssg-debian asks for ssg-base, which is little more than its directories.
SUITE = "sid"
NEWEST = ("lynis", "ssg-base", "ssg-debian")
SCANNER = "openscap-scanner"
# The SCAP content calls 250 rules "not applicable" where no kernel package is installed, and a container has none. One
# that stands in for a server gets the smallest of the packages that the content takes for a kernel.
KERNEL = "linux-base"

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

REPORT = "/var/log/lynis-report.dat"
CONTENT = "/usr/share/xml/scap/ssg/content/ssg-debian{number}-ds.xml"
NUMBERS = {"bookworm": 12, "trixie": 13}
XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
RULE = "xccdf_org.ssgproject.content_rule_"
PROFILE = "xccdf_org.ssgproject.content_profile_"
LEVELS = {1: "cis_level1_server", 2: "cis_level2_server"}
# What the documents promise at least, by what stands for the server. A container passes no rule about kernel, clock and
# boot loader (six of CIS level 1, eight points of Lynis).
LIMITS: dict[str, dict[str, float]] = {
    "bookworm": {"lynis": 88, "level1": 96.0, "level2": 92.0},
    "trixie": {"lynis": 88, "level1": 95.0, "level2": 92.0},
    "bookworm-vm": {"lynis": 90, "level1": 96.0, "level2": 92.0},
    "trixie-vm": {"lynis": 90, "level1": 95.0, "level2": 92.0},
}
# What counts for the share: a rule that could not be judged has not been passed.
JUDGED = ("pass", "fail", "error", "unknown")
# Emulated machines take minutes for what a container does in ten seconds.
PATIENCE = 1800


@dataclasses.dataclass(frozen=True)
class Reach:
    """How to get at a machine as root: run a line of shell, and put a file there."""

    run: Callable[[str], str]
    push: Callable[[Path, str], t.Any]


def reach(lab: Lab, machine: Machine) -> Reach:
    """A container by LXD, whatever has become of its sshd; a virtual machine by ssh, with sudo.

    Where hardening has moved port or account, set them on the machine and write the lab's ssh files again before.
    """
    if machine.engine == "container":
        name = paths.instance(lab.name, machine.name)
        return Reach(
            run=lambda line: lxd.lxc("exec", name, "--cwd", "/", "--", "sh", "-c", line, timeout=PATIENCE),
            push=lambda path, target: lxd.lxc("file", "push", "-q", path, f"{name}{target}"),
        )
    become = [] if machine.user == "root" else ["sudo", "-n"]
    command = ["ssh", "-F", lab.directory / "ssh_config", *ssh.OPTIONS, machine.name, *become]

    def push(path: Path, target: str) -> str:
        return run([*command, "sh", "-c", shlex.quote(f"cat > {shlex.quote(target)}")], stdin=path, timeout=PATIENCE)

    return Reach(run=lambda line: run([*command, "sh", "-c", shlex.quote(line)], timeout=PATIENCE), push=push)


def mirror() -> str:
    """This machine's own Debian mirror: it has the newest suite as well."""
    release = recipes.RELEASES[0]
    found = [words[1] for words in map(str.split, images.mirrors(release)) if words[2] == release]
    if not found:
        raise LabError("this machine's apt knows no Debian mirror")
    return found[0]


def cached() -> dict[str, Path]:
    """The packages that have been fetched, by name."""
    found = sorted((paths.cache() / "judges").glob("*.deb"))
    return {path.name.partition("_")[0]: path for path in found}


def fetch(*, fresh: bool = False) -> dict[str, Path]:
    """The judges' packages, from the lab's cache, or (`fresh`, or nothing there) from the mirror."""
    with images.locked("judges"):
        found = cached()
        if fresh or set(NEWEST) - set(found):
            download(paths.cache() / "judges")
            found = cached()
    return {name: found[name] for name in NEWEST}


def download(target: Path) -> None:
    """Fetch with an apt configuration beside this machine's own, which stays as it is."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "debs").mkdir()
        try:
            options = apt_options(scratch, mirror())
            run(["apt-get", "-qq", *options, "update"], timeout=300)
            command = f'cd {shlex.quote(name)}/debs && exec "$@"'
            run(["sh", "-c", command, "sh", "apt-get", "-qq", *options, "download", *NEWEST], timeout=300)
        except LabError as error:
            raise LabError(
                f"no {', '.join(NEWEST)} of Debian {SUITE}: put the .deb files into {target} by hand, or\n{error}"
            ) from error
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(scratch / "debs", target)


def apt_options(scratch: Path, uri: str) -> list[str]:
    """Lists, cache and state of apt below `scratch`, and one source."""
    if not KEYRING.exists():
        raise LabError(f"there is no {KEYRING}: install debian-archive-keyring")
    for part in ("lists/partial", "cache/archives/partial"):
        (scratch / part).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "sources.list").write_text(f"deb [signed-by={KEYRING}] {uri} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache",
        "Acquire::Languages": "none",
        # The directory is this user's own, and apt's may not look into it.
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def installed(target: Reach, names: list[str]) -> dict[str, str]:
    """The versions of those packages that are there."""
    form = "'${db:Status-Status} ${Package} ${Version}\\n'"
    lines = target.run(f"dpkg-query -W -f {form} {' '.join(names)} 2>/dev/null || true").splitlines()
    return {words[1]: words[2] for words in map(str.split, lines) if len(words) == 3 and words[0] == "installed"}


def install(target: Reach, *, container: bool) -> dict[str, str]:
    """Bring the judges onto the machine, before it is hardened: how they get there must not count. Their versions."""
    debs = fetch()
    release = [SCANNER, KERNEL] if container else [SCANNER]
    names = [*NEWEST, *release]
    there = installed(target, names)
    missing = [name for name in release if name not in there]
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
    if missing:
        # Only now: a machine whose image holds them needs no lists.
        target.run(f"{apt} update && {apt} install --no-install-recommends {' '.join(missing)}")
    wanted = [path for name, path in debs.items() if there.get(name) != path.name.split("_")[1].replace("%3a", ":")]
    for path in wanted:
        target.push(path, f"/root/{path.name}")
    if wanted:
        files = " ".join(shlex.quote(f"/root/{path.name}") for path in wanted)
        target.run(f"dpkg --install {files} && rm {files}")
    there = installed(target, names)
    if set(names) - set(there):
        raise LabError(f"not installed: {', '.join(sorted(set(names) - set(there)))}")
    return there


@functools.cache
def log_server() -> dict[str, str]:
    """The role's variables for a log server, where nobody answers: messages wait, which stops no one."""
    with tempfile.TemporaryDirectory() as name:
        key, certificate = Path(name) / "key", Path(name) / "certificate"
        request = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=lab"]
        run([*request, "-keyout", key, "-out", certificate])
        return {
            "hardening_log_server": "192.0.2.1",
            "hardening_log_server_name": "logs.example.org",
            "hardening_log_server_ca": certificate.read_text(),
            "hardening_log_server_client_certificate": certificate.read_text(),
            "hardening_log_server_client_key": key.read_text(),
        }


@dataclasses.dataclass(frozen=True)
class Lynis:
    """What Lynis says: its index, and what it would have otherwise."""

    index: int
    warnings: list[str]
    suggestions: list[str]


def lynis(target: Reach) -> Lynis:
    """Let Lynis look. An old report is removed, so that it cannot be taken for this one."""
    line = f"rm -f {REPORT}; lynis audit system --quiet --no-colors --cronjob >/dev/null 2>&1; cat {REPORT}"
    return read_lynis(target.run(line))


def read_lynis(report: str) -> Lynis:
    """Its report: lines `key=value`, and `key[]=ID|text|...`. Details are kept where they tell findings apart."""
    found = dict.fromkeys(re.findall(r"^hardening_index=(\d+)$", report, re.MULTILINE))
    if len(found) != 1:
        raise LabError(f"Lynis came to no index; its report ends with:\n{report[-500:]}")

    def texts(kind: str) -> list[str]:
        lines = re.findall(rf"^{kind}\[\]=(.*)$", report, re.MULTILINE)
        return [" | ".join(word for word in line.split("|")[:3] if word not in ("", "-")) for line in lines]

    return Lynis(int(next(iter(found))), texts("warning"), texts("suggestion"))


@dataclasses.dataclass(frozen=True)
class Scap:
    """What OpenSCAP says: how many rules came out how, and which were not passed."""

    outcomes: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(self.outcomes.values()))

    @property
    def failed(self) -> list[str]:
        return sorted(name for name, outcome in self.outcomes.items() if outcome in JUDGED and outcome != "pass")

    @property
    def errors(self) -> list[str]:
        return sorted(name for name, outcome in self.outcomes.items() if outcome == "error")

    @property
    def share(self) -> float:
        """Percent of the rules that were judged."""
        return 100 * self.counts["pass"] / sum(self.counts.get(word, 0) for word in JUDGED)


def openscap(target: Reach, release: str) -> dict[int, Scap]:
    """The CIS benchmark for servers, by level: 2 is looked at, which holds 1, so nothing is looked at twice.

    Some rules are scripts, which OpenSCAP puts into /tmp: where nothing is executed there, they end in an error. They
    are asked once more, from a /tmp of their own.
    """
    results = "/root/judge-results.xml"
    content = CONTENT.format(number=NUMBERS[release])
    command = f"oscap xccdf eval --profile {LEVELS[2]} --results {results}"
    # 2: it went well, and rules have failed.
    judge = (
        f"rm -f {results}; {{}} {content} >/dev/null;"
        f" code=$?; [ $code = 0 ] || [ $code = 2 ] || exit $code; cat {results}; rm {results}"
    )
    text = target.run(judge.format(command))
    found = read_openscap(text)
    if found.errors:
        rules = " ".join(f"--rule {RULE}{name}" for name in found.errors)
        apart = "unshare --mount sh -c 'mount -t tmpfs -o nosuid,nodev tmpfs /tmp && exec \"$@\"' -"
        again = read_openscap(target.run(judge.format(f"{apart} {command} {rules}")), whole=False)
        found = Scap(found.outcomes | {name: again.outcomes.get(name, "error") for name in found.errors})
    return {1: narrowed(found, text), 2: found}


def narrowed(found: Scap, text: str) -> Scap:
    """What level 1 asks for too. It may not ask for anything else, nor for other values."""
    first, second = (settings(text, LEVELS[level]) for level in (1, 2))
    if not first or first.items() - second.items():
        odd = sorted(name for name, value in first.items() if second.get(name) != value)
        raise LabError(f"CIS level 2 of this content does not hold level 1: {', '.join(odd) or 'it is not there'}")
    return Scap({name: outcome for name, outcome in found.outcomes.items() if first.get(RULE + name) == "true"})


def settings(text: str, profile: str) -> dict[str, str]:
    """What a profile selects, and which values it sets, as it stands in the results."""
    found = ElementTree.fromstring(text).find(f".//{XCCDF}Profile[@id='{PROFILE}{profile}']")
    if found is None:
        return {}
    chosen = {item.get("idref", ""): "true" for item in found.iter(f"{XCCDF}select") if item.get("selected") == "true"}
    return chosen | {item.get("idref", ""): item.get("selector", "") for item in found.iter(f"{XCCDF}refine-value")}


def read_openscap(text: str, *, whole: bool = True) -> Scap:
    """The results file. Most of it is the benchmark itself; rules that the profile leaves out are results as well."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise LabError(f"OpenSCAP wrote no results: {error}") from error
    outcomes: dict[str, str] = {}
    for rule in root.iter(f"{XCCDF}rule-result"):
        outcome = rule.findtext(f"{XCCDF}result", "unknown")
        if outcome != "notselected":
            outcomes[rule.get("idref", "").removeprefix(RULE)] = outcome
    if whole and "pass" not in outcomes.values():
        raise LabError(f"OpenSCAP passed no rule, which no machine deserves: {dict(Counter(outcomes.values()))}")
    return Scap(outcomes)


@dataclasses.dataclass(frozen=True)
class SshAudit:
    """The algorithms that ssh-audit would not have, and those that it would rather not have."""

    failing: list[str]
    warned: list[str]


@functools.cache
def ssh_audit_program() -> str:
    """From the environment that this runs in, or else wherever it is."""
    beside = Path(sys.executable).with_name("ssh-audit")
    found = str(beside) if beside.exists() else shutil.which("ssh-audit")
    if not found:
        raise LabError("ssh-audit is missing: pip install -r requirements.txt")
    return found


def ask_ssh_audit(address: str, port: int, *options: str) -> dict[str, t.Any]:
    """Its answer as JSON. The exit code tells what was found; what went wrong stands where the answer should be."""
    command = [ssh_audit_program(), "-j", *options, "-p", port, address]
    text = run(command, timeout=120, check=False)
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise LabError(f"ssh-audit of {address} port {port}: {text.strip()[-500:] or 'no answer'}") from error
    return t.cast("dict[str, t.Any]", answer)


def ssh_audit(address: str, port: int) -> SshAudit:
    """All algorithms that the sshd offers. How fast it takes connections is not looked at: that would be an attack."""
    return read_ssh_audit(ask_ssh_audit(address, port, "--skip-rate-test"))


def read_ssh_audit(answer: dict[str, t.Any]) -> SshAudit:
    """Key exchanges, host keys, ciphers and MACs with a note of that kind."""
    entries = [entry for part in ("kex", "key", "enc", "mac") for entry in answer.get(part, [])]
    if not entries:
        raise LabError("ssh-audit saw no algorithm")

    def noted(kind: str) -> list[str]:
        return [entry["algorithm"] for entry in entries if (entry.get("notes") or {}).get(kind)]

    return SshAudit(noted("fail"), noted("warn"))


def ssh_audit_policy(address: str, port: int, policy: str) -> list[str]:
    """What differs from one of ssh-audit's own policies (`ssh-audit -L`), by the policy's words; nothing: passed."""
    return read_ssh_audit_policy(ask_ssh_audit(address, port, "-P", policy))


def read_ssh_audit_policy(answer: dict[str, t.Any]) -> list[str]:
    """One line a difference: the field, and what is too much or too little in it."""
    lines = []
    for error in answer["errors"]:
        actual, wanted = error["actual"], [word for word in error["expected_required"] if word]
        allowed = {*wanted, *error.get("expected_optional", [])}
        much, little = [word for word in actual if word not in allowed], [word for word in wanted if word not in actual]
        parts = [f"not {', '.join(much)}" if much else "", f"but {', '.join(little)}" if little else ""]
        lines.append(f"{error['mismatched_field']}: {' '.join(filter(None, parts)) or 'in another order'}")
    if not lines and not answer["passed"]:
        raise LabError("ssh-audit says that the policy is not met, but not why")
    return lines


def versions(target: Reach) -> dict[str, str]:
    """Which judges these were, as one names them in a report."""
    there = installed(target, ["lynis", SCANNER, "ssg-debian"])
    # It has no option for this, but says it in its help.
    found = re.search(r"ssh-audit v([\d.]+)", run([ssh_audit_program(), "--help"]))
    return {**there, "ssh-audit": found[1] if found else "of unknown version"}
