# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A judge that did not judge is an error, and never a low number or a high one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import images, judges
from lab.run import LabError
from lab.state import Lab
from lab.state import Machine as SshMachine

SAMPLES = Path(__file__).with_name("judges")


def sample(name):
    """A piece of what the judge wrote about a bare server."""
    return (SAMPLES / name).read_text()


class Machine:
    """Answers lines of shell by the first of the given pieces that is in them, and keeps what it was asked."""

    def __init__(self, **answers):
        self.answers, self.lines, self.files = answers, [], []

    def run(self, line):
        self.lines.append(line)
        return next((text for piece, text in self.answers.items() if piece in line), "")

    def push(self, path, target):
        self.files.append((path.name, target))

    @property
    def reach(self):
        return judges.Reach(self.run, self.push)


def test_lynis_has_an_index_and_tells_findings_apart():
    found = judges.lynis(Machine(lynis=sample("lynis-report.dat")).reach)
    assert found.index == 61
    assert found.warnings == ["FIRE-4512 | iptables module(s) loaded, but no rules active"]
    assert "SSH-7408 | Consider hardening SSH configuration | MaxAuthTries (set 6 to 3)" in found.suggestions
    assert len(set(found.suggestions)) == len(found.suggestions) == 5


def test_an_old_report_is_not_taken_for_this_one():
    machine = Machine(lynis=sample("lynis-report.dat"))
    judges.lynis(machine.reach)
    assert machine.lines[0].index("rm -f") < machine.lines[0].index("lynis audit")


@pytest.mark.parametrize("report", ["", "report_version_major=1\n", "hardening_index=\n"])
def test_a_report_without_an_index_is_an_error(report):
    with pytest.raises(LabError, match="no index"):
        judges.read_lynis(report)


def test_the_share_is_of_the_rules_that_could_be_judged():
    """Not applicable, not checked, informational: these say nothing about the machine. Errors are no merit."""
    found = judges.read_openscap(sample("openscap-results.xml"))
    assert found.counts == {"pass": 3, "fail": 2, "error": 1, "notapplicable": 1, "notchecked": 1}
    assert found.share == 50
    assert found.failed == ["accounts_tmout", "package_aide_installed", "sshd_disable_root_login"]


@pytest.mark.parametrize(("release", "number"), [("bookworm", "12"), ("trixie", "13")])
def test_the_profile_is_of_that_level_and_release(release, number):
    machine = Machine(oscap=scap(other="pass"))
    judges.openscap(machine.reach, release)
    assert f"ssg-debian{number}-ds.xml" in machine.lines[0]
    assert "--profile cis_level2_server" in machine.lines[0]


@pytest.mark.parametrize(("text", "message"), [("", "no results"), ("<Benchmark/>", "passed no rule")])
def test_results_that_say_nothing_are_an_error(text, message):
    with pytest.raises(LabError, match=message):
        judges.read_openscap(text)


def test_ssh_audit_counts_algorithms_once_for_each_kind():
    found = judges.read_ssh_audit(json.loads(sample("ssh-audit.json")))
    assert found.failing == ["ecdh-sha2-nistp256", "ecdsa-sha2-nistp256", "hmac-sha1"]
    assert found.warned == ["curve25519-sha256", "ecdh-sha2-nistp256", "ecdsa-sha2-nistp256", "hmac-sha1"]


def test_an_ssh_audit_without_algorithms_is_an_error():
    with pytest.raises(LabError, match="no algorithm"):
        judges.read_ssh_audit({"kex": []})


def test_an_ssh_audit_that_reached_nobody_says_so(monkeypatch):
    monkeypatch.setattr(judges, "ssh_audit_program", lambda: "ssh-audit")
    monkeypatch.setattr(judges, "run", lambda *_, **__: "[exception] cannot connect")
    with pytest.raises(LabError, match=r"192\.0\.2\.1 port 22: .*cannot connect"):
        judges.ssh_audit("192.0.2.1", 22)


def test_a_policy_is_missed_field_by_field():
    assert judges.read_ssh_audit_policy(json.loads(sample("ssh-audit-policy.json"))) == [
        "Host keys: not ecdsa-sha2-nistp256",
        "Host key (rsa-sha2-512) sizes: not 3072 but 4096",
        "Ciphers: in another order",
    ]


def test_a_policy_that_is_met_has_no_differences():
    assert judges.read_ssh_audit_policy({"errors": [], "passed": True}) == []


@pytest.fixture
def debs(monkeypatch):
    """What has been fetched already."""
    names = ("lynis_3.1.7-1_all.deb", "ssg-base_0.1.82-1_all.deb", "ssg-debian_0.1.82-1_all.deb")
    found = {name.partition("_")[0]: Path(name) for name in names}
    monkeypatch.setattr(judges, "fetch", lambda: found)
    return found


def status(*packages):
    """dpkg-query's answer."""
    return "".join(f"installed {name} {version}\n" for name, version in packages)


NEW = [("lynis", "3.1.7-1"), ("ssg-base", "0.1.82-1"), ("ssg-debian", "0.1.82-1")]
RELEASE = [("openscap-scanner", "1.3.7"), ("linux-base", "4.12")]


def test_what_is_there_is_neither_fetched_nor_installed(debs):
    machine = Machine(**{"dpkg-query": status(*NEW, *RELEASE)})
    assert judges.install(machine.reach, container=True)["lynis"] == "3.1.7-1"
    assert machine.files == []
    assert not any("apt-get" in line for line in machine.lines)


def test_an_older_judge_is_replaced(debs):
    machine = Machine(**{"dpkg-query": status(("lynis", "3.0.8-1"), *NEW[1:], *RELEASE)})
    judges.install(machine.reach, container=True)
    assert machine.files == [("lynis_3.1.7-1_all.deb", "/root/lynis_3.1.7-1_all.deb")]


def test_only_a_container_needs_a_kernel_package(debs):
    machine = Machine(**{"dpkg-query": status(*NEW, RELEASE[0])})
    judges.install(machine.reach, container=False)
    with pytest.raises(LabError, match="not installed: linux-base"):
        judges.install(machine.reach, container=True)
    assert any("apt-get -qq update" in line and "linux-base" in line for line in machine.lines)


def test_apt_keeps_to_its_scratch_directory(tmp_path, apt):
    options = judges.apt_options(tmp_path, "http://mirror.test/debian/")
    source = (tmp_path / "sources.list").read_text()
    assert source == f"deb [signed-by={judges.KEYRING}] http://mirror.test/debian/ sid main\n"
    for key in ("Dir::State::lists", "Dir::State::status", "Dir::Cache", "Dir::Etc::sourcelist"):
        assert any(option.startswith(f"{key}={tmp_path}") for option in options)
    assert "Dir::Etc::sourceparts=-" in options


def test_the_mirror_is_this_machines(monkeypatch):
    lines = ["deb http://sec.test/ bookworm-security main", "deb http://near.test/ bookworm main"]
    monkeypatch.setattr(images, "mirrors", lambda _: lines)
    assert judges.mirror() == "http://near.test/"


@pytest.mark.parametrize(("user", "become"), [("root", False), ("alice", True)])
def test_a_virtual_machine_is_reached_by_ssh_and_sudo(monkeypatch, tmp_path, user, become):
    calls = []
    monkeypatch.setattr(judges, "run", lambda command, **options: calls.append((command, options)))
    target = judges.reach(Lab("try"), SshMachine(name="server", engine="vm", user=user))
    target.run("echo it's")
    target.push(tmp_path / "a.deb", "/root/a.deb")
    (run, _), (push, options) = calls
    assert ("sudo" in run) == ("sudo" in push) == become
    assert run[-2:] == ["-c", """'echo it'"'"'s'"""]
    assert push[-1] == "'cat > /root/a.deb'"
    assert options["stdin"] == tmp_path / "a.deb"


def packages(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name in judges.NEWEST:
        (directory / f"{name}_1_all.deb").touch()


def test_what_is_cached_is_not_fetched_again(monkeypatch, places):
    packages(places / "cache" / "judges")
    monkeypatch.setattr(judges, "download", lambda _: pytest.fail("fetched again"))
    assert set(judges.fetch()) == set(judges.NEWEST)


def test_what_is_missing_or_wanted_fresh_is_fetched(monkeypatch, places):
    fetched = []
    monkeypatch.setattr(judges, "download", lambda target: (fetched.append(target), packages(target)))
    judges.fetch()
    judges.fetch(fresh=True)
    assert fetched == [places / "cache" / "judges"] * 2


@pytest.fixture
def apt(monkeypatch, tmp_path):
    """A machine whose apt could fetch, and what it was asked to."""
    calls = []
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(judges, "KEYRING", keyring)
    monkeypatch.setattr(images, "mirrors", lambda _: ["deb http://near.test/ bookworm main"])
    monkeypatch.setattr(judges, "run", lambda command, **_: calls.append(command))
    return calls


def no_route(*_, **__):
    raise LabError("no route")


@pytest.mark.parametrize(
    ("where", "name", "value", "reason"),
    [
        (judges, "run", no_route, "no route"),
        (judges, "KEYRING", Path("/nowhere/keyring.gpg"), "debian-archive-keyring"),
        (images, "mirrors", lambda _: [], "no Debian mirror"),
    ],
)
def test_what_cannot_be_fetched_is_named_and_where_it_belongs(monkeypatch, tmp_path, apt, where, name, value, reason):
    (tmp_path / "judges").mkdir()
    monkeypatch.setattr(where, name, value)
    with pytest.raises(LabError, match=rf"lynis, ssg-base, ssg-debian .*judges by hand(.|\n)*{reason}"):
        judges.download(tmp_path / "judges")
    assert (tmp_path / "judges").exists()


def test_apt_updates_and_then_downloads(tmp_path, apt):
    judges.download(tmp_path / "judges")
    assert apt[0][-1] == "update"
    assert apt[1][-4:] == ["download", *judges.NEWEST]


def scap(**outcomes):
    """A results file that is as small as it can be."""
    rules = "".join(f'<rule-result idref="{judges.RULE}{name}"><result>{outcome}</result></rule-result>'
                    for name, outcome in outcomes.items())
    return f'<Benchmark xmlns="http://checklists.nist.gov/xccdf/1.2">{profiles()}{rules}</Benchmark>'


def profiles(first: str = "other", second: str = "other script", value: str = "3") -> str:
    """Level 1 and 2, with the rules that they select, and a value."""
    return "".join(
        f'<Profile id="{judges.PROFILE}{judges.LEVELS[level]}">'
        + "".join(f'<select idref="{judges.RULE}{name}" selected="true"/>' for name in rules.split())
        + f'<refine-value idref="tries" selector="{value if level == 1 else 3}"/></Profile>'
        for level, rules in ((1, first), (2, second))
    )


def test_scripts_that_could_not_run_are_asked_again_where_they_can():
    """Nothing is executed in a hardened /tmp. What comes out the second time counts, and only for those rules."""
    machine = Machine(**{"unshare": scap(script="pass", other="fail"), "oscap": scap(other="pass", script="error")})

    found = judges.openscap(machine.reach, "bookworm")[2]

    assert found.outcomes == {"other": "pass", "script": "pass"}
    assert f"--rule {judges.RULE}script" in machine.lines[1]
    assert found.share == 100


def test_a_script_that_does_not_answer_the_second_time_has_failed():
    machine = Machine(**{"unshare": scap(), "oscap": scap(other="pass", script="error")})

    assert judges.openscap(machine.reach, "bookworm")[2].failed == ["script"]


def test_level_2_is_looked_at_and_level_1_read_from_it():
    machine = Machine(oscap=scap(other="pass", script="fail"))
    found = judges.openscap(machine.reach, "bookworm")
    assert (found[1].share, found[2].share, len(machine.lines)) == (100, 50, 1)


@pytest.mark.parametrize("odd", [{"first": "other third"}, {"value": "4"}, {"first": "", "value": "4"}])
def test_a_level_1_that_level_2_does_not_hold_is_an_error(odd):
    text = scap(other="pass").replace(profiles(), profiles(**odd))
    with pytest.raises(LabError, match="does not hold level 1"):
        judges.openscap(Machine(oscap=text).reach, "bookworm")
