# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiers' own settings: the application, its database and its site."""

from __future__ import annotations

from .parts import box

WRONG = {
    "missing sha256": (
        {"app": {"app_tomcat_war_sha256": ""}},
        {},
        ["app_tomcat_war_sha256", "stable.json", "inventories/example/group_vars/app/app_tomcat.yml:5"],
    ),
    "sha256 cut off": ({"app": {"app_tomcat_war_sha256": "abc123"}}, {}, ["app_tomcat_war_sha256", "abc123", "64"]),
    "WAR by http": (
        {"app": {"app_tomcat_war_url": "http://x.org/dhis.war"}},
        {},
        ["app_tomcat_war_url", "no https URL"],
    ),
    "WAR from both": (
        {"app": {"app_tomcat_war_file": "/home/me/dhis.war"}},
        {},
        ["app_tomcat_war_file", "set together with"],
    ),
    "no WAR": ({"app": {"app_tomcat_war_url": ""}}, {}, ["app_tomcat_war_url", "no application"]),
    "WAR that is not there": (
        {"app": {"app_tomcat_war_url": "", "app_tomcat_war_file": "/nowhere/dhis.war"}},
        {},
        ["app_tomcat_war_file", "/nowhere/dhis.war", "no such file"],
    ),
    "WAR that is none": (
        {"app": {"app_tomcat_war_url": "", "app_tomcat_war_file": "/etc/passwd"}},
        {},
        ["app_tomcat_war_file", "no WAR file"],
    ),
    "encryption password too short": (
        {"app": {"app_tomcat_dhis_conf": {"encryption.password": "only-fourteen-"}}},
        {},
        ["app_tomcat_dhis_conf[encryption.password]", "less than 24"],
    ),
    "database elsewhere": (
        {"app": {"app_tomcat_dhis_conf": {"connection.url": "jdbc:postgresql://db7:5432/dhis2"}}},
        {},
        ["app_tomcat_dhis_conf[connection.url]", "db7 is no container"],
    ),
    "backend that is no container": (
        {"proxy": {"proxy_apache_backend": "https://app9:8443/"}},
        {},
        ["proxy_apache_backend", "app9 is no container"],
    ),
    "backend without TLS": (
        {"proxy": {"proxy_apache_backend": "http://app1:8080/"}},
        {},
        ["proxy_apache_backend", "no https URL"],
    ),
    "domain that is a URL": ({"all": {"securebox_domain": "https://x.org/"}}, {}, ["securebox_domain", "a URL"]),
    "domain without a dot": ({"all": {"securebox_domain": "hospital"}}, {}, ["securebox_domain", "no full name"]),
    "domain with an underscore": (
        {"all": {"securebox_domain": "my_box.clinic.org"}},
        {},
        ["securebox_domain", "no full name"],
    ),
    "terms not accepted": (
        {"proxy": {"letsencrypt_accept_terms": False}},
        {},
        ["letsencrypt_accept_terms", "terms of service", "group_vars/proxy/letsencrypt.yml:5"],
    ),
    "Let's Encrypt for an address": (
        {"all": {"securebox_domain": "203.0.113.10"}},
        {},
        ["letsencrypt_domains", "203.0.113.10", "names only"],
    ),
    "Let's Encrypt for a private name": (
        {"all": {"securebox_domain": "dhis.hospital.local"}},
        {},
        ["letsencrypt_domains", "not a public name"],
    ),
    "the example's own name": (
        {"all": {"securebox_domain": "dhis.example.org"}},
        {},
        ["letsencrypt_domains", "the real one"],
    ),
    "own certificate without files": (
        {"proxy": {"proxy_apache_certificate": "own"}},
        {},
        ["proxy_apache_certificate_file", "name the PEM file"],
    ),
    "own certificate's files are not there": (
        {
            "proxy": {
                "proxy_apache_certificate": "own",
                "proxy_apache_certificate_file": "/nowhere.pem",
                "proxy_apache_certificate_key_file": "/etc/passwd",
            }
        },
        {},
        ["proxy_apache_certificate_file", "/nowhere.pem", "no such file"],
    ),
    "choice that is none": (
        {"proxy": {"proxy_apache_certificate": "lets-encrypt"}},
        {},
        ["proxy_apache_certificate", "must be one of", "self_signed"],
    ),
    "weak database password": (
        {"db": {"db_postgresql_users": [{"name": "dhis2", "password": "dhis"}]}},
        {},
        ["db_postgresql_users[dhis2].password", "too weak"],
    ),
    "access of an unknown user": (
        {"db": {"db_postgresql_access": [{"user": "dhis", "database": "dhis2", "address": "10.80.2.10/32"}]}},
        {},
        ["db_postgresql_access[1].user", "dhis", "no such user"],
    ),
    "access to an unknown database": (
        {"db": {"db_postgresql_access": [{"user": "dhis2", "database": "x", "address": "10.80.2.10/32"}]}},
        {},
        ["db_postgresql_access[1].database", "no such database"],
    ),
    "access from the world": (
        {"db": {"db_postgresql_access": [{"user": "dhis2", "database": "dhis2", "address": "0.0.0.0/0"}]}},
        {},
        ["db_postgresql_access[1].address", "0.0.0.0/0", "outside the box's own networks"],
    ),
    "variable of the wrong type": (
        box(hardening_ssh_port="ssh"),
        {},
        ["hardening_ssh_port", "ssh", "unable to convert to int"],
    ),
    "variable without a value": (
        {"proxy": {"proxy_apache_server_name": "{{ securebox_domian }}"}},
        {},
        ["proxy_apache_server_name", "securebox_domian", "undefined", "group_vars/proxy/proxy_apache.yml:2"],
    ),
}
