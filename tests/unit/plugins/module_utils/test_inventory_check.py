# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wrong inventories, each of which has to be refused before the first change, with a message that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.securebox.stack.plugins.action.inventory_check import masked, message
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check import check
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.access import key_trouble
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import human, parse_size
from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.probe import parse
from site_factory import KEY, UNSET
from wrong_inventories import GROUPS, SUBJECTS, WRONG
from wrong_inventories.parts import DATA, GIB, NETWORKS, OTHER, PEER, box, tunnel


def text_of(site):
    return message(masked(site, check(site)))


def test_the_filled_in_example_is_right(make_site):
    """Everything below is this one site but for one mistake: so it is the mistake that is found."""
    assert check(make_site()) == []


def test_a_box_behind_a_tunnel_is_right(make_site):
    """Administration over WireGuard, as its runbook ends; also while the box is still reached by its public address."""
    site = make_site(tunnel([PEER, OTHER], firewall_ssh_from=["wg0"], ansible_host="10.99.0.1",
                            firewall_trusted=[{"from": ["192.0.2.0/24", "wg0"], "ports": [9100], "why": "monitoring"}]))
    assert check(site) == []
    reached = {"ansible_host": "203.0.113.10", "securebox_login": {"host": "10.99.0.1", "user": "admin"}}
    site.variables["hospital"].update(reached)
    assert check(site) == []


def test_enough_mistakes_are_known():
    assert len(WRONG) + len(GROUPS) >= 35
    assert len(WRONG) == sum(len(subject.WRONG) for subject in SUBJECTS), "two have one name"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_named(make_site, name):
    changes, server, parts = WRONG[name]
    site = make_site(changes)
    for key, value in server.items():
        setattr(site.server, key, value)

    problems = masked(site, check(site))

    assert any(all(part in message([problem]) for part in parts) for problem in problems), message(problems)
    assert all(problem.edit and problem.variable and problem.value for problem in problems)


@pytest.mark.parametrize("name", GROUPS)
def test_wrong_groups_are_named(make_site, name):
    groups, parts = GROUPS[name]
    text = text_of(make_site(groups=groups))

    assert all(part in text for part in parts), text


def test_an_unreachable_server_is_one_problem_among_the_others(make_site):
    site = make_site(box(hardening_ssh_port=80))
    site.server, site.unreachable = None, "Connection refused"

    text = text_of(site)

    assert "Connection refused" in text
    assert "hardening_ssh_port" in text


def test_all_problems_come_at_once(make_site):
    changes = {
        "all": {"securebox_admin_email": "x"},
        "box": {"hardening_ssh_port": 80, "encrypted_volume_size": "y"},
        "app": {"app_tomcat_war_sha256": ""},
    }

    assert len(check(make_site(changes))) == 4


def test_an_equal_problem_of_several_hosts_is_one(make_site):
    [problem] = check(make_site({"all": {"vault_internal_ca_passphrase": ""}}))

    assert problem.hosts == ["hospital", "proxy1", "app1", "db1"]


def test_who_is_asked_for_the_passphrase_needs_none_in_the_vault(make_site):
    site = make_site({"all": {"vault_encrypted_volume_passphrase": ""}, "box": {"encrypted_volume_passphrase": UNSET}})
    site.controller.has_terminal = True

    assert check(site) == []


def test_a_volume_that_is_there_need_not_be_made(make_site):
    site = make_site(box(encrypted_volume_initialise=UNSET))
    uuid = site.variables["hospital"]["encrypted_volume_uuid"]
    site.server.paths[DATA] = {"type": "file", "size": 60 * GIB, "signatures": [("crypto_LUKS", uuid)]}

    assert check(site) == []


@pytest.mark.parametrize(("value", "asked"), [("true", True), ("yes", True), ("false", False), ("no", False)])
def test_a_yes_or_no_of_the_command_line_is_understood(make_site, value, asked):
    """`-e encrypted_volume_initialise=false` is a string, which Python takes for true."""
    problems = check(make_site({"box": {"encrypted_volume_initialise": value}}))
    assert ("encrypted_volume_initialise" in [problem.variable for problem in problems]) is not asked


def test_an_open_volume_needs_no_passphrase(make_site):
    site = make_site(box(encrypted_volume_passphrase=UNSET))
    site.server.mounts["/srv/securebox"] = "/dev/mapper/securebox"

    assert check(site) == []


def test_the_box_that_was_made_is_right_as_well(make_site):
    """The second run finds its own bridges, volume and file, and takes none of them for a stranger's."""
    site = make_site()
    site.server.addresses += [(item["name"], item["ipv4"]) for item in NETWORKS]
    site.server.routes += [("sbapp", "10.80.2.0/24")]
    uuid = site.variables["hospital"]["encrypted_volume_uuid"].upper()
    site.server.paths[DATA] = {"type": "file", "size": 60 * GIB, "signatures": [("crypto_LUKS", uuid)]}
    site.server.disks["/"] = (GIB // 2, 160 * GIB)
    site.server.mounts["/srv/securebox"] = "/dev/mapper/securebox"

    assert check(site) == []


@pytest.mark.parametrize(
    "changes",
    [
        box(encrypted_volume_passphrase="hunter2-ab"),
        {"db": {"db_postgresql_users": [{"name": "dhis2", "password": "hunter2-ab", "rights": 3}]}},
        {"db": {"db_postgresql_users": "hunter2-ab"}},
        {
            "app": {
                "app_tomcat_dhis_conf": {
                    "encryption.password": "hunter2-ab",
                    "connection.url": "jdbc:postgresql://hunter2-ab/",
                }
            }
        },
        {"all": {"vault_app_tomcat_encryption_password": "hunter2-ab"}},
        {"tiers": {"internal_ca_passphrase": "hunter2-ab"}},
    ],
)
def test_no_secret_is_ever_shown(make_site, changes):
    site = make_site(changes)
    problems = masked(site, check(site))

    assert problems
    assert "hunter2-ab" not in message(problems) + json.dumps([problem.as_dict() for problem in problems])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("60G", 60 * GIB),
        ("512MiB", 512 * 1024**2),
        ("3GiB", 3 * GIB),
        ("2048", 2048),
        ("1.5T", 1536 * GIB),
        ("G", None),
        ("-1G", None),
        ("10X", None),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_sizes_for_people():
    assert [human(number) for number in (512, 1536, 60 * GIB, 2048 * GIB)] == ["512 B", "1.5 KiB", "60 GiB", "2 TiB"]


def test_good_keys_are_good():
    assert key_trouble(KEY) == ""


def test_the_look_at_a_real_machine_is_understood():
    server = parse((Path(__file__).parent / "look-debian12.txt").read_text(encoding="utf-8"))

    assert (server.distribution, server.release, server.architecture, server.python) == (
        "debian",
        "12",
        "x86_64",
        "3.11.2",
    )
    assert server.memory > GIB
    assert server.cpus == 2
    assert server.disks["/"][0] > GIB
    assert ("eth0", "10.79.0.110/24") in server.addresses
    assert ("eth0", "10.79.0.0/24") in server.routes
    assert server.paths["/var/lib/securebox/data.luks"] == {"type": "missing", "size": 0, "signatures": []}
    assert server.paths["/root/disk"] == {"type": "file", "size": 8388608, "signatures": [("ext4", "6e3a9c51")]}


def test_a_look_that_was_cut_off_says_nothing():
    assert parse("@@os\nID=debian\n@@memory\n1024") is None
