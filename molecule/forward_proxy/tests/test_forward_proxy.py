# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has no route to the world reaches the names that are listed for him, and no more. Asked by curl and apt."""

from __future__ import annotations

import json
import time

import pytest


@pytest.fixture(scope="module")
def gate(inside):
    return inside["gate"]


@pytest.fixture(scope="module")
def world(inside):
    return inside["world"]


@pytest.fixture(scope="module")
def proxy(lab):
    return f"http://{lab.machines['gate'].address}:3128"


@pytest.fixture
def get(inside, proxy):
    """The answer's status as curl has it: that of the proxy where it refuses a tunnel. 000: no answer at all."""

    def ask(url: str, *, machine: str = "client") -> str:
        form = "%{http_code} %{http_connect}"
        done = inside[machine].run("curl -sk -m 20 -o /dev/null -x %s -w %s %s", proxy, form, url)
        code, tunnel = done.stdout.split()
        return tunnel if tunnel not in ("000", "200") else code

    return ask


def requests(world) -> list[dict]:
    return [json.loads(line) for line in world.check_output("cat /var/log/world.log || true").splitlines()]


@pytest.mark.control("NET-6")
def test_a_listed_name_is_reached_by_http_and_https(get):
    assert get("http://deb.example.org/Packages") == "200"
    assert get("https://deb.example.org/Packages") == "200"


@pytest.mark.control("NET-6")
@pytest.mark.parametrize("url", [
    "http://other.example.org/Packages",
    "https://other.example.org/Packages",
    "http://example.org/",
    "http://deb.example.org.example.net/",
    "http://deb.example.org:8080/Packages",
    "https://deb.example.org:22/",
    "http://self.example.org/",
    "https://self.example.org/",
    "http://neighbour.example.org/",
    "http://[::1]/",
    "http://127.0.0.1/",
])
def test_anything_else_is_refused(get, url):
    """Another name, another port, and names that lead to the server itself or where they never may."""
    assert get(url) == "403"


@pytest.mark.control("NET-6")
def test_a_name_may_be_for_http_only(get):
    assert get("http://plain.example.org/Packages") == "200"
    assert get("https://plain.example.org/Packages") == "403"


@pytest.mark.control("NET-6")
def test_an_address_is_no_name(get, lab):
    """Though it has the listed one: who owns an address says what it is called."""
    assert get(f"http://{lab.machines['world'].address}/Packages") == "403"


@pytest.mark.control("NET-6")
def test_who_is_not_listed_is_refused(get):
    """The same name, and somebody else on the same network."""
    assert get("http://deb.example.org/Packages", machine="world") == "403"
    assert get("https://deb.example.org/Packages", machine="world") == "403"


@pytest.mark.control("NET-6")
def test_nobody_manages_it_from_elsewhere(inside, proxy, get):
    assert inside["client"].check_output("curl -s -o /dev/null -w %%{http_code} %s/squid-internal-mgr/info", proxy) in (
        "403", "400", "404")
    assert get("http://deb.example.org/squid-internal-mgr/info") in ("403", "404")


@pytest.mark.control("NET-7")
def test_it_answers_at_its_addresses_and_nowhere_else(gate, lab):
    lines = gate.check_output("ss -Htulnp | grep squid || true").splitlines()
    tcp = {line.split()[4] for line in lines if line.startswith("tcp")}
    assert tcp == {f"{lab.machines['gate'].address}:3128", "10.93.1.1:3128"}
    # What it asks name servers with has no fixed port, and answers nobody.
    udp = [line.split()[4] for line in lines if line.startswith("udp")]
    assert not [place for place in udp if place.endswith((":3130", ":4827", ":3401"))]


@pytest.mark.control("UPD-1")
def test_packages_come_through_it_and_over_the_line_once(inside, world, proxy, gate):
    """apt gets lists and a package; when the world is gone, somebody gets the same package still."""
    client = inside["client"]
    client.check_output("echo 'deb [trusted=yes] http://deb.example.org ./' > /etc/apt/sources.list.d/lab.list")
    only = "-o Dir::Etc::SourceList=/etc/apt/sources.list.d/lab.list -o Dir::Etc::SourceParts=-"
    client.check_output(f"apt-get -qq {only} -o Acquire::http::Proxy={proxy} update")
    get = (f"cd /tmp && rm -f lab-package_* && apt-get -qq {only} -o Acquire::http::Proxy={proxy} "
           "-o APT::Sandbox::User=root download lab-package")
    client.check_output(get)
    before = len(requests(world))
    assert requests(world)[-1]["path"].endswith("lab-package_1_all.deb")
    world.check_output("systemctl stop world")
    try:
        client.check_output(get)
    finally:
        world.check_output("systemd-run --quiet --unit world /usr/local/bin/world /srv/world;"
                           " timeout 60 sh -c 'until ss -Hltn sport = :80 | grep -q .; do sleep 0.2; done'")
    assert len(requests(world)) == before


def test_the_world_does_not_hear_who_asks(world, get, lab):
    assert get("http://deb.example.org/Release") == "200"
    headers = {name.lower(): value for name, value in requests(world)[-1]["headers"].items()}
    assert not {"via", "x-forwarded-for", "forwarded"} & set(headers)
    assert lab.machines["client"].address not in json.dumps(headers)


def test_what_it_keeps_is_limited(gate, inside, proxy):
    """150 MiB are fetched, and 100 may be kept: who asks for much does not fill the disk."""
    for number in range(1, 7):
        url = f"http://deb.example.org/large{number}.deb"
        inside["client"].check_output("curl -sf -m 60 -o /dev/null -x %s %s", proxy, url)
    deadline = time.monotonic() + 60
    while (kept := int(gate.check_output("du -sm /var/spool/squid").split()[0])) > 105 and time.monotonic() < deadline:
        time.sleep(2)
    assert 25 <= kept <= 105


def logged(gate, words):
    gate.check_output("journalctl --sync --namespace=forward-proxy")
    return gate.run("journalctl --namespace=forward-proxy --quiet --output=cat --grep=%s", words).stdout


def test_who_asked_for_what_is_logged_without_what_was_asked(gate, get, lab):
    """What was refused too. Behind a question mark there may be names of patients."""
    assert get("http://deb.example.org/Release?name=Mustermann") == "200"
    assert get("http://nobody.example.org/stolen") == "403"
    line = logged(gate, "nobody.example.org/stolen")
    assert line.startswith(f"{lab.machines['client'].address} TCP_DENIED/403 ")
    assert "GET http://deb.example.org/Release" in logged(gate, "deb.example.org/Release")
    assert logged(gate, "Mustermann") == ""
    assert gate.run("find /var/log/squid -name 'access.log' -size +0").stdout == ""


FLOOD = """
import socket, sys
address, total = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, 3128), 10) as stream:
    answers = stream.makefile("rb")
    for number in range(total):
        path = str(number) + "/" + "x" * 4000
        stream.sendall(f"HEAD http://nobody.example.org/{path} HTTP/1.1\\r\\nHost: n\\r\\n\\r\\n".encode())
        while answers.readline().strip():
            pass
"""


def test_who_asks_without_end_fills_no_disk(gate, inside, lab, get):
    """10,000 lines are taken in half a minute, and 16 MiB are kept: what was first makes room for what comes."""
    address = lab.machines["gate"].address
    inside["client"].check_output("cat > /root/flood.py <<'EOF'\n" + FLOOD + "\nEOF")
    assert get("http://nobody.example.org/first") == "403"
    assert logged(gate, "nobody.example.org/first") != ""
    inside["client"].check_output("python3 /root/flood.py %s 20000", address)
    assert 5000 < len(logged(gate, "nobody.example.org/[0-9]+/x").splitlines()) < 15000

    # Others write there too: as if the next half minutes had been like that.
    for _ in range(3):
        gate.check_output("systemd-run --quiet --wait --property LogNamespace=forward-proxy"
                          " seq --format=%%g-%s 9000", "x" * 300)
    assert logged(gate, "nobody.example.org/first") == ""
    assert logged(gate, "^9000-x") != ""
    size = "du -sm /var/log/journal/*.forward-proxy /var/log/squid | awk '{sum += $1} END {print sum}'"
    assert int(gate.check_output(size)) <= 16 + 8
    assert get("http://deb.example.org/Packages") == "200"


def test_it_waits_for_a_bridge_that_comes_late(gate, get):
    """As at boot, when LXD makes its bridges after this service was started."""
    gate.check_output("systemctl stop squid; systemctl stop bridge; systemctl start --no-block squid; sleep 3")
    try:
        assert gate.check_output("systemctl is-active squid || true") == "activating"
    finally:
        gate.check_output("systemctl start bridge")
    deadline = time.monotonic() + 60
    while gate.run("systemctl is-active squid").rc and time.monotonic() < deadline:
        time.sleep(1)
    assert get("http://deb.example.org/Packages") == "200"


def test_it_runs_as_nobody_in_particular(gate):
    assert "proxy" in gate.check_output("ps -o user= -C squid").split()
    assert gate.run("find /usr/lib/squid -perm /6000").stdout == ""
    assert gate.check_output("systemctl show -p ProtectSystem --value squid") == "strict"


def test_a_second_run_changes_nothing(play):
    done = play()
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(("variables", "why"), [
    ({"forward_proxy_addresses": []}, "forward_proxy_addresses is empty: it would answer everywhere"),
    ({"forward_proxy_addresses": ["10.93.1.1/24"]}, "forward_proxy_addresses has 10.93.1.1/24: no address"),
    ({"forward_proxy_port": 70000}, "forward_proxy_port is 70000"),
    ({"forward_proxy_access": [{"from": ["10.0.0.1"], "to": ["*.example.org"], "why": "x"}]},
     "forward_proxy_access[1].to has *.example.org"),
    ({"forward_proxy_access": [{"from": ["10.0.0.1"], "to": ["https://example.org/"], "why": "x"}]},
     "forward_proxy_access[1].to has https://example.org/"),
    ({"forward_proxy_access": [{"from": ["all"], "to": ["example.org"], "why": "x"}]},
     "forward_proxy_access[1].from has all"),
    ({"forward_proxy_upstream": "http://proxy.example.org:3128"}, "it has to be host:port, without http://"),
    ({"forward_proxy_never": ["sbdb"]}, "forward_proxy_never has sbdb"),
    ({"forward_proxy_cache_mib": 1}, "forward_proxy_cache_mib is 1"),
])
def test_what_would_open_too_much_is_refused_before_any_change(play, variables, why):
    done = play(**variables)
    assert done.returncode != 0
    assert why in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout


def test_what_squid_refuses_leaves_the_old_settings(play, gate, get):
    """A name below another one of the same list is more than Squid takes; the check says so, and nothing is kept."""
    before = gate.file("/etc/squid/forward-proxy.conf").content_string
    done = play(forward_proxy_access=[{"from": ["10.0.0.1/33"], "to": ["example.org"], "why": "x"}])
    assert done.returncode != 0
    assert gate.file("/etc/squid/forward-proxy.conf").content_string == before
    assert get("http://deb.example.org/Packages") == "200"


def test_another_proxy_is_asked_in_place_of_the_world(play, world, lab, get):
    """It is not there: nothing comes, though the world itself would answer."""
    done = play(forward_proxy_upstream=f"{lab.machines['world'].address}:3999")
    assert done.returncode == 0, done.stdout
    assert get("http://deb.example.org/world.txt") in ("502", "503")
    assert play().returncode == 0
    assert get("http://deb.example.org/Release") == "200"


def test_undone_nobody_answers(gate, get, play, tmp_path):
    book = tmp_path / "undo.yml"
    book.write_text("- hosts: gates\n  gather_facts: false\n  tasks:\n"
                    "    - ansible.builtin.include_role: {name: securebox.stack.forward_proxy, tasks_from: undo}\n")
    for changes in ("changed=2", "changed=0"):
        done = play(book)
        assert done.returncode == 0, done.stdout
        assert changes in done.stdout
    assert get("http://deb.example.org/Packages") == "000"
    assert not gate.service("squid").is_enabled
    assert play().returncode == 0
    assert get("http://deb.example.org/Packages") == "200"
