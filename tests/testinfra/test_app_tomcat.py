# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The application and the server that it runs in."""

from __future__ import annotations

import re
import shlex

import pytest


def questions(site):
    found = {}
    for host in site.groups.get("app", []):
        home = shlex.quote(site.get(host, "app_tomcat_home", "/var/lib/dhis2"))
        port = int(site.get(host, "app_tomcat_https_port", 8443))
        found[host] = {
            "process": "ps -eo user:32,args | grep '[o]rg.apache.catalina.startup.Bootstrap'",
            "java": "java -version",
            "tomcat": "dpkg-query -W -f '${Version}' tomcat10",
            "conf": f"stat -c '%a %U' {home}/dhis.conf",
            "war": "sha256sum /var/cache/app_tomcat-*.war",
            # The application's directory is named by that sum; its libraries are what the running Tomcat has open.
            "owner": "find /opt/app_tomcat ! -user root ! -type l",
            "opened": "ls -l /proc/$(pgrep -f '[o]rg.apache.catalina.startup.Bootstrap' | head -n 1)/fd | "
            "grep -o '/opt/app_tomcat/[0-9a-f]*' | sort -u",
            "served": "grep -o '/opt/app_tomcat/[0-9a-f]*' /etc/tomcat10/server.xml",
            "ports": "ss -lntH",
            "memory": "cat /sys/fs/cgroup/memory.max 2>/dev/null || awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo",
            "error": f"curl -sk --max-time 30 'https://{host}:{port}/%5Bnot-valid'; "
            f"curl -sk --max-time 30 'https://{host}:{port}/no/such/page'",
            "writable": "find /opt/app_tomcat /var/lib/tomcat10/webapps /usr/share/tomcat10 "
            "\\( -user tomcat -o -group tomcat -perm -g+w -o -perm -o+w \\) ! -type l 2>/dev/null; true",
        }
    return found


@pytest.mark.control("APP-1")
def test_the_application_answers_through_the_proxy(site, front, unlocked, evidence):
    """Browser, proxy, application: the way that users take."""
    app = site.first("app")
    path = site.get(app, "app_tomcat_context", "") + site.get(app, "app_tomcat_health_path", "/api/ping")
    status, headers, body = front.get(path)
    evidence(f"GET {path}: {status} {headers.get('content-type')} {body[:60]!r}")
    assert status == 200


@pytest.mark.control("APP-1")
def test_tomcat_is_nobody_in_particular(site, said, unlocked, evidence):
    """A current Tomcat on a current Java, not as root, with a heap that leaves room in the container."""
    for host in site.groups["app"]:
        process = said(host, "process").text
        assert process, "Tomcat does not run"
        user = process.split()[0]
        java = re.search(r'version "(\d+)', said(host, "java").text)
        heap = re.search(r"-Xmx(\d+)([kmgKMG])", process)
        evidence(
            f"{host}: as {user}, Tomcat {said(host, 'tomcat').text}, Java {java and java.group(1)}, "
            f"heap {heap and heap.group(0)}"
        )
        assert user != "root"
        assert java and int(java.group(1)) >= 17
        assert said(host, "tomcat").text.startswith("10.")
        assert heap, "the heap has no limit"
        size = int(heap.group(1)) * 1024 ** " kmg".index(heap.group(2).lower())
        limit = said(host, "memory").text.split()[0]
        assert limit == "max" or size < float(limit)


@pytest.mark.control("APP-1", "SEC-1")
def test_the_configuration_with_secrets_is_for_the_application_only(site, said, unlocked, evidence):
    """dhis.conf holds the database's password and the encryption password."""
    for host in site.groups["app"]:
        mode, owner = said(host, "conf").text.split()
        evidence(f"{host}: dhis.conf {mode} {owner}")
        assert mode in ("600", "400")
        assert owner == said(host, "process").text.split()[0]


@pytest.mark.control("APP-1")
def test_the_program_is_the_one_that_was_meant(site, said, unlocked, evidence, not_applicable):
    """The file, the directory that it was unpacked to, and what Tomcat has open are of the sum in the inventory."""
    for host in site.groups["app"]:
        wanted = site.get(host, "app_tomcat_war_sha256", "").lower()
        opened = said(host, "opened").lines or said(host, "served").lines
        sums = {line.split()[0] for line in said(host, "war").lines}
        evidence(f"{host}: {', '.join(sums)}; runs from {', '.join(opened)}")
        assert said(host, "owner").text == "", "not all of the application belongs to root"
        assert opened, "no application"
        if not wanted:
            not_applicable("the WAR is a file of the workstation, and app_tomcat_war_sha256 is empty")
        assert wanted in sums
        assert opened == [f"/opt/app_tomcat/{wanted[:16]}"]


@pytest.mark.control("APP-1")
def test_tomcat_tells_nothing_and_takes_no_orders(site, said, unlocked, evidence):
    """No shutdown port, no plain connector, no version in error pages, no program that it could overwrite."""
    for host in site.groups["app"]:
        ports = {int(line.split()[3].rpartition(":")[2]) for line in said(host, "ports").lines}
        evidence(f"{host}: listens on {sorted(ports)}")
        assert int(site.get(host, "app_tomcat_https_port", 8443)) in ports
        assert not ports & {8005, 8009, 8080}
        assert not re.search(r"Tomcat/\d|Exception Report|at org\.apache", said(host, "error").text)
        assert said(host, "writable").text == "", "Tomcat can change its own programs"
