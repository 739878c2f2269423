# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sshd -T says is read as sshd itself would act on it; in doubt the login decides."""

from __future__ import annotations

import os

import pytest
from ansible_collections.securebox.stack.plugins.module_utils import sshd_admission as admission


def judge(text, user="alice", groups=("staff",)):
    return admission.objection(admission.parse(text), user, groups)


@pytest.mark.parametrize(("text", "named"), [
    ("denyusers bob\ndenyusers ali*", "DenyUsers"),
    ("allowusers bob", "AllowUsers"),
    ("allowusers !alice\nallowusers *", "AllowUsers"),
    ("denygroups staff", "DenyGroups"),
    ("allowgroups ssh", "AllowGroups"),
    ("authenticationmethods publickey,password", "AuthenticationMethods publickey,password"),
    ("pubkeyauthentication no\npasswordauthentication no\nkbdinteractiveauthentication no", "PubkeyAuthentication no"),
    ("forcecommand /usr/bin/menu", "ForceCommand /usr/bin/menu"),
    ("maxsessions 0", "MaxSessions 0"),
])
def test_a_setting_that_keeps_the_account_out_is_named(text, named):
    assert judge(text).startswith(named)


@pytest.mark.parametrize("text", [
    "", "allowusers alice", "allowusers alice@192.0.2.*", "denyusers alice@192.0.2.1", "denyusers bob",
    "allowgroups st*", "authenticationmethods any", "authenticationmethods publickey",
    "authenticationmethods publickey,password publickey", "forcecommand none", "permitrootlogin no",
    "pubkeyauthentication yes\npasswordauthentication no\nkbdinteractiveauthentication no",
])
def test_all_else_is_left_to_the_login(text):
    assert judge(text) is None


def test_root_is_a_matter_of_its_own():
    assert judge("permitrootlogin no", "root").startswith("PermitRootLogin")
    assert judge("permitrootlogin prohibit-password", "root") is None


def test_where_the_login_comes_from_is_found_above_sudo(tmp_path):
    """Conditions of addresses are judged for the address that Ansible comes from."""
    ours = "SSH_CONNECTION=192.0.2.7 5 192.0.2.1 22"
    for pid, parent, environment in ((os.getpid(), 42, "HOME=/root"), (42, 1, ours)):
        process = tmp_path / "proc" / str(pid)
        process.mkdir(parents=True)
        (process / "environ").write_text(f"A=b\0{environment}\0")
        (process / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1")

    assert admission.client(tmp_path) == ["addr=192.0.2.7", "host=192.0.2.7", "laddr=192.0.2.1", "lport=22"]
    assert admission.client(tmp_path / "elsewhere") == []


def test_a_configuration_that_sshd_cannot_read_is_judged_elsewhere():
    def broken(command):
        raise RuntimeError("Bad configuration option")

    admission.require_admission("alice", broken)
    with pytest.raises(RuntimeError, match=r"sshd would refuse alice .*`DenyUsers alice`"):
        admission.require_admission("alice", lambda command: "denyusers alice\n")
