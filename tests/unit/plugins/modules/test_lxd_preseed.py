# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only what differs from the description is handed to LXD, and nothing when nothing does."""

from __future__ import annotations

import json

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.lxd import LxdError
from ansible_collections.securebox.stack.plugins.modules.lxd_preseed import ensure
from lxd_daemon import Daemon

POOL = {"name": "main", "driver": "dir", "config": {"source": "/srv/pool"}}
BRIDGE = {"name": "web", "type": "bridge", "config": {"ipv4.address": "10.90.1.1/24", "ipv4.nat": True, "mtu": 1400}}
PROFILE = {"name": "web", "config": {"security.nesting": False}, "devices": {"root": {"type": "disk", "path": "/"}}}


def description(**more):
    return {"config": {}, "storage_pools": [POOL], "networks": [BRIDGE], "profiles": [PROFILE], **more}


def converged():
    """What LXD shows after that description: everything as text, and settings of its own besides."""
    daemon = Daemon()
    daemon.documents = {
        "storage-pools": [{"name": "main", "driver": "dir", "config": {"source": "/elsewhere"}, "description": ""}],
        "networks": [{"name": "web", "type": "bridge", "description": "", "config": {
            "ipv4.address": "10.90.1.1/24", "ipv4.nat": "true", "mtu": "1400", "ipv6.address": "fd00::1/64"}}],
        "profiles": [{"name": "web", "description": "", "config": {"security.nesting": "false", "limits.cpu": "1"},
                      "devices": {"root": {"type": "disk", "path": "/", "pool": "main"}, "gpu": {"type": "gpu"}}}],
    }
    return daemon


def handed_over(daemon):
    return [(argv, json.loads(text)) for argv, text in daemon.ran]


def test_a_bare_lxd_gets_all_of_it():
    daemon = Daemon()

    assert ensure(description(), daemon, True)["changed"]
    assert daemon.ran == []
    assert ensure(description(), daemon, False)["changed"]

    [(argv, preseed)] = handed_over(daemon)
    assert argv == ["lxd", "init", "--preseed"]
    assert preseed["config"] == {}
    assert preseed["storage_pools"] == [POOL]
    assert preseed["networks"][0]["config"] == {"ipv4.address": "10.90.1.1/24", "ipv4.nat": "true", "mtu": "1400"}
    assert preseed["profiles"][0]["devices"] == PROFILE["devices"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_is_there_already_changes_nothing(check_mode):
    """Settings that the description does not name are others' business; where a pool began is not compared."""
    daemon = converged()

    assert ensure(description(), daemon, check_mode) == {
        "changed": False, "preseed": {}, "diff": {"before": {}, "after": {}},
    }
    assert daemon.ran == []


def test_only_what_differs_is_handed_over():
    daemon = converged()
    changed = {**BRIDGE, "config": {**BRIDGE["config"], "ipv4.nat": False}}

    result = ensure(description(networks=[changed]), daemon, False)

    [(_, preseed)] = handed_over(daemon)
    assert set(preseed) == {"config", "networks"}
    assert result["diff"]["before"]["networks"][0]["config"]["ipv4.nat"] == "true"
    assert result["diff"]["after"]["networks"][0]["config"]["ipv4.nat"] == "false"


def test_the_servers_settings():
    daemon = converged()
    daemon.config = {"core.https_address": ":8443", "images.auto_update_interval": "6"}

    result = ensure(description(config={"core.https_address": "", "images.auto_update_interval": 6}), daemon, False)

    assert result["diff"]["before"]["config"]["core.https_address"] == ":8443"
    assert handed_over(daemon)[0][1]["config"]["core.https_address"] == ""


def test_a_pool_never_changes_its_driver():
    daemon = converged()

    with pytest.raises(LxdError, match="main is there already with driver dir, not btrfs"):
        ensure(description(storage_pools=[{**POOL, "driver": "btrfs"}]), daemon, False)
    assert daemon.ran == []


def test_a_description_is_compared_when_it_is_named():
    result = ensure(description(profiles=[{**PROFILE, "description": "ours"}]), converged(), True)

    assert result["preseed"]["profiles"][0]["description"] == "ours"
