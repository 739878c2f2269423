# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate is obtained, renewed and exchanged, and the site answers all the while."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from web import SITE, Load

NAMES = [SITE, f"www.{SITE}"]
# What certbot.timer starts twice a day. A refused nonce fails it, as it may; the next time it tries again.
TIMER = "for try in 1 2 3 4 5 6; do systemctl start certbot.service && break; done"
RENEWAL = "/etc/letsencrypt/renewal/site.conf"
TLS = "/etc/apache2/tls"
NOW = "/usr/local/sbin/securebox-letsencrypt renew"


def served(browser):
    return x509.load_der_x509_certificate(browser.certificate())


def source(gate):
    """Where the certificate in use comes from, as the command on the machine says it."""
    return gate.check_output("/usr/local/sbin/securebox-certificate status").split()[1].rstrip(",")


@pytest.mark.control("PRX-4")
def test_the_site_shows_the_authoritys_certificate_for_all_its_names(gate, browser):
    certificate = served(browser)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert "Pebble" in certificate.issuer.rfc4514_string()
    assert names.get_values_for_type(x509.DNSName) == NAMES
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert certificate.public_key().curve.name == "secp256r1"
    assert source(gate) == "letsencrypt"


@pytest.mark.control("PRX-4")
def test_another_run_issues_nothing_and_changes_nothing(play, issued):
    """Five identical certificates a week are all that Let's Encrypt gives."""
    before = issued()
    again = play()

    assert before[0] > 0
    assert "changed=0" in again.stdout
    assert issued() == before


@pytest.mark.control("PRX-4")
def test_certbots_own_timer_renews_only_in_the_last_third(gate, browser, issued):
    """Certificates become shorter, so the date is computed from each certificate's own life."""
    certificate = served(browser)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    before = issued()
    gate.check_output(TIMER)

    line = gate.check_output(f"grep renew_before_expiry {RENEWAL}")
    assert line == f"renew_before_expiry = {int(life.total_seconds()) // 3 // 3600} hours"
    assert issued() == before
    assert gate.service("certbot.timer").is_enabled


@pytest.mark.control("PRX-4")
def test_the_last_third_makes_the_timer_renew(gate, browser, issued):
    """The pair of the test above: with more than its life as the margin, every certificate is due."""
    before, old = issued(), served(browser).serial_number
    gate.check_output(f"sed -i 's/^renew_before_expiry.*/renew_before_expiry = 5000 days/' {RENEWAL}")
    gate.check_output(TIMER)

    # Of the authority's answers a fifth is refused on purpose: one that is lost after the issuing costs a second one.
    assert before[0] < issued()[0] <= before[0] + 2
    assert served(browser).serial_number != old
    assert "5000 days" not in gate.check_output(f"head -n 1 {RENEWAL}"), "computed anew"


@pytest.mark.control("PRX-4")
def test_a_renewal_fails_no_request(gate, browser):
    with Load(browser) as load:
        gate.check_output(f"{NOW} && sleep 2")

    print(f"{load.requests} requests")
    assert load.failures == []
    assert load.requests > 50
    assert len(load.certificates) == 2, "the old one before, the new one after"


@pytest.mark.control("PRX-4", "PRX-6")
def test_maintenance_stops_no_renewal(gate, browser):
    gate.check_output("/usr/local/sbin/securebox-maintenance on")
    status, old = browser.get("/").status, served(browser).serial_number
    renewed = gate.run(NOW)
    gate.check_output("/usr/local/sbin/securebox-maintenance off")

    assert (status, renewed.rc) == (503, 0)
    assert served(browser).serial_number != old


@pytest.mark.control("PRX-4")
def test_a_failed_renewal_leaves_the_old_certificate_in_use(gate, browser):
    old = browser.certificate()
    route = "$(getent ahostsv4 authority | cut -d ' ' -f 1 | head -n 1)"
    gate.check_output(f"ip route add prohibit {route}")
    failed = gate.run(NOW)
    kept = browser.certificate()
    gate.check_output(f"ip route del prohibit {route}")
    succeeded = gate.run(NOW)

    assert failed.rc != 0
    assert kept == old
    assert succeeded.rc == 0
    assert browser.certificate() != old


@pytest.mark.control("PRX-4")
def test_the_watch_fails_when_few_days_are_left(gate, play):
    """Let's Encrypt sends no mails any more: the box has to notice by itself."""
    watch = "systemctl start securebox-certificate-check.service"
    fine = gate.run(watch)
    play(proxy_apache_certificate_warn_days=3000)
    late = gate.run(watch)
    # The unit has ended, but its words may still be on their way.
    gate.check_output("journalctl --sync")
    words = gate.check_output("journalctl --unit securebox-certificate-check.service --output cat --lines 20")
    play()

    assert (fine.rc, late.rc) == (0, 1)
    assert "fewer than 3000" in words
    assert gate.run(watch).rc == 0
    assert gate.service("securebox-certificate-check.timer").is_enabled
    assert gate.service("securebox-certificate-check.timer").is_running


@pytest.mark.control("PRX-4")
def test_the_watch_asks_the_running_server(gate):
    """A renewed file that Apache never read is an expired site."""
    other = f"{TLS}/store/letsencrypt-other"
    gate.check_output(
        f"mkdir {other} && cp {TLS}/self_signed.crt {other}/site.crt && cp {TLS}/self_signed.key {other}/site.key"
    )
    gate.check_output(f"cp -a {TLS}/current /root/current.kept && ln -sfn store/letsencrypt-other {TLS}/current")
    unread = gate.run("/usr/local/sbin/securebox-certificate check")
    gate.check_output(f"rm -r {TLS}/current {other} && mv /root/current.kept {TLS}/current")

    assert unread.rc == 1
    assert "is not" in unread.stderr
    assert gate.run("/usr/local/sbin/securebox-certificate check").rc == 0


@pytest.mark.control("PRX-4")
def test_a_name_that_leads_elsewhere_costs_no_order(play, issued):
    before = issued()
    refused = play(letsencrypt_domains=[*NAMES, "absent.example.org"])

    assert refused.returncode != 0
    assert "do not lead to this web server: absent.example.org" in " ".join((refused.stdout + refused.stderr).split())
    assert issued() == before


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"letsencrypt_accept_terms": False}, "letsencrypt_accept_terms is false"),
        ({"letsencrypt_domains": ["*.example.org"]}, "wildcards"),
        ({"letsencrypt_domains": ["192.0.2.1"]}, "full host names"),
        ({"letsencrypt_domains": []}, "full host names"),
        ({"letsencrypt_email": "nobody"}, "mail address"),
    ],
)
def test_wrong_input_is_refused_before_the_first_change(play, issued, variables, words):
    before = issued()
    refused = play(**variables)

    assert refused.returncode != 0
    assert words in refused.stdout + refused.stderr
    assert "changed=0" in refused.stdout
    assert issued() == before


# --- From one source to another and back.


@pytest.fixture
def own(tmp_path):
    """Somebody's own certificate: a function that makes one, for these names, with so many days left."""

    def make(names=NAMES, days=90, other_key=False):
        key, another = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Our own")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=100))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(word) for word in names]), critical=False)
            .sign(key, hashes.SHA256())
        )
        (tmp_path / "own.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (tmp_path / "own.key").write_bytes(
            (another if other_key else key).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return {
            "proxy_apache_certificate": "own",
            "proxy_apache_certificate_file": str(tmp_path / "own.crt"),
            "proxy_apache_certificate_key_file": str(tmp_path / "own.key"),
        }

    return make


@pytest.mark.control("PRX-4")
def test_an_unusable_certificate_of_ones_own_is_refused_and_the_old_one_stays(play, browser, own):
    old = browser.certificate()
    refusals = {
        "is not the key of": play(**own(other_key=True)),
        "has expired": play(**own(days=-1)),
        f"does not cover www.{SITE}": play(**own(names=[SITE])),
    }
    kept = browser.certificate()

    for words, refused in refusals.items():
        assert refused.returncode != 0
        assert words in refused.stdout + refused.stderr
    assert kept == old


@pytest.mark.control("PRX-4")
def test_the_source_can_be_changed_there_and_back_without_an_outage_or_a_new_issue(
    gate, play, browser, own, issued
):
    before, first = issued(), browser.certificate()
    seen = []
    with Load(browser) as load:
        for variables in (own(), *({"proxy_apache_certificate": word} for word in ("self_signed", "letsencrypt"))):
            assert play(**variables).returncode == 0
            seen.append((source(gate), hashlib.sha256(browser.certificate()).hexdigest()))

    print(f"{load.requests} requests")
    assert [name for name, _ in seen] == ["own", "self_signed", "letsencrypt"]
    assert seen[-1][1] == hashlib.sha256(first).hexdigest()
    assert len(load.certificates) == 3
    assert load.failures == []
    assert issued() == before


@pytest.mark.control("PRX-4")
def test_forgetting_the_certificate_is_refused_while_it_is_shown(gate, play, browser):
    """And works once the proxy has another one; then everything is as before the first issue."""
    old = browser.certificate()
    refused = play(letsencrypt_state="absent")
    shown = browser.certificate()
    forgotten = play(letsencrypt_state="absent", proxy_apache_certificate="self_signed")
    gone = not gate.file("/etc/letsencrypt/live/site").exists
    again = play()

    assert refused.returncode != 0
    assert shown == old
    assert forgotten.returncode == 0
    assert gone
    assert again.returncode == 0
    assert source(gate) == "letsencrypt"
