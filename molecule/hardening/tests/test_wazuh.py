# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent of Wazuh by variable: installed from a source that somebody vouches for, configured, and gone again.

The package is a stand-in (files/wazuh-agent.sh): what the vendor's own does with these settings is not tested here.
"""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as tree

import pytest

MACHINE = "bare"
PASSWORD = "Sieben-Unken_rufen7"
UNDO = f"""
- hosts: {MACHINE}
  gather_facts: false
  vars: {{ansible_port: 822, ansible_user: alice, ansible_become: true}}
  tasks:
    - ansible.builtin.include_role: {{name: securebox.stack.hardening, tasks_from: undo}}
      vars:
        hardening_wazuh_manager: wazuh.example.org
        hardening_admins: [{{name: alice, keys: ["{{{{ lab_public_key }}}}"]}}]
"""


@pytest.fixture(scope="module")
def gpg(tmp_path_factory):
    """Somebody with a key."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def run(*arguments: str, text: str = "") -> str:
        return subprocess.run(["gpg", "--homedir", str(home), "--batch", "--quiet", *arguments], input=text, text=True,
                              capture_output=True, check=True, timeout=60).stdout

    run("--passphrase", "", "--quick-generate-key", "lab packages", "ed25519", "sign", "2d")
    yield run
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=30)


@pytest.fixture(scope="module")
def bare(inside, scripts, gpg):
    machine = inside[MACHINE]
    scripts(machine, "wazuh-agent.sh")
    signed = gpg("--clearsign", text=machine.check_output("cat /srv/wazuh/dists/stable/Release") + "\n")
    machine.check_output("printf %%s %s > /srv/wazuh/dists/stable/InRelease", signed)
    return machine


@pytest.fixture(scope="module")
def given(gpg, few):
    return {
        **few,
        "lab_servers": MACHINE,
        "hardening_wazuh_manager": "wazuh.example.org",
        "hardening_wazuh_groups": ["box", "dhis2"],
        "hardening_wazuh_repository": "http://127.0.0.1:8099/",
        "hardening_wazuh_repository_key": gpg("--export", "--armor"),
        "hardening_wazuh_enrollment_password": PASSWORD,
    }


@pytest.fixture(scope="module")
def run(converge):
    """The play with much to say: what it shows then, it shows at worst."""

    def once(**variables) -> subprocess.CompletedProcess:
        return converge(MACHINE, "-vv", **variables)

    return once


def test_a_manager_without_a_key_for_its_package_is_refused_before_any_change(bare, run, given):
    """So is a package that somebody else has signed: the source does not stay."""
    refused = run(**given | {"hardening_wazuh_repository_key": ""})
    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0
    assert "hardening_wazuh_manager is wazuh.example.org, but hardening_wazuh_repository_key is empty" in said
    assert "changed=0" in said

    release = "/srv/wazuh/dists/stable/InRelease"
    bare.check_output(f"cp {release} /root && sed -i 's/^ [0-9a-f]/ 0/' {release}")
    forged = run(**given)
    bare.check_output(f"mv /root/InRelease {release}")
    assert forged.returncode != 0
    assert "Nothing was kept" in forged.stdout
    assert not bare.file("/etc/apt/sources.list.d/hardening-wazuh.sources").exists


def test_the_agent_is_installed_configured_and_runs(bare, run, given):
    done = run(**given)
    assert done.returncode == 0, done.stdout[-3000:]
    assert PASSWORD not in done.stdout
    assert bare.service("wazuh-agent").is_running
    assert bare.service("wazuh-agent").is_enabled

    settings = tree.fromstring(bare.file("/var/ossec/etc/ossec.conf").content_string)
    assert settings.findtext("client/server/address") == "wazuh.example.org"
    assert settings.findtext("client/enrollment/groups") == "box,dhis2"
    for name in ("active-response", "syscheck"):
        assert settings.findtext(f"{name}/disabled") == "yes"
    assert settings.findtext("agent-upgrade/enabled") == "no"
    password = bare.file("/var/ossec/etc/authd.pass")
    assert (password.content_string, password.mode, password.user, password.group) == (
        f"{PASSWORD}\n", 0o640, "root", "wazuh")
    # Whoever holds the source brings this package and no other.
    offered = bare.check_output("apt-cache policy hello")
    assert "4.0.0-1 -1" in offered
    assert "Candidate: 4.0.0" not in offered

    again = run(**given)
    assert re.search(rf"^{MACHINE} .* changed=0 ", again.stdout, re.MULTILINE), again.stdout[-3000:]
    assert PASSWORD not in again.stdout


def test_where_no_manager_is_named_any_more_the_agent_stops(bare, run, given):
    """And comes back with the name. Who else installed an agent keeps it: the source's name is the role's own."""
    gone = run(**given | {"hardening_wazuh_manager": ""})
    assert gone.returncode == 0, gone.stdout[-3000:]
    assert not bare.service("wazuh-agent").is_running
    assert not bare.service("wazuh-agent").is_enabled
    assert not bare.file("/etc/apt/sources.list.d/hardening-wazuh.sources").exists

    bare.check_output("systemctl start wazuh-agent")
    other = run(**given | {"hardening_wazuh_manager": ""})
    assert re.search(rf"^{MACHINE} .* changed=0 ", other.stdout, re.MULTILINE), other.stdout[-3000:]
    assert bare.service("wazuh-agent").is_running

    back = run(**given)
    assert back.returncode == 0, back.stdout[-3000:]
    assert bare.service("wazuh-agent").is_enabled


def test_undone_nothing_of_it_runs_or_knows_the_password(bare, play, tmp_path):
    book = tmp_path / "undo.yml"
    book.write_text(UNDO)
    done = play(book)
    assert done.returncode == 0, done.stdout[-3000:]

    assert not bare.service("wazuh-agent").is_running
    assert not bare.service("wazuh-agent").is_enabled
    for path in ("/var/ossec/etc/authd.pass", "/etc/apt/sources.list.d/hardening-wazuh.sources",
                 "/etc/apt/keyrings/hardening-wazuh.asc", "/etc/apt/preferences.d/hardening-wazuh"):
        assert not bare.file(path).exists, path
    assert "MANAGER_IP" in bare.file("/var/ossec/etc/ossec.conf").content_string


@pytest.mark.control("REL-1")
def test_a_run_that_nobody_confirms_starts_no_agent(bare, run, given, login):
    """The package's own settings name no manager, and are no reason to keep the rest from coming back."""
    failed = run(**given, hardening_login_port=9999)

    assert failed.returncode != 0
    assert "The old settings are back" in " ".join(failed.stdout.split())
    assert not bare.service("wazuh-agent").is_running
    assert not bare.service("wazuh-agent").is_enabled
    assert not bare.file("/var/ossec/etc/authd.pass").exists
    assert login("sudo -n id -u", machine=MACHINE).stdout.strip() == "0"
