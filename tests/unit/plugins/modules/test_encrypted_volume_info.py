# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of a volume without its passphrase, whatever is there."""

from __future__ import annotations

import pytest
from ansible_collections.securebox.stack.plugins.module_utils.encrypted_volume import Volume
from ansible_collections.securebox.stack.plugins.modules import encrypted_volume_info
from encrypted_volume_machine import Machine, header_bytes

UUID = "6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11"
OTHER = "11111111-2222-4333-8444-555555555555"


class Finished(Exception):
    pass


@pytest.fixture
def info(monkeypatch, tmp_path):
    """Run the module on a machine that is not there; the volume's file is real."""

    class Module:
        check_mode = True

        def __init__(self, argument_spec, **_options):
            given = {"name": "vault", "file": str(tmp_path / "v"), "uuid": UUID, "mount_point": "/srv/vault"}
            self.params = {**dict.fromkeys(argument_spec), **given}

        def exit_json(self, **result):
            raise Finished(result)

        def fail_json(self, msg):
            raise Finished({"msg": msg})

    monkeypatch.setattr(encrypted_volume_info, "AnsibleModule", Module)
    monkeypatch.setattr(encrypted_volume_info, "Volume", lambda spec: Volume(spec, Machine()))

    def run(content: bytes | None = None) -> dict:
        if content is not None:
            (tmp_path / "v").write_bytes(content)
        with pytest.raises(Finished) as finished:
            encrypted_volume_info.main()
        return finished.value.args[0]

    return run


def test_a_closed_volume(info):
    result = info(header_bytes(UUID, "vault", slots=2))
    volume = result["volume"]
    assert not result["changed"]
    assert (volume["state"], volume["uuid"], volume["expected"]) == ("closed", UUID, True)
    assert volume["keyslots"][1] == {
        **{"slot": 1, "key_size": 512, "pbkdf": "argon2id"},
        **{"memory": 65536, "iterations": 4, "parallel": 2},
    }


@pytest.mark.parametrize(
    ("content", "state"),
    [(None, "absent"), (bytes(8192), "foreign"), (header_bytes(UUID, "initialising"), "initialising")],
)
def test_what_is_no_finished_volume(info, content, state):
    assert info(content)["volume"]["state"] == state


def test_another_volume_is_shown_as_such(info):
    """Looking is never refused: the one who has to decide needs to see what is there."""
    volume = info(header_bytes(OTHER, "other"))["volume"]
    assert (volume["uuid"], volume["expected"]) == (OTHER, False)


def test_a_luks1_volume_is_an_error(info):
    assert "LUKS1" in info(header_bytes(UUID, "old", version=1))["msg"]
