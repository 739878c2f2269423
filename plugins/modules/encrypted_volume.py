#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: encrypted_volume
short_description: Make, open, grow and close a LUKS2 volume in a file or on a block device
version_added: "0.1.0"
description:
  - Manages one LUKS2 volume with an ext4 file system inside, by its expected UUID. Anything else is refused.
  - Initialising is an act of its own. Opening never creates and never formats, and initialising refuses everything that
    holds data, is in use, or is not empty.
  - The passphrase never reaches the target as a module argument, in a command line, in the environment or in a file. It
    goes through the connection's standard input straight into C(cryptsetup), whatever Ansible's settings are.
  - An interrupted run is repaired by running again.
notes:
  - With become, the method has to pass standard input through, as C(sudo) does, with or without a password.
  - Define the passphrase in the inventory, not in a task's C(vars), which Ansible keeps and shows with the task.
  - A passphrase with C({{) in it has to be marked C(!unsafe), or be inside a vault's single C(!vault) value.
requirements:
  - cryptsetup 2.4 or later, e2fsprogs and util-linux on the target
author:
  - The securebox.stack maintainers (@securebox)
attributes:
  check_mode:
    description: Refuses what the real run would refuse, and tries the passphrase without opening anything.
    support: full
  diff_mode:
    description: State and size before and after.
    support: full
extends_documentation_fragment:
  - securebox.stack.encrypted_volume
options:
  state:
    description:
      - V(initialised) makes the volume if there is nothing yet, and leaves an existing one alone. It does not open it.
      - V(open) opens it, checks its file system, mounts it, and grows it when O(size) or the device did.
      - V(closed) unmounts and closes it. A busy mount is an error that names the processes.
    type: str
    choices: [initialised, open, closed]
    required: true
  size:
    description:
      - Size of the file, as V(60G). Its blocks are really allocated. A larger size grows an existing volume online; a
        smaller one is refused.
    type: str
  directories:
    description: Directories that are made inside the mounted volume. Existing ones keep their owner and mode.
    type: list
    elements: str
    default: []
  pbkdf_memory:
    description:
      - Memory that argon2id takes for one passphrase, as V(512M). It is needed again at every opening.
      - By default an eighth of the target's memory, at least 64M, at most 1G.
    type: str
  pbkdf_iterations:
    description:
      - Passes of argon2id over that memory. By default so many that their product is four passes over 1G.
    type: int
  passphrase_variable:
    description:
      - The I(name) of the variable that holds the passphrase. It is looked up when the passphrase is needed and not
        before, so the value is never among the task's arguments, where C(ansible_failed_task) and callbacks find it.
      - If that variable is undefined or empty, the passphrase is asked on the terminal, twice for V(initialised).
    type: str
    default: encrypted_volume_passphrase
  header_backup:
    description:
      - A directory on the controller. The LUKS header is kept there, encrypted with a key derived from the passphrase,
        and fetched again whenever a key slot has changed. Older backups stay, and still open with older passphrases.
    type: path
  header_digests:
    description: The header backups that the controller has already. Filled in by the action plugin.
    type: list
    elements: str
    default: []
seealso:
  - module: securebox.stack.encrypted_volume_info
  - module: securebox.stack.box
"""

EXAMPLES = r"""
- name: Make a new, empty volume
  securebox.stack.encrypted_volume:
    name: vault
    file: /var/lib/vault.luks
    size: 60G
    uuid: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11
    mount_point: /srv/vault
    header_backup: "{{ inventory_dir }}/header-backups"
    state: initialised

- name: Open and mount it, with the passphrase from the vault, or asked for
  securebox.stack.encrypted_volume:
    name: vault
    file: /var/lib/vault.luks
    size: 60G
    uuid: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11
    mount_point: /srv/vault
    directories: [documents]
    passphrase_variable: vault_passphrase
    state: open

- name: Close it
  securebox.stack.encrypted_volume:
    name: vault
    file: /var/lib/vault.luks
    uuid: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11
    mount_point: /srv/vault
    state: closed
"""

RETURN = r"""
volume:
  description: The volume as it is now, as M(securebox.stack.encrypted_volume_info) shows it.
  returned: success
  type: dict
  sample: {name: vault, state: mounted, uuid: 6e0a4b1c-3a52-4a6e-9f63-0c9f0a3f6d11}
header_backup:
  description: The header backup that was written on the controller.
  returned: when one was written
  type: str
  sample: inventories/hospital/header-backups/hospital-vault-0a1b2c3d4e5f6071.luksheader.vault
"""

import gzip
import os
import tempfile
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.encrypted_volume import INITIALISING, Observation, SecretCommand, Spec, Volume
from ..module_utils.encrypted_volume_system import VolumeError


class Outcome(t.NamedTuple):
    changed: bool
    state: str
    secret: SecretCommand | None = None


def initialise(volume: Volume, now: Observation, check_mode: bool) -> Outcome:
    """Allocate, (format), (open), make the file system, close: each run does what the last one has not done."""
    if now.header and now.header.uuid == volume.spec.uuid:
        if now.state != INITIALISING:
            return Outcome(False, now.state)
        if not now.header.keyslots:
            # Cut off between the header and its first key slot: nothing opens it, so nothing can be in it.
            return Outcome(True, "closed", None if check_mode else volume.format_command())
        if now.mapping is None:
            return Outcome(True, "closed", None if check_mode else volume.open_command())
        if not check_mode:
            volume.make_file_system()
            volume.close(now)
        return Outcome(True, "closed")
    volume.refuse_to_initialise(now)
    if check_mode:
        return Outcome(True, "closed")
    volume.allocate(now)
    return Outcome(True, "closed", volume.format_command())


def open_and_mount(volume: Volume, now: Observation, check_mode: bool) -> Outcome:
    """Never creates, never formats. Growing comes on the way: file, loop device, mapping, file system."""
    volume.identify(now)
    volume.identify_mount(now)
    volume.refuse_to_shrink(now)
    if now.mapping is None:
        return Outcome(True, "mounted", volume.test_command() if check_mode else volume.open_command())
    grow = volume.file_to_grow(now)
    if grow and not check_mode:
        volume.allocate(now)
        volume.grow_loop()
        now = volume.observe()
    if volume.mapping_to_grow(now) or (grow and check_mode):
        return Outcome(True, "mounted", volume.test_command() if check_mode else volume.resize_command())

    acts: list[t.Callable[[], None]] = []
    if now.state == "open":
        acts += [volume.check_file_system, volume.mount]
    if volume.file_system_to_grow(now):
        acts.append(volume.grow_file_system)
    # Before the mount, none of them can be seen; what is missing then is made after it.
    if now.state == "open" or volume.missing_directories():
        acts.append(volume.make_directories)
    if not check_mode:
        for act in acts:
            act()
    return Outcome(bool(acts), "mounted")


def close(volume: Volume, now: Observation, check_mode: bool) -> Outcome:
    volume.identify_mount(now)
    if not check_mode:
        if now.mounted:
            volume.unmount(now)
        if now.mapping:
            volume.close(now)
    return Outcome(now.mapping is not None, "closed" if now.mapping else now.state)


STATES = {"initialised": initialise, "open": open_and_mount, "closed": close}
GOALS = {"initialised": "closed", "open": "mounted", "closed": "closed"}


def export_header(volume: Volume, directory: str = "/run") -> str:
    """The header in a file in memory, for the account that Ansible logged in with, which fetches and removes it."""
    place = Path(tempfile.mkdtemp(prefix="encrypted_volume.", dir=directory))
    plain, packed = place / "header", place / "header.gz"
    volume.back_up_header(str(plain))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    owner = int(os.environ.get("SUDO_UID", os.getuid()))
    for path in (packed, place):
        os.chown(path, owner, -1)
    return str(packed)


def ensure(params: dict[str, t.Any], volume: Volume, check_mode: bool) -> dict[str, t.Any]:
    """One round: everything up to the next command that needs the passphrase. The action plugin runs that, then us."""
    before = volume.observe()
    if not before.interrupted:
        outcome = STATES[params["state"]](volume, before, check_mode)
    elif check_mode:
        outcome = Outcome(True, GOALS[params["state"]])
    else:
        outcome = STATES[params["state"]](volume, volume.recover(before), check_mode)._replace(changed=True)
    now = before if check_mode or not outcome.changed else volume.observe()
    size = max(before.size, volume.spec.size or 0) if params["state"] != "closed" else before.size
    result: dict[str, t.Any] = {
        "changed": outcome.changed,
        "volume": volume.info(now),
        "diff": {
            "before": {"state": before.state, "size": before.size},
            "after": {"state": outcome.state, "size": size},
        },
    }
    if outcome.secret:
        result["secret_command"] = {"step": outcome.secret.step, "argv": outcome.secret.argv}
    elif params["header_backup"] and now.header and now.header.digest not in params["header_digests"]:
        result["changed"] = True
        if not check_mode:
            result["header_export"] = export_header(volume)
            result["test_command"] = {"step": "test", "argv": volume.test_command().argv}
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "file": {"type": "path"},
            "device": {"type": "path"},
            "uuid": {"type": "str", "required": True},
            "mount_point": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["initialised", "open", "closed"], "required": True},
            "size": {"type": "str"},
            "directories": {"type": "list", "elements": "str", "default": []},
            "pbkdf_memory": {"type": "str"},
            "pbkdf_iterations": {"type": "int"},
            "passphrase_variable": {"type": "str", "default": "encrypted_volume_passphrase", "no_log": False},
            "header_backup": {"type": "path"},
            "header_digests": {"type": "list", "elements": "str", "default": []},
        },
        mutually_exclusive=[("file", "device")],
        required_one_of=[("file", "device")],
        supports_check_mode=True,
    )
    try:
        volume = Volume(Spec.build(module.params))
        module.exit_json(**ensure(module.params, volume, module.check_mode))
    except VolumeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
