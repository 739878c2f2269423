# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one listed account gets in, from the one listed address, with TLS; and nobody else, in any other way."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

SCENARIO = Path(__file__).parents[1]
PASSWORD = "it's a \\ secret"
CA = "/etc/ssl/internal-ca.crt"


@pytest.fixture(scope="module")
def books(on):
    return on("books")


@pytest.fixture(scope="module")
def desk(on, lab):
    host = on("desk")
    host.check_output(f"sh -c 'grep -q books /etc/hosts || echo {lab.machines['books'].address} books >> /etc/hosts'")
    return host


def ask(host, sql: str, *, user="librarian", database="catalogue", password=PASSWORD, tls="verify-full", extra=""):
    """psql over the network."""
    connection = f"host=books user={user} dbname={database} sslmode={tls} connect_timeout=5 {extra}"
    if tls.startswith("verify"):
        connection += f" sslrootcert={CA}"
    words = ["env", f"PGPASSWORD={password}", "psql", "--no-psqlrc", "-Atc", sql, connection]
    return host.run(shlex.join(words))


@pytest.fixture(scope="module")
def query(books):
    """psql as the superuser: root, on the machine itself."""
    def run(sql: str, database: str = "postgres") -> str:
        return books.check_output(shlex.join(["psql", "-U", "postgres", "-Atc", sql, database]))

    return run


@pytest.fixture
def converge(play):
    """The server alone: the desk asks it only."""
    def run(**variables) -> subprocess.CompletedProcess:
        return play("converge.yml", "--limit", "books", **variables)

    return run


def changed(run: subprocess.CompletedProcess) -> int:
    assert run.returncode == 0, run.stdout + run.stderr
    return int(re.search(r"^books .*changed=(\d+)", run.stdout, re.MULTILINE).group(1))


@pytest.mark.control("DB-1", "ENC-6")
def test_the_listed_client_gets_in_over_verified_tls(desk):
    """The one way in. The server's name is checked too, so that nobody can pose as it."""
    answer = ask(desk, "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

    assert answer.stdout.strip() == "t|TLSv1.3", answer.stderr


@pytest.mark.control("DB-1")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tls": "disable"}, "no encryption"),
        ({"password": "guessed"}, "password authentication failed"),
        ({"database": "loans"}, "no pg_hba.conf entry"),
        ({"database": "postgres"}, "no pg_hba.conf entry"),
        ({"user": "reader", "password": "another"}, "no pg_hba.conf entry"),
        ({"user": "postgres"}, "no pg_hba.conf entry"),
        ({"tls": "require", "extra": "ssl_max_protocol_version=TLSv1.1 ssl_min_protocol_version=TLSv1"}, "SSL error"),
    ],
    ids=["no TLS", "wrong password", "other database", "system database", "other account", "superuser", "old TLS"],
)
def test_anything_else_is_refused(desk, change, reason):
    """Each line of the attack list alone, with everything else right."""
    assert ask(desk, "SELECT 1").rc == 0

    refused = ask(desk, "SELECT 1", **change)

    assert refused.rc != 0
    assert reason in refused.stderr


@pytest.mark.control("DB-1")
def test_another_address_is_refused(books, desk, lab):
    """The right account with the right password, but from a machine that is not on the list."""
    books.check_output(f"sh -c 'grep -q {lab.machines['books'].address} /etc/hosts || "
                       f"echo {lab.machines['books'].address} books >> /etc/hosts'")  # fmt: skip

    assert ask(desk, "SELECT 1").rc == 0
    assert "no pg_hba.conf entry" in ask(books, "SELECT 1", tls="require").stderr


@pytest.mark.control("DB-1")
def test_the_superuser_is_root_of_the_machine_and_nobody_else(books, query):
    assert query("SELECT current_setting('is_superuser')") == "on"

    stranger = books.run("runuser -u nobody -- psql -U postgres -Atc 'SELECT 1' postgres")

    assert stranger.rc != 0
    assert "Peer authentication failed" in stranger.stderr


@pytest.mark.control("DB-1")
def test_accounts_have_no_more_rights_than_they_need(query):
    """A stolen password of the application must not become the whole server. Only verifiers are stored."""
    rows = query("SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls,"
                 " rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolcanlogin AND rolname <> 'postgres'"
                 " ORDER BY 1")  # fmt: skip

    assert rows.splitlines() == ["librarian|f|t", "reader|f|t"]
    assert query("SELECT has_database_privilege('reader', 'catalogue', 'CONNECT')") == "f"
    assert query("SELECT has_database_privilege('librarian', 'catalogue', 'CONNECT')") == "t"


@pytest.mark.control("DB-1")
def test_the_extensions_work(desk):
    """DHIS2, for one, does not start without them, and may not create them itself."""
    distance = "ST_Distance('POINT(0 0)'::geometry, 'POINT(3 4)'::geometry)"
    answer = ask(desk, f"SELECT {distance}, similarity('book', 'books')")

    assert answer.stdout.startswith("5|0."), answer.stderr
    assert ask(desk, "CREATE EXTENSION dblink").rc != 0
    assert ask(desk, "CREATE TABLE IF NOT EXISTS shelf (id int PRIMARY KEY)").rc == 0


@pytest.mark.control("DB-1")
def test_the_settings_are_those_of_the_formula_for_this_machine(books, query):
    """The machine has 1 GiB, the computer below it far more: what counts is what the container may use."""
    memory = int(re.search(r"MemTotal:\s+(\d+)", books.file("/proc/meminfo").content_string).group(1)) // 1024
    names = "shared_buffers effective_cache_size work_mem maintenance_work_mem autovacuum_work_mem max_wal_size"
    found = {name: query(f"SHOW {name}") for name in names.split()}

    assert memory == 1024
    assert found == {"shared_buffers": "256MB", "effective_cache_size": "640MB", "work_mem": "3MB",
                     "maintenance_work_mem": "128MB", "autovacuum_work_mem": "32MB", "max_wal_size": "1GB"}  # fmt: skip
    assert query("SHOW synchronous_commit") == "on"
    assert query("SHOW data_checksums") == "on"


@pytest.mark.control("NET-7")
def test_it_listens_where_it_was_told_only(books, lab):
    # An interrupted `ss` says nothing.
    said = books.check_output("timeout 60 sh -c 'until ss -ltnH | grep .; do sleep 0.5; done'")
    listening = re.findall(r"(\S+):5432\s", said)

    assert listening == [lab.machines["books"].address]


def test_no_personal_data_is_logged(books, desk):
    """The log is not on the data's disk: a refused row must not be in it, but that something was refused must."""
    ask(desk, "CREATE TABLE IF NOT EXISTS patient (name text PRIMARY KEY)")
    for _ in range(2):
        answer = ask(desk, "INSERT INTO patient VALUES ('Wilhelmina Canary')")
    ask(desk, "SELECT 'Wilhelmina Canary'::int")

    log = books.check_output("sh -c 'cat /var/log/postgresql/*.log'")
    assert "Wilhelmina" in answer.stderr
    assert "duplicate key value" in log
    assert "Wilhelmina" not in re.sub(r"invalid input syntax.*", "", log)


def test_a_setting_is_reloaded_or_restarted_as_it_needs(query, converge):
    """Nobody is disconnected for nothing; and a run that was cut off after writing is finished by the next."""
    started = query("SELECT pg_postmaster_start_time()")

    assert changed(converge(db_postgresql_settings={"work_mem": "5MB"}))
    assert query("SHOW work_mem") == "5MB"
    assert query("SELECT pg_postmaster_start_time()") == started

    assert changed(converge(db_postgresql_settings={"work_mem": "5MB", "max_connections": 77}))
    assert query("SHOW max_connections") == "77"
    assert query("SELECT pg_postmaster_start_time()") != started

    assert changed(converge())
    assert query("SHOW max_connections") == "100"
    assert changed(converge()) == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"db_postgresql_access": [{"user": "ghost", "database": "loans", "address": "192.0.2.7/32"}]}, "ghost"),
        ({"db_postgresql_access": [{"user": "reader", "database": "loans", "address": "0.0.0.0/0"}]}, "0.0.0.0/0"),
        ({"db_postgresql_listen_addresses": ["*"]}, "means every address"),
        ({"db_postgresql_users": [{"name": "librarian", "password": ""}]}, "password of librarian is empty"),
        ({"db_postgresql_settings": {"work_mem": "9 apples"}}, "work_mem"),
    ],
    ids=["unknown account", "everywhere", "all addresses", "no password", "impossible value"],
)
def test_wrong_input_is_refused_before_anything_changes(query, wrong, says, converge):
    loaded = query("SELECT pg_conf_load_time()")

    refused = converge(**wrong)

    assert refused.returncode != 0
    assert says in refused.stdout + refused.stderr
    assert "changed=0" in refused.stdout
    assert query("SELECT pg_conf_load_time()") == loaded


def test_a_cluster_without_its_data_is_refused_and_not_replaced(books, query, converge):
    """The disk is not mounted: an empty database in its place would look like the loss of everything."""
    query("CREATE TABLE IF NOT EXISTS kept (id int)", "loans")
    books.check_output("systemctl stop 'postgresql@*'")
    books.check_output("mv /var/lib/postgresql /var/lib/elsewhere")
    books.check_output("mkdir /var/lib/postgresql")

    refused = converge()

    books.check_output("rmdir /var/lib/postgresql")
    books.check_output("mv /var/lib/elsewhere /var/lib/postgresql")
    assert refused.returncode != 0
    assert "is empty. Is its disk not" in refused.stdout + refused.stderr
    assert changed(converge()) == 1
    assert query("SELECT count(*) FROM kept", "loans") == "0"


def test_data_of_another_version_are_not_passed_over(books, query, converge):
    """The container was made anew from a newer release: an empty database beside the data would look like a loss."""
    books.check_output("systemctl stop 'postgresql@*'")
    books.check_output("mv /etc/postgresql /etc/elsewhere && mv /var/lib/postgresql/15 /var/lib/postgresql/14")

    refused = converge()

    books.check_output("mv /var/lib/postgresql/14 /var/lib/postgresql/15 && mv /etc/elsewhere /etc/postgresql")
    assert refused.returncode != 0
    assert "holds data of PostgreSQL 14, but" in refused.stdout + refused.stderr
    assert "changed=0" in refused.stdout
    assert changed(converge()) == 1
    assert query("SELECT count(*) FROM kept", "loans") == "0"


def test_data_outlives_its_container(books, query, converge):
    """The container was made anew, the volume is the old one: the data is taken over, whatever number its owner has."""
    books.check_output("systemctl stop 'postgresql@*'")
    books.check_output("rm -r /etc/postgresql")
    books.check_output("chown -R games /var/lib/postgresql")
    # Left by whoever had the account: what it leads to stays root's.
    books.check_output("ln -s /etc/shadow /var/lib/postgresql/15/main/shadow")

    assert changed(converge())

    assert books.file("/etc/shadow").user == "root"
    books.check_output("rm /var/lib/postgresql/15/main/shadow")

    assert query("SELECT count(*) FROM kept", "loans") == "0"
    assert changed(converge()) == 0


def test_the_service_may_have_as_many_tasks_as_its_machine(books):
    """systemd's own limit is a part of the container's: each session is a process."""
    assert books.check_output("systemctl show --property TasksMax --value 'postgresql@*'") == "infinity"


@pytest.mark.control("SYS-2")
def test_postgresql_has_a_profile_that_can_complain_or_be_taken_away(books, query, converge):
    """Files and unit only: whether it is enforced shows where the kernel has AppArmor, and verify asks there."""
    profile = "/etc/apparmor.d/db_postgresql"
    unit = "systemctl show --property AppArmorProfile --value 'postgresql@15-main'"

    assert "db_postgresql_start" in books.check_output(unit)
    books.check_output(f"apparmor_parser --skip-kernel-load --skip-cache --quiet {profile}")
    try:
        assert changed(converge(db_postgresql_apparmor="complain"))
        assert books.file(profile).content_string.count(", complain)") == 2

        assert changed(converge(db_postgresql_apparmor="off"))
        assert not books.file(profile).exists
        assert books.check_output(unit) == ""
        assert query("SELECT 1") == "1"
    finally:
        restored = converge()

    assert changed(restored)
    assert "db_postgresql_start" in books.check_output(unit)
    assert changed(converge()) == 0
