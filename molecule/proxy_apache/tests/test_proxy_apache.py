# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proxy promises, asked from outside as a browser would."""

import contextlib
import ssl
import subprocess
import time

import pytest
from web import SITE, Load, configured, reload, start

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# What the issue asks for, Apache's built-in ones and nothing else.
MODULES = {
    "core", "so", "watchdog", "http", "log_config", "logio", "version", "unixd",
    "mpm_event", "authz_core", "alias", "headers", "http2", "proxy", "proxy_http", "reqtimeout", "rewrite",
    "socache_shmcb", "ssl",
}  # fmt: skip


# --- Before anything else: what a machine shows that has just booted.


@pytest.mark.control("PRX-6")
def test_after_a_boot_the_maintenance_page_is_shown_until_it_is_taken_away(gate, browser):
    """The state lies in memory, so that a locked box can never forget that it is locked."""
    assert gate.check_output("findmnt --noheadings --output FSTYPE --target /run") == "tmpfs"
    gate.check_output("rm -rf /run/securebox")

    locked = browser.get("/")
    assert gate.check_output("/usr/local/sbin/securebox-maintenance off") == "off"
    opened = browser.get("/")

    assert (locked.status, opened.status) == (503, 200)


# --- TLS.


@pytest.mark.control("PRX-1")
@pytest.mark.parametrize("path", ["/", "/a%20b/c?x=1&y=%41"])
def test_plain_http_leads_to_https(browser, path):
    answer = browser.ask(f"http://www.{SITE}{path}")

    assert answer.status == 301
    assert answer.get("Location") == f"https://{SITE}{path}"


@pytest.mark.control("PRX-1")
@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_only_tls_1_2_and_1_3_are_spoken(browser, version, accepted):
    try:
        agreed, _ = browser.handshake(minimum_version=version, maximum_version=version)
    except OSError:
        agreed = ""

    assert bool(agreed) is accepted


@pytest.mark.control("PRX-1")
def test_tls_1_2_has_only_ciphers_with_forward_secrecy_and_authentication(browser):
    """Every suite that the proxy agrees to, found by taking away the one it chose until it refuses."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        while True:
            ciphers = ":".join(["ALL", *(f"!{cipher}" for cipher in found)])
            found.append(browser.handshake(ciphers=ciphers, maximum_version=ssl.TLSVersion.TLSv1_2)[1])

    assert sorted(found) == [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ], "the certificate has an elliptic key, so these three of the six"


@pytest.mark.control("PRX-1")
@pytest.mark.parametrize(("group", "accepted"), [("X25519", True), ("P-256", True), ("P-384", True), ("P-521", False)])
def test_only_mozillas_groups_are_agreed_to(gate, group, accepted):
    command = f"openssl s_client -connect 127.0.0.1:443 -servername {SITE} -groups {group} </dev/null"

    assert (gate.run(command).rc == 0) is accepted


@pytest.mark.control("PRX-1")
def test_no_session_tickets_are_given(gate):
    """A ticket key lives as long as Apache does: whoever gets it reads what was recorded."""
    text = gate.run(f"openssl s_client -connect 127.0.0.1:443 -servername {SITE} -tls1_2 </dev/null").stdout

    assert "Protocol  : TLSv1.2" in text
    assert "TLS session ticket" not in text


@pytest.mark.control("PRX-1")
def test_http_2_is_spoken_and_http_1_too(browser, opened):
    assert browser.get("/", "--http2").version == "HTTP/2"
    assert browser.get("/", "--http1.1").version == "HTTP/1.1"


@pytest.mark.control("PRX-1")
def test_only_the_needed_modules_are_loaded(gate):
    lines = gate.check_output("apache2ctl -M 2>/dev/null").splitlines()
    loaded = {line.split()[0].removesuffix("_module") for line in lines if line.endswith((")",))}

    assert loaded == MODULES


# --- Headers.


@pytest.mark.control("PRX-2")
@pytest.mark.parametrize(
    ("url", "options", "status"),
    [
        (f"https://{SITE}/", [], 200),
        (f"https://{SITE}/status/404", [], 404),
        (f"https://{SITE}/status/503", [], 503),
        (f"https://{SITE}/x%2Fy", [], 404),
        (f"https://{SITE}/", ["--request", "TRACE"], 405),
        (f"https://{SITE}/.well-known/acme-challenge/none", [], 404),
        ("https://other.example.org/", [], 421),
        (f"http://{SITE}/", [], 301),
        (f"http://{SITE}/.well-known/acme-challenge/none", [], 404),
    ],
)
def test_every_answer_carries_the_security_headers(browser, opened, url, options, status):
    """Errors too, whoever makes them: a page without them is the one that is attacked."""
    answer = browser.ask(url, *options)

    assert answer.status == status
    assert {name: answer.get(name) for name in HEADERS} == HEADERS
    assert "geolocation=(self)" in answer.get("Permissions-Policy")
    # What the proxy says itself needs nothing; the application's pages have the site's policy.
    applications = [f"https://{SITE}/", f"https://{SITE}/status/404", f"https://{SITE}/status/503"]
    source = "'self'" if url in applications and not options else "'none'"
    assert f"default-src {source};" in answer.get("Content-Security-Policy")
    assert len(answer.all("Content-Security-Policy")) == 1
    if SITE in url and url.startswith("https"):
        assert answer.get("Strict-Transport-Security") == "max-age=63072000"


@pytest.mark.control("PRX-2")
def test_the_applications_stricter_policy_stays_in_force(browser, opened):
    """DHIS2 forbids scripts in uploaded files by its own policy: ours stands beside it, not instead."""
    policies = browser.get("/policy").all("Content-Security-Policy")

    assert "script-src 'none'" in policies
    assert len(policies) == 2


@pytest.mark.control("PRX-2")
@pytest.mark.parametrize("path", ["/", "/status/404", "/x%2Fy"])
def test_no_version_is_told(browser, opened, path):
    answer = browser.get(path)

    assert answer.get("Server") == "Apache"
    assert answer.get("X-Powered-By") == ""
    assert "Apache/" not in answer.body


# --- What does not get through.


@pytest.mark.control("PRX-2")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unknown_names_never_reach_the_application(browser, opened, scheme):
    assert browser.ask(f"{scheme}://evil.example.net/").status == 421
    assert browser.ask(f"https://www.{SITE}/").status == 200


@pytest.mark.control("PRX-2")
def test_trace_is_refused(browser, opened):
    assert browser.get("/", "--request", "TRACE").status == 405
    assert browser.get("/", "--request", "PUT").status == 200


@pytest.mark.control("PRX-2")
@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/x", 99_000, 200), ("/x", 101_000, 413), ("/upload", 299_000, 200), ("/upload/x", 299_000, 200),
     ("/uploads", 101_000, 413), ("/upload/x", 301_000, 413)],
)  # fmt: skip
def test_a_request_carries_no_more_than_it_may(browser, opened, path, size, status):
    """Apache's own LimitRequestBody does not hold for what it passes on; this does."""
    answer = browser.get(path, "--http1.1", data=b"x" * size)

    assert answer.status == status
    assert status != 200 or answer.json["received"] == size


@pytest.mark.control("PRX-2")
def test_a_body_of_unknown_length_is_refused(browser, opened):
    options = ["--http1.1", "--header", "Transfer-Encoding: chunked"]

    assert browser.get("/x", *options, data=b"x").status == 411
    assert browser.get("/x", "--http1.1", data=b"x").status == 200


@pytest.mark.control("PRX-2")
def test_large_headers_pass_in_both_directions(browser, opened):
    """DHIS2's analytics requests and its session's headers are long."""
    asked = browser.get(f"/?dimension={'x' * 12000}", "--header", f"X-Long: {'y' * 12000}")

    assert asked.status == 200
    assert len(asked.json["headers"]["x-long"]) == 12000
    assert len(browser.get("/large").get("X-Large")) == 12000
    assert browser.get("/", "--header", f"X-Long: {'y' * 20000}").status in (400, 431)


# --- To the application.


@pytest.mark.control("ENC-6")
def test_the_application_is_spoken_to_over_tls_and_on_kept_connections(browser, opened):
    answers = [browser.get("/").json for _ in range(6)]

    assert {answer["tls"] for answer in answers} == {"TLSv1.3"}
    assert len({answer["connection"] for answer in answers}) < len(answers)


@pytest.mark.control("ENC-6")
@pytest.mark.parametrize("port", [8444, 8445], ids=["another CA", "another name"])
def test_an_application_with_a_wrong_certificate_is_not_spoken_to(gate, browser, opened, port):
    with configured(gate, "https://wiki1:8443/", f"https://wiki1:{port}/"):
        wrong = browser.get("/")
    right = browser.get("/")

    assert wrong.status in (500, 502)
    assert "Back soon" in wrong.body
    assert right.status == 200


@pytest.mark.control("PRX-2")
def test_the_application_hears_the_real_client_and_nothing_that_it_claims(browser, opened):
    claims = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil.example.net",
              "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"]  # fmt: skip
    heard = browser.get("/", *(word for claim in claims for word in ("--header", claim))).json["headers"]

    assert heard["x-forwarded-for"] == own_address(browser)
    assert heard["x-forwarded-proto"] == "https"
    assert heard["x-forwarded-host"] == SITE
    assert heard["host"] == "wiki1:8443"
    assert "forwarded" not in heard
    assert "x-real-ip" not in heard


@pytest.mark.control("PRX-2")
def test_the_log_has_the_clients_address_and_no_query(gate, browser, opened):
    """The proxy's disk is not encrypted, and queries name patients."""
    path = f"/logged-{time.time_ns()}"
    browser.get(f"{path}?name=Alice", "--referer", f"https://{SITE}/?name=Alice")
    # Apache logs after it has answered.
    line = gate.check_output(f"timeout 30 sh -c 'until grep {path} /var/log/apache2/access.log; do sleep 0.2; done'")

    assert line.startswith(own_address(browser) + " ")
    assert gate.run("grep -r Alice /var/log/apache2").rc == 1


@pytest.mark.control("ENC-6")
def test_the_public_host_can_be_preserved_where_the_certificate_has_it(gate, browser, opened):
    with configured(gate, "ProxyPreserveHost Off", "ProxyPreserveHost On"):
        covered = browser.get("/")
        uncovered = browser.ask(f"https://www.{SITE}/")

    assert covered.json["headers"]["host"] == SITE
    assert uncovered.status in (500, 502), "Apache verifies the name that it asked for"


def own_address(browser) -> str:
    words = subprocess.check_output(["ip", "route", "get", browser.address], text=True).split()
    return words[words.index("src") + 1]


# --- Maintenance.


@pytest.mark.control("PRX-6")
def test_maintenance_shows_a_page_and_tells_programs_when_to_come_back(gate, browser):
    assert gate.check_output("/usr/local/sbin/securebox-maintenance on") == "on"
    assert gate.check_output("/usr/local/sbin/securebox-maintenance status") == "on"
    # By HTTP/1.1: where an answer comes before the request was read, curl 7.88 sometimes loses it by HTTP/2.
    shown, posted = browser.get("/any?x=1"), browser.get("/api", "--http1.1", data=b"x")
    challenge = browser.ask(f"http://{SITE}/.well-known/acme-challenge/none")
    assert gate.check_output("/usr/local/sbin/securebox-maintenance off") == "off"
    taken_away = browser.get("/any")

    assert (shown.status, posted.status, taken_away.status) == (503, 503, 200)
    assert shown.get("Retry-After") == "60"
    assert shown.get("Content-Type") == "text/html; charset=utf-8"
    assert "The wiki of Example &amp; Sons" in shown.body
    assert "We are back at &lt;noon&gt;." in shown.body
    assert "default-src 'none'" in shown.get("Content-Security-Policy")
    assert {name: shown.get(name) for name in HEADERS} == HEADERS
    assert challenge.status == 404, "Let's Encrypt still finds its way"


@pytest.mark.control("PRX-6")
def test_a_dead_application_is_a_maintenance_page_and_its_return_is_noticed_at_once(wiki, browser, opened):
    wiki.check_output("systemctl stop wiki")
    dead = browser.get("/")
    start(wiki)
    alive = browser.get("/")

    assert dead.status == 503
    assert dead.get("Retry-After") == "60"
    assert "Back soon" in dead.body
    assert alive.status == 200


# --- Changes.


@pytest.mark.control("PRX-4")
def test_a_reload_fails_no_request(gate, browser, opened):
    with Load(browser) as load:
        for _ in range(5):
            reload(gate)

    print(f"{load.requests} requests")
    assert load.failures == []
    assert load.requests > 50


def shown(gate) -> str:
    """The number of the certificate that Apache shows."""
    ask = f"openssl s_client -connect 127.0.0.1:443 -servername {SITE} </dev/null 2>/dev/null"
    return gate.check_output(f"{ask} | openssl x509 -noout -serial")


@pytest.mark.control("PRX-4")
def test_a_switch_that_was_cut_off_before_apache_heard_of_it_is_finished(gate, opened):
    """The link is new and Apache shows the old one: `stays in use` would be true of the link alone."""
    right = shown(gate)
    was = gate.check_output("readlink /etc/apache2/tls/current")
    gate.check_output(
        "cd /etc/apache2/tls && mkdir store/other && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        f"-nodes -days 90 -subj /CN={SITE} -keyout store/other/site.key -out store/other/site.crt 2>/dev/null && "
        "ln -sfn store/other current"
    )
    reload(gate)
    other = shown(gate)
    gate.check_output(f"ln -sfn {was} /etc/apache2/tls/current")

    said = gate.check_output("securebox-certificate apply")

    assert other != right
    assert shown(gate) == right, said
    assert "stays in use" in gate.check_output("securebox-certificate apply")
    assert gate.run("test -e /etc/apache2/tls/store/other").rc != 0, "what is not in use is cleared away"


@pytest.mark.control("PRX-1")
@pytest.mark.parametrize("line", ["NoSuchDirective on", "SSLProxyCipherSuite NONSENSE"])
def test_a_broken_configuration_does_not_replace_a_working_one(gate, browser, play, opened, line):
    """The second one passes Apache's own configtest, and would end the running server at the next reload."""
    before = gate.check_output("sha256sum /etc/apache2/apache2.conf")
    broken = play(proxy_apache_extra_configuration=line)
    after = gate.check_output("sha256sum /etc/apache2/apache2.conf")
    reload(gate)

    assert broken.returncode != 0
    assert before == after
    assert browser.get("/").status == 200


@pytest.mark.control("PRX-1")
def test_a_good_change_of_the_configuration_is_applied(browser, play, opened):
    """The pair of the test above."""
    changed = play(proxy_apache_extra_configuration='Header always set X-Extra "50%%"')
    shown = browser.get("/").get("X-Extra")
    restored = play()

    assert (changed.returncode, restored.returncode) == (0, 0)
    assert shown == "50%"
    assert browser.get("/").get("X-Extra") == ""


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("proxy_apache_server_name", "https://wiki.example.org", "plain host name"),
        ("proxy_apache_server_name", "192.0.2.7", "plain host name"),
        ("proxy_apache_backend", "http://wiki1:8080/", "https://HOST:PORT/"),
        ("proxy_apache_backend", "https://wiki1:8443", "https://HOST:PORT/"),
        ("proxy_apache_certificate", "own", "proxy_apache_certificate_file"),
        ("proxy_apache_certificate", "selfsigned", "self_signed"),
    ],
)
def test_wrong_input_is_refused_before_the_first_change(play, variable, value, words):
    refused = play(**{variable: value})

    assert refused.returncode != 0
    assert words in refused.stdout + refused.stderr
    assert "changed=0" in refused.stdout


def test_a_reload_finds_room_for_old_and_new_workers(gate):
    """systemd's own limit is a part of the container's; with it, a reload under load could not fork."""
    assert gate.check_output("systemctl show --property TasksMax --value apache2") == "infinity"
    assert (
        gate.check_output(
            "cat /sys/fs/cgroup/pids/system.slice/apache2.service/pids.max 2>/dev/null || "
            "cat /sys/fs/cgroup/system.slice/apache2.service/pids.max"
        )
        == "max"
    )


PROFILE = "/etc/apparmor.d/proxy_apache"


def assigned(gate) -> str:
    return gate.check_output("systemctl show --property AppArmorProfile --value apache2")


@pytest.mark.control("SYS-2")
def test_apache_is_put_under_a_profile_that_can_be_compiled(gate):
    """Whether it is enforced shows only where the kernel has AppArmor: verify asks there."""
    assert "proxy_apache_start" in assigned(gate)
    assert "complain" not in gate.file(PROFILE).content_string
    gate.check_output(f"apparmor_parser --skip-kernel-load --skip-cache --quiet {PROFILE}")


# False is what YAML makes of a plain off.
@pytest.mark.parametrize("off", ["off", False])
def test_the_profile_can_only_complain_or_be_taken_away(gate, browser, play, opened, off):
    try:
        complaining = play(proxy_apache_apparmor="complain")
        assert complaining.returncode == 0, complaining.stdout
        assert gate.file(PROFILE).content_string.count(", complain)") == 2

        without = play(proxy_apache_apparmor=off)
        assert without.returncode == 0, without.stdout
        assert not gate.file(PROFILE).exists
        assert assigned(gate) == ""
        assert browser.get("/").status == 200
    finally:
        restored = play()

    assert restored.returncode == 0, restored.stdout
    assert "proxy_apache_start" in assigned(gate)
    assert "changed=0" in play().stdout
