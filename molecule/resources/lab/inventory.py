# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as others see it: an Ansible inventory, and molecule's list of instances."""

from __future__ import annotations

import json
import re
import typing as t

from .state import Lab, Machine


def host_vars(lab: Lab, machine: Machine) -> dict[str, t.Any]:
    """How to reach one machine, and what the lab has put on it."""
    variables: dict[str, t.Any] = {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "ansible_user": machine.user,
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": f"-o IdentitiesOnly=yes -o UserKnownHostsFile={lab.directory / 'known_hosts'}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "lab_engine": machine.engine,
        "lab_release": machine.release,
        "lab_public_key": lab.key.with_suffix(".pub").read_text().strip() if lab.key.exists() else "",
    }
    if machine.address6:
        variables["lab_address6"] = machine.address6
    if machine.forwards:
        variables["lab_forwards"] = machine.forwards
    if machine.images:
        variables["lab_images"] = machine.images
    return variables


def inventory(lab: Lab) -> dict[str, t.Any]:
    """All machines, and the groups they were put into."""
    groups: dict[str, t.Any] = {}
    for machine in lab.machines.values():
        for group in machine.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][machine.name] = {}
    result: dict[str, t.Any] = {"hosts": {name: host_vars(lab, machine) for name, machine in lab.machines.items()}}
    if groups:
        result["children"] = groups
    return {"all": result}


def instance_config(lab: Lab) -> list[dict[str, t.Any]]:
    """What molecule's default driver reads to reach the instances."""
    return [
        {
            "instance": machine.name,
            "address": machine.address,
            "port": machine.port,
            "user": machine.user,
            "identity_file": str(lab.key),
        }
        for machine in lab.machines.values()
    ]


def yaml(value: t.Any, indent: int = 0) -> str:
    """Block YAML with JSON scalars: enough for what the lab writes, without a library."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            nested = isinstance(item, dict) and item
            # A port as a key is a text, and a bare 22 would not be.
            name = key if re.fullmatch(r"[a-z]\w*", key) else json.dumps(key)
            lines.append(f"{pad}{name}:\n{yaml(item, indent + 1)}" if nested else f"{pad}{name}: {json.dumps(item)}\n")
        return "".join(lines)
    return f"{pad}{json.dumps(value)}\n"


def write(lab: Lab) -> None:
    """inventory.yml, to be given as another `-i` or read by people."""
    (lab.directory / "inventory.yml").write_text("---\n" + yaml(inventory(lab)))
