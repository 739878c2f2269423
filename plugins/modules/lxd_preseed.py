#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lxd_preseed
short_description: Converge LXD's settings, storage pools, networks and profiles
version_added: 0.1.0
author: The securebox.stack maintainers (@securebox)
description:
  - Takes the description that C(lxd init --preseed) takes, compares what it names with what LXD has, and hands only
    what differs to C(lxd init --preseed), which adds it or merges it, all or nothing.
  - What is not named is left alone. Nothing is ever deleted.
options:
  config:
    description: Settings of the server.
    type: dict
    default: {}
  storage_pools:
    description: Storage pools.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the pool.
        type: str
        required: true
      driver:
        description: Its driver, which cannot change later.
        type: str
        required: true
      description:
        description: A text for people.
        type: str
      config:
        description: Settings. V(source) and V(size) are where it begins, and compared no more once it exists.
        type: dict
        default: {}
  networks:
    description: Networks.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the network, and of its interface.
        type: str
        required: true
      type:
        description: Its type, which cannot change later.
        type: str
        default: bridge
      description:
        description: A text for people.
        type: str
      config:
        description: Settings.
        type: dict
        default: {}
  profiles:
    description: Profiles.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the profile.
        type: str
        required: true
      description:
        description: A text for people.
        type: str
      config:
        description: Settings of the instances.
        type: dict
        default: {}
      devices:
        description: Devices of the instances.
        type: dict
        default: {}
extends_documentation_fragment:
  - securebox.stack.lxd
seealso:
  - module: securebox.stack.lxd_instances
  - name: LXD preseed
    description: The format, in LXD's documentation.
    link: https://documentation.ubuntu.com/lxd/en/latest/howto/initialize/
"""

EXAMPLES = r"""
- name: One pool, one bridge, one profile
  securebox.stack.lxd_preseed:
    storage_pools:
      - {name: main, driver: dir}
    networks:
      - name: web
        config: {ipv4.address: 10.90.1.1/24, ipv4.nat: true, ipv6.address: none}
    profiles:
      - name: web
        config: {security.nesting: false}
        devices:
          root: {type: disk, pool: main, path: /}
"""

RETURN = r"""
preseed:
  description: What was handed to C(lxd init --preseed), or would be. Empty when nothing differs.
  returned: success
  type: dict
  sample: {networks: [{name: web, type: bridge, config: {ipv4.nat: "true"}}]}
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.securebox.stack.plugins.module_utils import lxd

# Section, path in LXD's API, what cannot change once it is there.
SECTIONS = (
    ("storage_pools", "storage-pools", "driver"),
    ("networks", "networks", "type"),
    ("profiles", "profiles", ""),
)
# LXD answers these with what it made of them, and cannot change them.
FIRST_ONLY = {"storage_pools": ("source", "size")}


def wanted_of(section: str, entry: dict[str, t.Any], current: lxd.Document | None) -> lxd.Document:
    """An entry of the description as LXD writes it, without what is compared no more."""
    skip = FIRST_ONLY.get(section, ()) if current else ()
    wanted = {key: value for key, value in entry.items() if value is not None}
    wanted["config"] = {k: v for k, v in lxd.texts(entry["config"]).items() if k not in skip}
    if "devices" in wanted:
        wanted["devices"] = {name: lxd.texts(device) for name, device in entry["devices"].items()}
    return wanted


def like(current: lxd.Document, wanted: lxd.Document) -> lxd.Document:
    """The part of what is there that the description names."""
    return {
        key: like(current.get(key) or {}, value) if isinstance(value, dict) else current.get(key, "")
        for key, value in wanted.items()
    }


def refuse_change_of_kind(section: str, fixed: str, current: lxd.Document, wanted: lxd.Document) -> None:
    if fixed and current[fixed] != wanted[fixed]:
        raise lxd.LxdError(
            f"{section}: {wanted['name']} is there already with {fixed} {current[fixed]}, not {wanted[fixed]}, and LXD "
            "cannot change that. Take another name, or remove it by hand if nothing uses it"
        )


def ensure(params: dict[str, t.Any], backend: lxd.Lxd, check_mode: bool) -> dict[str, t.Any]:
    """Observe, compare, hand over what differs."""
    before: lxd.Document = {}
    preseed: lxd.Document = {}
    config = lxd.texts(params["config"])
    current_config = like(backend.get("")[0]["config"], config)
    if config != current_config:
        before["config"], preseed["config"] = current_config, config

    for section, path, fixed in SECTIONS:
        found = {entry["name"]: entry for entry in backend.get(path, recursion=1)[0]} if params[section] else {}
        for entry in params[section]:
            current = found.get(entry["name"])
            wanted = wanted_of(section, entry, current)
            if current:
                refuse_change_of_kind(section, fixed, current, wanted)
            if not current or like(current, wanted) != wanted:
                before.setdefault(section, []).append(like(current, wanted) if current else {})
                preseed.setdefault(section, []).append(wanted)

    if preseed and not check_mode:
        # JSON is YAML. The server's settings have to be there, if only as an empty map.
        backend.run(["lxd", "init", "--preseed"], "lxd init --preseed", json.dumps({"config": {}, **preseed}))
    return {"changed": bool(preseed), "preseed": preseed, "diff": {"before": before, "after": preseed}}


def main() -> None:
    entry: dict[str, t.Any] = {
        "name": {"type": "str", "required": True},
        "description": {"type": "str"},
        "config": {"type": "dict", "default": {}},
    }

    def entries(**more: t.Any) -> dict[str, t.Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": {**entry, **more}}

    module = AnsibleModule(
        argument_spec={
            **lxd.ARGUMENTS,
            "config": {"type": "dict", "default": {}},
            "storage_pools": entries(driver={"type": "str", "required": True}),
            "networks": entries(type={"type": "str", "default": "bridge"}),
            "profiles": entries(devices={"type": "dict", "default": {}}),
        },
        supports_check_mode=True,
    )
    if lxd.pylxd is None:
        module.fail_json(msg=missing_required_lib("pylxd"))
    try:
        module.exit_json(**ensure(module.params, lxd.Lxd.connect(module.params), module.check_mode))
    except lxd.LxdError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
