# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of containers converges in one call, and what is not described is left alone."""

from __future__ import annotations

import copy
import hashlib

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.lxd import LxdError
from ansible_collections.securebox.stack.plugins.module_utils.lxd_ready import BOOTING, NO_PYTHON
from ansible_collections.securebox.stack.plugins.modules.lxd_instances import ensure
from lxd_daemon import Daemon, Directories

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
WEB = {"name": "web1", "network": "web", "ipv4": "10.90.1.10", "ipv6": "fd90:0:0:1::10", "cpu": "1",
       "memory": "512MiB", "processes": 500}
DB = {"name": "db1", "network": "db", "ipv4": "10.90.2.10", "cpu": "2", "memory": "2GiB"}
DATA = {"instance": "db1", "device": "data", "source": "/srv/box/db1", "path": "/var/lib/data", "shift": True,
        "readonly": False, "pool": None, "volume": None}


def described(*instances, **more):
    defaults = {"image": None, "profiles": None, "autostart": False, "config": {}, "state": "started"}
    return {"instances": [{**defaults, **i} for i in instances], "image": {"alias": "debian"}, "profiles": ["box"],
            "attachments": [], "luks_uuid": None, "bootstrap_python": True, **more}


@pytest.fixture
def daemon():
    return Daemon()


@pytest.fixture
def host():
    directories = Directories(_srv_box_db1=(0, 0, True))
    directories.luks["/srv/box/db1"] = UUID
    return directories


def test_check_do_repeat_and_repeat_in_check(daemon, host):
    params = described(WEB, DB, attachments=[DATA], luks_uuid=UUID)

    said = ensure(params, daemon, True, host)
    assert said["changed"] and said["created"] == ["web1", "db1"]
    assert daemon.instances == {} and daemon.changes() == []

    done = ensure(params, daemon, False, host)
    assert done["changed"] and done["created"] == ["web1", "db1"]
    assert {d["status"] for d in daemon.instances.values()} == {"Running"}

    for check_mode in (False, True):
        daemon.log.clear()
        again = ensure(params, daemon, check_mode, host)
        assert again == {"changed": False, "created": [], "restart_required": [], "warnings": [],
                         "diff": {"before": {}, "after": {}}}
        assert daemon.changes() == []


def test_every_container_is_confined(daemon, host):
    """An id range of its own, no nesting, limits, nothing at boot, and only its own addresses."""
    ensure(described(WEB), daemon, False, host)

    web = daemon.instances["web1"]
    assert web["profiles"] == ["box"]
    assert web["devices"] == {"eth0": {
        "type": "nic", "name": "eth0", "network": "web", "security.mac_filtering": "true",
        "security.ipv4_filtering": "true", "ipv4.address": "10.90.1.10",
        "security.ipv6_filtering": "true", "ipv6.address": "fd90:0:0:1::10",
    }}
    for key, value in {"security.idmap.isolated": "true", "security.nesting": "false", "boot.autostart": "false",
                       "limits.cpu": "1", "limits.memory": "512MiB", "limits.processes": "500"}.items():
        assert web["config"][key] == value


def test_an_address_that_is_not_given_is_filtered_too(daemon, host):
    ensure(described(DB), daemon, False, host)

    nic = daemon.instances["db1"]["devices"]["eth0"]
    assert nic["security.ipv6_filtering"] == "true" and "ipv6.address" not in nic


def test_storage_is_there_before_the_first_start(daemon, host):
    """Otherwise the first start writes beside the volume."""
    ensure(described(WEB, DB, attachments=[DATA], luks_uuid=UUID), daemon, False, host)

    assert daemon.instances["db1"]["devices"]["data"]["source"] == "/srv/box/db1"
    steps = [path for _, path in daemon.changes()]
    assert steps.index("instances/db1") < steps.index("instances/db1/state")


def test_one_is_made_after_the_other_and_all_are_started_together(daemon, host):
    """LXD gives two that are made at the same time overlapping or forbidden isolated id ranges."""
    ensure(described(WEB, DB), daemon, False, host)

    log = [path for method, path in daemon.log if method != "GET" or "operations" in path]
    assert [path.split("/")[0] for path in log[:4]] == ["instances", "operations", "instances", "operations"]
    starts = [number for number, path in enumerate(log) if path.endswith("/state")]
    assert starts[1] == starts[0] + 1


def test_wrong_storage_is_refused_before_anything_is_changed(daemon, host):
    with pytest.raises(LxdError, match="db1: /srv/box/db1 is not in 1111"):
        ensure(described(WEB, DB, attachments=[DATA], luks_uuid="1111"), daemon, False, host)
    assert daemon.changes() == []

    assert ensure(described(WEB, DB, attachments=[DATA], luks_uuid=UUID), daemon, False, host)["changed"]


def test_storage_of_an_unknown_container_is_refused(daemon, host):
    with pytest.raises(LxdError, match="attachments: db1 is not one of the instances"):
        ensure(described(WEB, attachments=[DATA]), daemon, False, host)


def test_others_and_what_others_added_are_left_alone(daemon, host):
    ensure(described(WEB), daemon, False, host)
    daemon.add("stranger", "Running")
    daemon.instances["web1"]["devices"]["disk"] = {"type": "disk", "source": "/opt", "path": "/opt"}
    daemon.instances["web1"]["devices"]["eth0"]["hwaddr"] = "00:16:3e:00:00:01"
    daemon.instances["web1"]["config"]["user.note"] = "keep"
    stranger = copy.deepcopy(daemon.instances["stranger"])

    result = ensure(described({**WEB, "memory": "1GiB"}), daemon, False, host)

    assert result["changed"] and result["restart_required"] == []
    web = daemon.instances["web1"]
    assert web["config"]["limits.memory"] == "1GiB" and web["config"]["user.note"] == "keep"
    assert "disk" in web["devices"] and web["devices"]["eth0"]["hwaddr"] == "00:16:3e:00:00:01"
    assert daemon.instances["stranger"] == stranger


def test_a_setting_no_longer_described_stays_but_an_address_goes(daemon, host):
    """The interface is the description's; an address it no longer names must not stay allowed."""
    ensure(described(WEB), daemon, False, host)

    ensure(described({k: v for k, v in WEB.items() if k not in ("ipv6", "memory")}), daemon, False, host)

    web = daemon.instances["web1"]
    assert "ipv6.address" not in web["devices"]["eth0"]
    assert web["config"]["limits.memory"] == "512MiB"


@pytest.mark.parametrize("change", [{"config": {"security.nesting": True}}, {"ipv4": "10.90.1.11"}, {"network": "db"}])
def test_what_needs_a_restart_is_said_and_not_done(daemon, host, change):
    ensure(described(WEB), daemon, False, host)
    daemon.log.clear()

    result = ensure(described({**WEB, **change}), daemon, False, host)

    assert result["changed"] and result["restart_required"] == ["web1"]
    assert daemon.changes() == [("PUT", "instances/web1")]


def test_a_stopped_container_needs_no_restart(daemon, host):
    ensure(described({**WEB, "state": "present"}), daemon, False, host)
    assert daemon.instances["web1"]["status"] == "Stopped"

    changed = {**WEB, "state": "present", "config": {"security.nesting": True}}
    assert ensure(described(changed), daemon, False, host)["restart_required"] == []


def test_stopping_is_never_by_force(daemon, host):
    """The fake daemon asserts it at every request; a database that does not stop in time is left running, and said."""
    ensure(described(DB), daemon, False, host)
    daemon.broken["stop db1"] = "Failed shutting down instance, status is \"Running\": context deadline exceeded"

    with pytest.raises(LxdError, match="Stopping db1: Failed shutting down"):
        ensure(described({**DB, "state": "stopped"}), daemon, False, host)
    assert daemon.instances["db1"]["status"] == "Running"

    daemon.broken.clear()
    assert ensure(described({**DB, "state": "stopped"}), daemon, False, host)["changed"]
    assert daemon.instances["db1"]["status"] == "Stopped"


def test_a_frozen_container_is_somebodys_decision(daemon, host):
    ensure(described(DB), daemon, False, host)
    daemon.instances["db1"]["status"] = "Frozen"

    with pytest.raises(LxdError, match="db1 is frozen: see to it by hand"):
        ensure(described(DB), daemon, False, host)


def test_one_that_fails_is_named(daemon, host):
    daemon.broken["start db1"] = "Failed to start device"

    with pytest.raises(LxdError, match="Starting db1: Failed to start device"):
        ensure(described(WEB, DB), daemon, False, host)


class TestReady:
    def test_the_system_is_waited_for(self, daemon, host):
        daemon.exits["web1"] = [BOOTING, BOOTING, 0]

        ensure(described(WEB), daemon, False, host)

        assert daemon.clock.now > 0

    def test_a_run_killed_while_waiting_is_repaired_by_the_next(self, daemon, host):
        """Running does not mean ready: the next run looks too."""
        ensure(described(WEB), daemon, False, host)
        daemon.exits["web1"] = [BOOTING, 0]

        assert not ensure(described(WEB), daemon, False, host)["changed"]
        assert daemon.clock.now > 0

    def test_the_end_of_patience_says_what_to_look_at(self, daemon, host):
        daemon.exits["web1"] = [BOOTING]

        with pytest.raises(LxdError, match=r"web1 is still starting; .*systemctl list-jobs"):
            ensure(described(WEB), daemon, False, host)
        assert daemon.clock.now <= 63

    def test_a_missing_address_is_named(self, daemon, host, monkeypatch):
        monkeypatch.setattr(
            "ansible_collections.securebox.stack.plugins.module_utils.lxd_ready.missing_addresses",
            lambda lxd, name, wanted: ["fd90:0:0:1::10"],
        )

        with pytest.raises(LxdError, match=r"web1 has not got fd90:0:0:1::10; .* by DHCP and DHCPv6"):
            ensure(described(WEB), daemon, False, host)

    def test_a_missing_python_is_installed(self, daemon, host):
        daemon.exits["web1"] = [NO_PYTHON, 0]

        assert ensure(described(WEB), daemon, False, host)["changed"]

    def test_or_not_where_that_is_not_wanted(self, daemon, host):
        daemon.exits["web1"] = [NO_PYTHON]

        with pytest.raises(LxdError, match=r"no python3 in web1: .* set bootstrap_python"):
            ensure(described(WEB, bootstrap_python=False), daemon, False, host)

    def test_a_mirror_that_does_not_answer(self, daemon, host):
        daemon.exits["web1"] = [NO_PYTHON, 100]

        with pytest.raises(LxdError, match="Installing python3 in web1 failed with 100"):
            ensure(described(WEB), daemon, False, host)


class TestImages:
    def test_a_container_without_any_is_refused(self, daemon, host):
        with pytest.raises(LxdError, match="web1 does not exist, and there is no image"):
            ensure(described(WEB, image=None), daemon, False, host)

        ensure(described(WEB), daemon, False, host)
        assert not ensure(described(WEB, image=None), daemon, False, host)["changed"]

    def test_an_alias_that_lxd_does_not_have(self, daemon, host):
        with pytest.raises(LxdError, match="LXD has no image with the alias other, and neither remote nor files"):
            ensure(described(WEB, image={"alias": "other"}), daemon, False, host)

    def test_a_remote_of_no_known_address(self, daemon, host):
        with pytest.raises(LxdError, match="mirror is not one of images, ubuntu: give its server"):
            ensure(described(WEB, image={"remote": "mirror", "alias": "x"}), daemon, False, host)

    def test_files_are_imported_once_under_the_alias(self, daemon, host, tmp_path):
        (tmp_path / "m").write_bytes(b"meta")
        (tmp_path / "r").write_bytes(b"root")
        image = {"alias": "our/own", "files": {"metadata": str(tmp_path / "m"), "rootfs": str(tmp_path / "r")}}

        ensure(described(WEB, image=image), daemon, True, host)
        assert daemon.ran == []
        ensure(described(WEB, image=image), daemon, False, host)
        ensure(described(WEB, DB, image=image), daemon, False, host)

        assert [argv[:3] for argv, _ in daemon.ran] == [["lxc", "image", "import"]]
        assert daemon.aliases["our/own"] == hashlib.sha256(b"metaroot").hexdigest()

    def test_the_same_files_under_another_alias_only_get_a_second_name(self, daemon, host, tmp_path):
        (tmp_path / "m").write_bytes(b"meta")
        (tmp_path / "r").write_bytes(b"root")
        daemon.aliases["first"] = hashlib.sha256(b"metaroot").hexdigest()
        image = {"alias": "second", "files": {"metadata": str(tmp_path / "m"), "rootfs": str(tmp_path / "r")}}

        ensure(described(WEB, image=image), daemon, False, host)

        assert daemon.aliases["second"] == daemon.aliases["first"]

    def test_an_import_that_fails_says_so(self, daemon, host, tmp_path, monkeypatch):
        (tmp_path / "m").write_bytes(b"meta")
        image = {"alias": "our/own", "files": {"metadata": str(tmp_path / "m"), "rootfs": str(tmp_path / "m")}}

        def refuse(*_):
            raise LxdError("Importing the image our/own: no space left on device")

        monkeypatch.setattr(daemon, "run", refuse)
        with pytest.raises(LxdError, match="no space left on device"):
            ensure(described(WEB, image=image), daemon, False, host)
        assert "our/own" not in daemon.aliases

    def test_a_missing_file_is_named(self, daemon, host):
        image = {"alias": "our/own", "files": {"metadata": "/none/m", "rootfs": "/none/r"}}

        with pytest.raises(LxdError, match="/none/m is not a file on this host"):
            ensure(described(WEB, image=image), daemon, True, host)
