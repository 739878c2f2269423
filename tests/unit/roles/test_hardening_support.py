# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""hardening-support: what is in use, until when it has support, and whether a restart is due; on any day."""

from __future__ import annotations

import datetime
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).parents[3] / "roles/hardening/files"
TABLE = json.loads((FILES / "usr/local/share/hardening/support.json").read_text(encoding="utf-8"))
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'
JAMMY = 'NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian\n'
WRITTEN = "2026-11-21"


@pytest.fixture(scope="module")
def program():
    source = FILES / "usr/local/sbin/hardening_support.py"
    spec = importlib.util.spec_from_file_location("hardening_support", source)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


@pytest.fixture
def machine(program, tmp_path):
    """A server with Debian 12 and its kernel, unless a test says otherwise."""

    class Machine(program.Machine):
        container = False
        running = "6.1.0-39-amd64"
        build = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.148-1 (2025-08-26)"
        state = "running"
        boot_id = "b1"

        def __init__(self) -> None:
            super().__init__(str(tmp_path))
            self.packages = ["base-files 12.4"]
            self.failed: list[str] = []
            self.said: dict[str, str] = {}
            self.put("etc/os-release", BOOKWORM)
            self.put(program.TABLE, json.dumps(TABLE))
            self.kernel(self.running)

        def put(self, path: str, text: str) -> None:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

        def kernel(self, *names: str) -> None:
            for name in names:
                self.put(f"boot/vmlinuz-{name}", "")

        def read(self, path: str) -> str | None:
            return f"{self.boot_id}\n" if path.endswith("/boot_id") else super().read(path)

        def run(self, *argv, timeout=0):
            words = " ".join(argv)
            if argv[0] == "dpkg":
                return program.Done(0 if numbers(argv[2]) > numbers(argv[4]) else 1, "")
            if argv[0] == "systemd-detect-virt":
                return program.Done(0 if self.container else 1, "")
            if argv[0] == "dpkg-query":
                rows = ["\t".join(["installed", *row.split(), "misc"][:4]) for row in self.packages]
                return program.Done(0, "\n".join(["config-files\tpostgresql-13\t13.9\tdatabase", *rows]))
            failed = "\n".join(f"{unit} loaded failed failed {unit}" for unit in self.failed)
            answers = {"uname -r": self.running, "uname -v": self.build, "systemctl list-units": failed,
                       "systemctl is-system-running": self.state, **self.said}  # fmt: skip
            return next((program.Done(0, out) for start, out in answers.items() if words.startswith(start)),
                        program.Done(127, ""))  # fmt: skip

        def look(self, day: str = WRITTEN, warn: int | None = None) -> dict:
            return program.look(self, datetime.date.fromisoformat(day), warn)

        def states(self, day: str = WRITTEN) -> dict[str, str]:
            return {entry["label"]: entry["state"] for entry in self.look(day)["support"]}

        def text(self, label: str, day: str = WRITTEN) -> str:
            return next(entry["text"] for entry in self.look(day)["support"] if entry["label"] == label)

    return Machine()


# -- the table -----------------------------------------------------------------------------------------------------


def test_the_table_is_sound():
    """It is data that people edit: every day is one, every product says where its days come from."""
    assert datetime.date.fromisoformat(TABLE["written"])
    for part in [*TABLE["releases"].values(), *TABLE["products"].values()]:
        assert part["name"] and part["by"] and part["source"].startswith("https://")
    for release in TABLE["releases"].values():
        for cycle in release["cycles"].values():
            days = [cycle["until"], *([cycle["extended"]] if "extended" in cycle else [])]
            assert days == sorted(map(str, map(datetime.date.fromisoformat, days)))
            assert "extended" not in cycle or release["extended_by"]
    for product in TABLE["products"].values():
        re.compile(product["packages"])
        for end in product["cycles"].values():
            assert end is None or datetime.date.fromisoformat(end)


def test_the_table_knows_the_releases_that_the_role_knows():
    text = (FILES.parent / "vars/main/subjects.yml").read_text(encoding="utf-8")
    listed = re.search(r"^__hardening_releases: \[(.*)\]", text, re.M)[1].split(", ")
    assert listed
    for name in listed:
        system, version = name.lower().split("_")
        assert any(cycle.split(".")[0] == version for cycle in TABLE["releases"][system]["cycles"]), name


# -- what is in use ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "label"),
    [
        ("postgresql-15 15.14-0+deb12u1", "PostgreSQL 15"),
        ("mariadb-server 1:10.11.14-0+deb12u2", "MariaDB 10.11"),
        ("mariadb-server-10.6 1:10.6.22-0ubuntu0.22.04.1", "MariaDB 10.6"),
        ("openjdk-17-jre-headless 17.0.16+8-1~deb12u1", "Java 17"),
        ("temurin-21-jre 21.0.8.0.0+9-0", "Java 21"),
        ("tomcat10 10.1.34-0+deb12u2", "Tomcat 10.1"),
        ("tomcat9 9.0.70-2", "Tomcat 9.0"),
        ("php8.2-common 8.2.29-1~deb12u1", "PHP 8.2"),
        ("lxd 5.0.2-5", "LXD 5.0"),
    ],
)
def test_a_package_shows_what_is_in_use(machine, package, label):
    machine.packages = [package]
    assert list(machine.states()) == ["Debian 12", label]


@pytest.mark.parametrize(
    "package",
    [
        "postgresql-client-15 15.14-0",
        "postgresql-15-pgaudit 1.7",
        "libtomcat9-java 9.0.70-2",
        "mariadb-client 1:10.11.14",
        "php-common 2:93",
        "lxd 1:0.10",
    ],
)
def test_what_is_no_server_is_not_counted(machine, package):
    """A client, an extension, a library, and Ubuntu's empty package that leads to the snap."""
    machine.packages = [package]
    assert list(machine.states()) == ["Debian 12"]


def test_removed_packages_are_not_in_use(machine):
    assert "PostgreSQL 13" not in machine.states()


def test_two_versions_are_two_lines(machine):
    """An old cluster that was left over gets no attention otherwise."""
    machine.packages = ["postgresql-15 15.14", "postgresql-17 17.6", "tomcat10 10.1.3", "tomcat10-common 10.1.3"]
    assert list(machine.states()) == ["Debian 12", "PostgreSQL 15", "PostgreSQL 17", "Tomcat 10.1"]


def test_a_snap_is_in_use_too(machine):
    machine.put("snap/lxd/current/meta/snap.yaml", "name: lxd\nversion: '5.21.4-8a3cf61'\n")
    assert "supported until 2029-06-01 (Canonical)" in machine.text("LXD 5.21")


# -- until when ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "state"),
    [("2028-01-01", "ok"), ("2028-01-02", "ends_soon"), ("2028-06-30", "ends_soon"), ("2028-07-01", "ended")],
)
def test_the_last_day_is_still_supported(machine, day, state):
    assert machine.states(day)["Debian 12"] == state


def test_who_supports_a_release_changes_with_the_day(machine):
    assert machine.text("Debian 12", "2026-07-11").endswith(
        "supported until 2028-06-30 (the Debian security team until 2026-07-11, then Debian LTS)"
    )
    assert machine.text("Debian 12", "2026-07-12").endswith("supported until 2028-06-30 (Debian LTS)")


def test_a_package_of_the_distribution_is_supported_as_long_as_the_release(machine):
    """The project's own end is said, and warned of before it comes; after it, the distribution's counts."""
    machine.packages = ["postgresql-15 15.14-0+deb12u1"]
    assert machine.look()["attention"] == []
    assert machine.text("PostgreSQL 15") == (
        "PostgreSQL 15: supported until 2028-06-30 (Debian LTS); the project's own support ends 2027-11-11"
    )
    assert machine.look("2027-11-01")["attention"] == [
        "PostgreSQL 15: supported until 2028-06-30 (Debian LTS); the project's own support ends 2027-11-11, in 10 days"
    ]
    assert machine.look("2027-12-01")["attention"] == []
    assert "own support ended 2027-11-11" in machine.text("PostgreSQL 15", "2027-12-01")


@pytest.mark.parametrize(
    "package",
    ["postgresql-14 14.19-1.pgdg120+1", "php8.1-common 8.1.33-1+0~20250703.80+deb.sury.org~1", "temurin-11-jre 11.0"],
)
def test_a_package_of_the_project_itself_is_supported_by_the_project(machine, package):
    machine.packages = [package]
    [system, entry] = machine.look("2027-12-01")["support"]
    assert (system["state"], entry["state"], entry["of_release"]) == ("ok", "ended", False)
    assert machine.look("2027-12-01")["attention"] == [entry["text"]]
    assert "OUT OF SUPPORT since" in entry["text"]


def test_no_announced_end_is_no_end(machine):
    machine.packages = ["tomcat10 10.1.34-0+deb12u2"]
    assert machine.text("Tomcat 10.1") == "Tomcat 10.1: supported until 2028-06-30 (Debian LTS)"
    tomcat = {**TABLE["products"]["tomcat"], "upstream_version": "."}
    machine.put("usr/local/share/hardening/support.json", json.dumps({**TABLE, "products": {"tomcat": tomcat}}))
    assert machine.text("Tomcat 10.1") == "Tomcat 10.1: supported by the Apache Tomcat project, no end announced"


def test_what_ends_with_the_release_is_said_once(machine):
    machine.packages = ["postgresql-16 16.1", "openjdk-21-jre-headless 21.0", "temurin-25-jre 25.0"]
    # PostgreSQL 16's own end is near on that day too, but comes later.
    assert machine.look("2028-06-01")["support"][1]["upstream"]["state"] == "ends_soon"
    [line] = [text for text in machine.look("2028-06-01")["attention"] if "Debian 12" in text]
    assert line == "Debian 12: supported until 2028-06-30, 29 days left (Debian LTS); with it PostgreSQL 16, Java 21"
    assert [text for text in machine.look("2028-06-01")["attention"] if text.startswith(("Java", "PostgreSQL"))] == []


def test_what_the_table_does_not_know_is_not_ok(machine):
    machine.packages = ["postgresql-42 42.1.pgdg13+1"]
    assert machine.states()["PostgreSQL 42"] == "unknown"
    machine.put("etc/os-release", 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="14"\n')
    machine.packages = ["postgresql-18 18.1-1"]
    assert set(machine.states().values()) == {"unknown"}
    [line] = machine.look()["attention"]
    assert line.startswith("Debian 14: not in the table of 2026-11-21; a newer version of the collection may know it")
    assert line.endswith("; with it PostgreSQL 18")


def test_a_newer_version_of_the_distribution_needs_no_line_in_the_table(machine):
    machine.packages = ["postgresql-42 42.1-0+deb12u1"]
    assert machine.text("PostgreSQL 42") == "PostgreSQL 42: supported until 2028-06-30 (Debian LTS)"


@pytest.mark.parametrize(("package", "why"), [("tomcat9 9.0.58-1 universe/java", "universe"),
                                              ("openjdk-25-jre-headless 25~bpo12+1", "backports")])  # fmt: skip
def test_nobody_promises_updates_of_these(machine, package, why):
    machine.put("etc/os-release", JAMMY)
    machine.packages = [package]
    found = machine.look()
    assert found["support"][1]["state"] == "unpromised"
    assert "nobody promises" in found["attention"][0] and why in found["attention"][0]
    machine.put("etc/apt/sources.list.d/ubuntu-esm-apps.sources", "")
    assert machine.look()["support"][1]["state"] == ("ok" if why == "universe" else "unpromised")


def test_the_time_of_warning_is_the_sites(machine):
    assert machine.states("2028-01-01")["Debian 12"] == "ok"
    machine.put("etc/hardening/support.json", '{"warn_days": 365}')
    assert machine.states("2028-01-01")["Debian 12"] == "ends_soon"
    assert machine.look("2028-01-01", 30)["support"][0]["state"] == "ok"


def test_an_old_table_says_so(machine):
    assert machine.look("2027-12-26")["attention"] == []
    assert "the table of support is of 2026-11-21" in machine.look("2027-12-27")["attention"][-1]


# -- restart -------------------------------------------------------------------------------------------------------


def test_nothing_waits_for_a_restart(machine):
    assert machine.look()["restart"] == {
        "needed": False,
        "reasons": [],
        "kernel": {"running": "6.1.0-39-amd64", "newest": "6.1.0-39-amd64"},
    }


@pytest.mark.parametrize(
    ("running", "installed", "needed"),
    [
        ("6.1.0-9-amd64", "6.1.0-10-amd64", True),
        ("6.1.0-39-cloud-amd64", "6.1.0-39-amd64", False),
        ("6.1.0-39-cloud-amd64", "6.1.0-40-amd64", True),
        ("6.12.48+deb13-amd64", "6.12.57+deb13-amd64", True),
        ("5.15.0-83-generic", "5.15.0-79-generic", False),
        ("6.1.0-39-amd64", "6.1.0-40-amd64.dpkg-new", False),
    ],
)
def test_a_newer_kernel_needs_a_restart(machine, running, installed, needed):
    machine.running, machine.build = running, "#1"
    machine.kernel(running, installed)
    (machine.root / "boot/vmlinuz-6.1.0-39-amd64").unlink(missing_ok=running == "6.1.0-39-amd64")
    found = machine.look()
    assert found["restart"]["needed"] is needed
    assert found["attention"] == ([f"needs restart: kernel {running} runs, {installed} is installed"] if needed else [])


def test_a_kernel_that_kept_its_name_needs_a_restart_too(machine):
    machine.packages = ["linux-image-6.1.0-39-amd64 6.1.148-1"]
    assert not machine.look()["restart"]["needed"]
    machine.packages = ["linux-image-6.1.0-39-amd64 6.1.148-2"]
    [reason] = machine.look()["restart"]["reasons"]
    assert reason == "kernel 6.1.0-39-amd64 runs as of 6.1.148-1, 6.1.148-2 is installed"


@pytest.mark.parametrize(("status", "needed"), [("0", False), ("1", False), ("2", True), ("3", True)])
def test_needrestart_is_believed_where_it_is(machine, status, needed):
    machine.said["needrestart -b -k"] = f"NEEDRESTART-VER: 3.6\nNEEDRESTART-KSTA: {status}\n"
    assert machine.look()["restart"]["needed"] is needed


@pytest.mark.parametrize("container", [False, True])
def test_an_update_may_ask_for_a_restart(machine, container):
    machine.container = container
    machine.put("run/reboot-required", "*** System restart required ***\n")
    machine.put("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n")
    assert machine.look()["attention"] == ["needs restart: asked for by libc6, dbus"]


def test_a_container_has_no_kernel_of_its_own(machine):
    machine.container = True
    machine.kernel("9.9.0-1-amd64")
    found = machine.look()
    assert (found["restart"]["needed"], found["restart"]["kernel"], found["boot"]) == (False, None, None)


# -- boots ---------------------------------------------------------------------------------------------------------


def boot(program, machine, number: int, kernel: str = "6.1.0-39-amd64", state: str = "running", failed=()):
    machine.boot_id, machine.running, machine.state, machine.failed = f"b{number}", kernel, state, list(failed)
    return program.record_boot(machine, f"2026-11-{number % 28 + 1:02}T04:00:00Z")


def test_a_boot_after_a_kernel_update_is_noted(program, machine):
    assert boot(program, machine, 1)["previous_kernel"] is None
    entry = boot(program, machine, 2, "6.1.0-40-amd64")
    assert (entry["kernel"], entry["previous_kernel"]) == ("6.1.0-40-amd64", "6.1.0-39-amd64")
    assert entry["completed"] and entry["state"] == "running" and entry["failed"] == []
    machine.kernel("6.1.0-40-amd64")
    assert machine.look()["boot"]["recorded"]
    assert machine.look()["attention"] == []


def test_units_that_a_boot_left_failed_are_said_until_they_are_mended(program, machine):
    boot(program, machine, 1)
    boot(program, machine, 2, "6.1.0-40-amd64", "degraded", ["lxd.service", "x.timer"])
    machine.kernel("6.1.0-40-amd64")
    machine.failed = ["lxd.service", "later.service"]
    assert machine.look()["attention"] == [
        "the first boot of kernel 6.1.0-40-amd64 on 2026-11-03T04:00:00Z left failed: lxd.service",
        "failed: later.service; look at: systemctl status later.service",
    ]
    machine.failed = []
    assert machine.look()["attention"] == []


def test_units_of_a_container_that_failed_are_said_too(program, machine):
    """It has no boots of its own to note."""
    machine.container = True
    machine.failed = ["aidecheck.service", "certbot.service"]
    found = machine.look()
    assert found["failed"] == ["aidecheck.service", "certbot.service"]
    assert found["attention"] == [
        "failed: aidecheck.service, certbot.service; look at: systemctl status aidecheck.service"
    ]
    machine.failed = []
    assert machine.look()["attention"] == []


def test_what_was_noted_of_a_boot_stays(program, machine):
    """The role starts the unit again with every change of it."""
    boot(program, machine, 1, state="degraded", failed=["a.service"])
    assert boot(program, machine, 1)["failed"] == ["a.service"]
    assert len(program.boots(machine)) == 1


def test_a_boot_that_does_not_end_is_noted_as_such_and_again_when_it_has(program, machine):
    assert boot(program, machine, 1, state="")["state"] == "starting"
    assert "did not come to its end: starting" in machine.look()["attention"][0]
    assert boot(program, machine, 1)["completed"]
    assert len(program.boots(machine)) == 1


def test_the_last_twenty_boots_are_kept(program, machine):
    for number in range(1, 26):
        boot(program, machine, number)
    assert [entry["boot_id"] for entry in program.boots(machine)] == [f"b{number}" for number in range(6, 26)]


@pytest.mark.parametrize("broken", ["", "{", '{"a": 1}', "[1]"])
def test_a_damaged_record_begins_anew(program, machine, broken):
    machine.put(program.BOOTS, broken)
    assert machine.look()["boot"] == {"recorded": False}
    boot(program, machine, 1)
    assert len(program.boots(machine)) == 1


# -- the command line ----------------------------------------------------------------------------------------------


def test_words_and_exit_codes(program, machine, capsys):
    machine.packages = ["postgresql-15 15.14-0+deb12u1"]
    assert program.main(["--date", WRITTEN], machine) == 0
    said = capsys.readouterr().out
    assert "PostgreSQL 15: supported until 2028-06-30 (Debian LTS)" in said
    assert "Restart: not needed" in said
    assert program.main(["--date", "2028-08-01"], machine) == 1
    assert "ATTENTION  Debian 12: OUT OF SUPPORT since 2028-06-30 (Debian LTS); with it PostgreSQL 15" in (
        capsys.readouterr().out
    )
    assert program.main(["--json", "--date", WRITTEN], machine) == 0
    assert json.loads(capsys.readouterr().out)["attention"] == []


@pytest.mark.parametrize("spoil", ["table", "packages", "config"])
def test_what_cannot_be_told_is_no_all_clear(program, machine, capsys, spoil):
    if spoil == "table":
        (machine.root / program.TABLE).unlink()
    elif spoil == "packages":
        machine.run = lambda *argv, timeout=0: program.Done(127, "")
    else:
        machine.put(program.CONFIG, "{")
    assert program.main(["--json"], machine) == 2
    printed = capsys.readouterr()
    assert (printed.out, "the role hardening writes" in printed.err) == ("", True)


def test_it_runs_where_python_is_old():
    """Ubuntu 22.04 has Python 3.10, and the machine has nothing beside its standard library."""
    text = (FILES / "usr/local/sbin/hardening_support.py").read_text(encoding="utf-8")
    assert set(re.findall(r"^(?:import|from) (\w+)", text, re.M)) <= set(sys.stdlib_module_names)
    assert "datetime.UTC" not in text
