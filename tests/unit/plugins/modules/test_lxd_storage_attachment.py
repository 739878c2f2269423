# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage reaches an instance without touching anything else of it, and only from where it has to come from."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.lxd import Conflict, LxdError
from ansible_collections.securebox.stack.plugins.module_utils.lxd_attachment import ensure
from lxd_daemon import Daemon, Directories

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
DATA = {"type": "disk", "source": "/srv/box/db1", "path": "/var/lib/data", "shift": "true"}
NIC = {"type": "nic", "network": "web"}


@pytest.fixture
def daemon():
    daemon = Daemon()
    daemon.add("db1", devices={"eth0": dict(NIC), "extra": {"type": "disk", "source": "/opt", "path": "/opt"}})
    return daemon


@pytest.fixture
def host():
    directories = Directories(_srv_box_db1=(0, 0, True))
    directories.luks["/srv/box/db1"] = UUID
    return directories


def wanted(**more):
    return {"instance": "db1", "device": "data", "source": "/srv/box/db1", "path": "/var/lib/data", "shift": True,
            "readonly": False, "state": "present", **more}


def test_check_do_repeat_and_repeat_in_check(daemon, host):
    """Check mode says what happens and does nothing; the second run finds nothing to do."""
    untouched = copy.deepcopy(daemon.instances)

    said = ensure(wanted(), daemon, True, host)
    assert said["changed"]
    assert daemon.instances == untouched

    done = ensure(wanted(), daemon, False, host)
    assert done["diff"] == said["diff"] == {"before": {"data": {}}, "after": {"data": DATA}}
    assert daemon.instances["db1"]["devices"]["data"] == DATA

    assert not ensure(wanted(), daemon, False, host)["changed"]
    assert not ensure(wanted(), daemon, True, host)["changed"]


def test_other_devices_and_settings_stay(daemon, host):
    """LXD's PUT drops what it does not name; a network interface lost that way is an outage."""
    before = copy.deepcopy(daemon.instances["db1"])

    ensure(wanted(), daemon, False, host)

    after = daemon.instances["db1"]
    assert {k: v for k, v in after["devices"].items() if k != "data"} == before["devices"]
    assert after["config"] == before["config"]


def test_a_change_by_somebody_else_at_the_same_time_is_kept(daemon, host):
    """The write carries the ETag of what was read: on a conflict it reads again and adds to that."""
    def somebody(document):
        document["devices"]["gpu"] = {"type": "gpu"}

    daemon.meanwhile = [somebody]

    ensure(wanted(), daemon, False, host)

    assert set(daemon.instances["db1"]["devices"]) == {"eth0", "extra", "gpu", "data"}
    assert daemon.changes() == [("PUT", "instances/db1")] * 2


def test_conflicts_without_end_meet_the_deadline(daemon, host):
    def somebody(document):
        document["config"]["n"] = str(daemon.clock.now)

    daemon.meanwhile = [somebody] * 1000

    with pytest.raises(LxdError, match="others keep changing: not done within 60 s") as caught:
        ensure(wanted(), daemon, False, host)
    assert not isinstance(caught.value, Conflict)


def test_detaching_takes_away_this_device_only(daemon, host):
    ensure(wanted(), daemon, False, host)

    result = ensure(wanted(state="absent"), daemon, False, host)

    assert result["changed"] and result["attachment"] == {}
    assert set(daemon.instances["db1"]["devices"]) == {"eth0", "extra"}
    assert not ensure(wanted(state="absent"), daemon, False, host)["changed"]


def test_detaching_works_while_the_volume_is_locked(daemon):
    daemon.instances["db1"]["devices"]["data"] = dict(DATA)

    assert ensure(wanted(state="absent", luks_uuid=UUID), daemon, False, Directories())["changed"]


def test_a_device_of_another_kind_is_never_replaced(daemon, host):
    with pytest.raises(LxdError, match="device eth0 of db1 is its nic"):
        ensure(wanted(device="eth0"), daemon, False, host)
    assert daemon.instances["db1"]["devices"]["eth0"] == NIC


def test_only_the_expected_volume_will_do(daemon, host):
    """Refused on another volume, and on none; done on the right one."""
    with pytest.raises(LxdError, match="db1: /srv/box/db1 is not in 1111"):
        ensure(wanted(luks_uuid="1111"), daemon, False, host)
    with pytest.raises(LxdError, match="does not exist"):
        ensure(wanted(luks_uuid=UUID), daemon, False, Directories())
    assert daemon.changes() == []

    assert ensure(wanted(luks_uuid=UUID), daemon, False, host)["changed"]


def test_what_is_attached_already_is_verified_all_the_same(daemon, host):
    """An instance with its data beside the volume has to be noticed at every run."""
    ensure(wanted(luks_uuid=UUID), daemon, False, host)
    host.luks.clear()

    with pytest.raises(LxdError):
        ensure(wanted(luks_uuid=UUID), daemon, False, host)


def test_a_dry_run_before_the_volume_exists_warns(daemon):
    result = ensure(wanted(luks_uuid=UUID), daemon, True, Directories())

    assert result["changed"]
    assert "could not be checked" in result["warnings"][0]


def test_an_instance_that_is_not_there(daemon, host):
    with pytest.raises(LxdError, match="no instance db2 in project default"):
        ensure(wanted(instance="db2"), daemon, False, host)


def test_a_custom_volume(daemon, host):
    volume = {"source": None, "pool": "main", "volume": "uploads", "readonly": True}
    with pytest.raises(LxdError, match="no custom volume uploads in the pool main"):
        ensure(wanted(**volume), daemon, False, host)

    daemon.volumes.add(("main", "uploads"))
    result = ensure(wanted(**volume), daemon, False, host)

    assert result["attachment"] == {
        "type": "disk", "pool": "main", "source": "uploads", "path": "/var/lib/data", "readonly": "true",
    }


class TestWithoutIdShifting:
    """Where the kernel cannot shift, the files still have to belong to the instance."""

    @pytest.fixture(autouse=True)
    def no_shifting(self, daemon):
        daemon.features = {"idmapped_mounts": "false", "shiftfs": "false"}

    def test_a_fresh_directory_is_given_to_the_instances_root(self, daemon, host):
        said = ensure(wanted(), daemon, True, host)
        assert said["changed"] and host.given == []

        done = ensure(wanted(), daemon, False, host)

        assert host.given == [("/srv/box/db1", 1000000, 1000000)]
        assert "shift" not in done["attachment"]
        assert "cannot be shifted" in done["warnings"][0]
        assert not ensure(wanted(), daemon, False, host)["changed"]

    def test_files_of_others_are_not_touched(self, daemon):
        host = Directories(_srv_box_db1=(33, 33, False))

        with pytest.raises(LxdError, match="holds files of 33:33, whom db1 cannot own: its ids begin at 1000000"):
            ensure(wanted(), daemon, False, host)
        assert host.given == [] and daemon.changes() == []

    def test_nobody_asked_for_shifting(self, daemon, host):
        assert ensure(wanted(shift=False), daemon, False, host)["warnings"] == []
        assert host.given == []


def test_in_a_container_the_kernels_word_is_not_enough(daemon, host):
    """A nested LXD says that the kernel can, but it cannot on the outer host's filesystems."""
    host.all_ids = False

    assert "shift" not in ensure(wanted(), daemon, False, host)["attachment"]


def test_a_privileged_instance_needs_no_shifting(daemon, host):
    daemon.instances["db1"]["config"]["security.privileged"] = "true"

    assert "shift" not in ensure(wanted(), daemon, False, host)["attachment"]


def test_a_failed_operation_is_told_in_lxds_words(daemon, host):
    daemon.broken["put db1"] = "Failed to start device"

    with pytest.raises(LxdError, match="Changing db1: Failed to start device"):
        ensure(wanted(), daemon, False, host)
