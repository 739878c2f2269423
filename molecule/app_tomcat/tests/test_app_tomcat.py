# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application answers over TLS, keeps its data in its home, and can do nothing else. Asked from another machine."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[1]
CA, HOME, URL = "/etc/ssl/internal-ca.crt", "/var/lib/registry", "https://desk:8443"


@pytest.fixture(scope="module")
def desk(on):
    return on("desk")


@pytest.fixture(scope="module")
def shelf(on):
    return on("shelf")


def curl(host, path: str, *options: str) -> str:
    words = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", CA, *options, URL + path]
    return host.check_output(shlex.join(words))


def wait(host) -> None:
    ask = f"curl --silent --fail --output /dev/null --cacert {CA} {URL}/api/ping"
    host.check_output(f"timeout 240 sh -c 'until {ask}; do sleep 1; done'")


def pid(host) -> str:
    return host.check_output("systemctl show --property MainPID --value tomcat10")


@pytest.mark.control("APP-1", "ENC-6")
def test_it_answers_over_tls_with_its_own_certificate(shelf):
    """From the proxy's side of the wire: the name and the CA are checked."""
    assert curl(shelf, "/api/ping") == "pong"
    shelf.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Internal CA' "
        "-keyout /tmp/other.key -out /tmp/other.crt"
    )
    # curl would look among the system's CAs too.
    stranger = "--cacert /tmp/other.crt --capath /nowhere"
    assert shelf.run(f"curl --silent --max-time 10 {stranger} {URL}/api/ping").rc == 60


@pytest.mark.control("ENC-6")
@pytest.mark.parametrize(("version", "spoken"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_only_current_tls_is_spoken(shelf, version, spoken):
    answer = shelf.run(f"sh -c 'openssl s_client -connect desk:8443 {version} -cipher ALL:@SECLEVEL=0 </dev/null'")

    assert ("Cipher is (NONE)" not in answer.stdout and answer.rc == 0) is spoken


@pytest.mark.control("ENC-6")
def test_the_database_is_reached_over_tls(shelf):
    status = json.loads(curl(shelf, "/api/status"))

    assert status["database_tls"] is True
    assert status["database_tls_version"] == "TLSv1.3"


@pytest.mark.control("NET-7")
def test_it_listens_on_its_one_address_only(desk, lab):
    """No plain port, none for shutting down, none on every address."""
    # An interrupted `ss` says nothing.
    said = desk.check_output("timeout 60 sh -c 'until ss -ltnpH | grep .; do sleep 0.5; done'")
    listening = re.findall(r"\s(\S+):(\d+)\s.*\"java\"", said)

    assert listening == [(f"[::ffff:{lab.machines['desk'].address}]", "8443")]


@pytest.mark.control("APP-1")
@pytest.mark.parametrize("path", ["/no/such/page", "/[", "/%2e%2e/"])
def test_errors_do_not_tell_the_version(shelf, path):
    answer = curl(shelf, path, "--include", "--globoff", "--path-as-is")

    assert re.match(r"HTTP/1.1 4\d\d", answer)
    assert not re.search(r"tomcat|apache|/10\.", answer, re.IGNORECASE)


@pytest.mark.control("APP-1")
def test_brackets_in_a_query_are_let_through(shelf):
    """DHIS2's own pages ask this way."""
    assert curl(shelf, "/api/ping?fields=id,groups[id,name]&filter={a}|b", "--globoff") == "pong"


@pytest.mark.control("APP-1")
def test_sessions_are_bound_to_https_and_this_site(shelf):
    cookie = re.search(r"(?i)^set-cookie: (.*)$", curl(shelf, "/api/session", "--include"), re.MULTILINE).group(1)

    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.control("APP-1")
def test_only_the_proxys_word_about_the_client_is_believed(shelf, desk, lab):
    """Otherwise anybody could choose the address that the application sees and logs."""
    claim = ["--header", "X-Forwarded-For: 198.51.100.9"]

    assert json.loads(curl(shelf, "/api/status", *claim))["client"] == "198.51.100.9"
    assert json.loads(curl(desk, "/api/status", *claim))["client"] == lab.machines["desk"].address


@pytest.mark.control("APP-1")
def test_rows_and_uploads_outlive_a_restart(shelf, desk):
    """What was acknowledged is there afterwards: the row in the database, the file in the application's home."""
    row = json.loads(curl(shelf, "/api/entries", "--data", "Zoë"))["id"]
    name = json.loads(curl(shelf, "/api/uploads", "--form", "file=@/etc/services"))["id"]

    desk.check_output("systemctl restart tomcat10")
    wait(desk)

    assert ("Zoë", int(row)) in [(entry["value"], entry["id"]) for entry in json.loads(curl(shelf, "/api/entries"))]
    assert name in json.loads(curl(shelf, "/api/uploads"))
    assert desk.file(f"{HOME}/files/{name}").content == shelf.file("/etc/services").content


@pytest.mark.control("ENC-1", "APP-1")
def test_an_upload_on_its_way_lies_where_the_data_do(shelf, desk):
    """The home is on an encrypted volume, the system's disk is not: nothing of an upload may pass through it."""
    shelf.check_output("head -c 3000000 /dev/urandom > /tmp/slow")
    sending = f"curl --silent --cacert {CA} --limit-rate 150k --form file=@/tmp/slow {URL}/api/uploads"
    shelf.check_output(f"nohup {sending} >/tmp/slow.answer 2>&1 </dev/null & true")

    # It takes twenty seconds; files that are closed meanwhile make find fail.
    spooled, end = [], time.monotonic() + 20
    while not spooled and time.monotonic() < end:
        opened = desk.run(f"find /proc/{pid(desk)}/fd -printf '%l\\n'").stdout.split("\n")
        spooled = [path for path in opened if "/upload_" in path or path.startswith(("/tmp", "/var/cache/tomcat10"))]
        time.sleep(0.5)
    assert spooled, opened
    assert [path for path in spooled if not path.startswith(f"{HOME}/")] == []
    assert f"java.io.tmpdir={HOME}/tmp" in desk.check_output(f"tr '\\0' ' ' < /proc/{pid(desk)}/cmdline")
    shelf.check_output("timeout 120 sh -c 'until grep -q id /tmp/slow.answer; do sleep 0.5; done'")


@pytest.mark.control("APP-1")
def test_tomcat_can_write_to_its_home_and_nowhere_else(desk):
    """Whoever breaks the application can neither change it, nor Tomcat, nor leave anything where it would be run."""

    def touch(directory: str) -> int:
        inside = f"nsenter --target {pid(desk)} --mount runuser -u tomcat -- touch {directory}/probe"
        return desk.run(f"{inside} && rm -f {directory}/probe").rc

    program = desk.check_output("ls -d /opt/app_tomcat/*")

    assert touch(HOME) == 0
    for directory in (program, f"{program}/WEB-INF", "/etc/tomcat10", "/var/lib/tomcat10/webapps", "/usr/local/bin"):
        assert touch(directory) != 0, directory


@pytest.mark.control("APP-1")
def test_the_settings_are_tomcats_alone(desk):
    """The database's password is in there."""
    assert desk.run(f"runuser -u nobody -- cat {HOME}/dhis.conf").rc != 0
    assert desk.run(f"runuser -u tomcat -- cat {HOME}/dhis.conf").rc == 0
    assert desk.file(f"{HOME}/dhis.conf").mode == 0o600


@pytest.mark.control("APP-1")
def test_the_process_has_no_rights_to_give_away(desk):
    status = desk.file(f"/proc/{pid(desk)}/status").content_string

    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    assert "password" not in desk.file(f"/proc/{pid(desk)}/cmdline").content_string


@pytest.mark.control("APP-1")
def test_the_heap_is_that_of_the_formula(desk):
    """1200 MiB, of which 768 are not the heap's."""
    assert "-Xmx432m" in desk.file(f"/proc/{pid(desk)}/cmdline").content_string.split("\0")


def test_what_was_asked_is_not_logged(shelf, desk):
    """Queries name people; the log is not on the encrypted volume. That there was a request is logged."""
    curl(shelf, "/api/ping?filter=name:eq:Canary")
    last = f"/api/after-the-canary-{time.time_ns()}"
    curl(shelf, last, "--output", "/dev/null")

    # Tomcat writes when it has collected some, in this order.
    written = f"grep -qs {last} /var/log/tomcat10/access*"
    desk.check_output(f"timeout 120 sh -c 'until {written}; do sleep 0.2; done'")
    log = desk.check_output("cat /var/log/tomcat10/access*")
    assert "/api/ping" in log
    assert "Canary" not in log


@pytest.mark.control("APP-1")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"app_tomcat_war_sha256": "0" * 64}, "checksum"),
        ({"app_tomcat_war_sha256": ""}, "app_tomcat_war_sha256"),
        ({"app_tomcat_war_file": "/etc/hostname"}, "exactly one of"),
        ({"app_tomcat_war_url": "", "app_tomcat_war_file": "/no/such.war"}, "not a readable file"),
        ({"app_tomcat_war_url": "", "app_tomcat_war_file": "/etc/hostname"}, "app_tomcat_war_sha256 is"),
        ({"app_tomcat_https_address": "0.0.0.0"}, "every address"),
    ],
    ids=["wrong sum", "no sum", "both", "no file", "file with another sum", "all addresses"],
)
def test_what_is_wrong_is_refused_and_the_running_version_goes_on(shelf, desk, wrong, says, play):
    before = (pid(desk), desk.check_output("ls /opt/app_tomcat /var/cache"))

    refused = play(**wrong)

    assert refused.returncode != 0
    assert says in refused.stdout + refused.stderr
    assert "changed=0" in refused.stdout
    assert (pid(desk), desk.check_output("ls /opt/app_tomcat /var/cache")) == before
    assert curl(shelf, "/api/ping") == "pong"


def test_a_cut_off_run_and_a_new_certificate_are_finished_by_the_next(desk, play):
    """Nothing remembers that a file was changed; the running Tomcat is compared with it. Once is enough."""
    before = pid(desk)
    desk.check_output("touch /etc/ssl/internal.crt")

    restarted = play()

    assert restarted.returncode == 0, restarted.stdout
    assert pid(desk) != before
    before = pid(desk)
    assert "changed=0" in play().stdout
    assert pid(desk) == before


def test_without_its_database_it_does_not_pretend(desk, shelf):
    """As DHIS2: no database, no application. What is down is told as down."""
    shelf.check_output("systemctl stop 'postgresql@*'")
    desk.check_output("systemctl restart tomcat10")
    try:
        desk.check_output("timeout 240 sh -c 'until ss -ltn | grep -q :8443; do sleep 0.5; done'")
        status = curl(shelf, "/api/ping", "--output", "/dev/null", "--write-out", "%{http_code}")
    finally:
        shelf.check_output("systemctl start postgresql@15-main")
        desk.check_output("systemctl restart tomcat10")

    assert status == "404"
    wait(desk)


def test_the_service_may_have_as_many_tasks_as_its_machine(desk):
    """systemd's own limit is a part of the container's: threads of Tomcat would run out first."""
    assert desk.check_output("systemctl show --property TasksMax --value tomcat10") == "infinity"


@pytest.mark.control("SYS-2")
def test_tomcat_has_a_profile_that_can_complain_or_be_taken_away(desk, shelf, play):
    """Files and unit only: whether it is enforced shows where the kernel has AppArmor, and verify asks there."""
    profile, unit = "/etc/apparmor.d/app_tomcat", "systemctl show --property AppArmorProfile --value tomcat10"

    assert "app_tomcat_start" in desk.check_output(unit)
    desk.check_output(f"apparmor_parser --skip-kernel-load --skip-cache --quiet {profile}")
    try:
        complaining = play(app_tomcat_apparmor="complain")
        assert complaining.returncode == 0, complaining.stdout
        assert desk.file(profile).content_string.count(", complain)") == 2

        without = play(app_tomcat_apparmor="off")
        assert without.returncode == 0, without.stdout
        assert not desk.file(profile).exists
        assert desk.check_output(unit) == ""
        assert curl(shelf, "/api/ping") == "pong"
    finally:
        restored = play()

    assert restored.returncode == 0, restored.stdout
    assert "app_tomcat_start" in desk.check_output(unit)
    assert "changed=0" in play().stdout
