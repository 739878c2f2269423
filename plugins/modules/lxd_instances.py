#!/usr/bin/python
# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lxd_instances
short_description: Converge a set of LXD containers, all at once
version_added: 0.1.0
author: The securebox.stack maintainers (@securebox)
description:
  - Creates the containers of the description that are missing, hands them their storage, starts them, and waits until
    Ansible can work in them. All of them at the same time, in one call.
  - Storage is verified before anything is changed, and attached before a container first starts, so that nothing is
    written beside it.
  - Settings and devices that the description does not name stay as they are. Containers that it does not name are left
    alone. No container is ever deleted, made anew, restarted, or stopped by force.
options:
  instances:
    description: The containers.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the container, and its host name.
        type: str
        required: true
      image:
        description: Its image, if not O(image). Looked at when the container is created, and never again.
        type: dict
        suboptions: &image
          alias:
            description: Name of the image in LXD, or on the server O(ignore:remote).
            type: str
            required: true
          remote:
            description: Name of a public server. V(images) and V(ubuntu) are known.
            type: str
          server:
            description: Address of the server, for another O(ignore:remote). It has to speak simplestreams.
            type: str
          files:
            description: Files on the target to import the image from, if LXD has none with the alias yet.
            type: dict
            suboptions:
              metadata:
                description: The archive with C(metadata.yaml).
                type: path
                required: true
              rootfs:
                description: The root filesystem, as squashfs or archive.
                type: path
                required: true
      profiles:
        description: Its profiles, if not O(profiles).
        type: list
        elements: str
      network:
        description:
          - Managed network of its interface C(eth0), on which MAC and IP addresses are filtered, so that it can use
            only its own.
        type: str
      ipv4:
        description: Its address in the O(instances[].network).
        type: str
      ipv6:
        description: Its address in the O(instances[].network).
        type: str
      cpu:
        description: Number of CPUs, or a range of them.
        type: str
      memory:
        description: Most memory it may use.
        type: str
      processes:
        description: Most processes it may have.
        type: int
      autostart:
        description: Whether it starts when the host does.
        type: bool
        default: false
      config:
        description: More settings.
        type: dict
        default: {}
      state:
        description:
          - V(started) and V(stopped) start it, or shut it down in good order.
          - V(present) leaves it as it is, and a new one stopped.
        type: str
        choices: [started, stopped, present]
        default: started
  image:
    description: The image of containers that name none.
    type: dict
    suboptions: *image
  profiles:
    description: The profiles of containers that name none.
    type: list
    elements: str
    default: [default]
  attachments:
    description: Storage of the containers, as in M(securebox.stack.lxd_storage_attachment).
    type: list
    elements: dict
    default: []
    suboptions:
      instance:
        description: Name of the container. It has to be one of O(instances).
        type: str
        required: true
      device:
        description: Name of the disk device.
        type: str
        default: data
      source:
        description: Directory of the host.
        type: path
      pool:
        description: Storage pool of the O(attachments[].volume).
        type: str
      volume:
        description: Custom volume to attach instead of a directory.
        type: str
      path:
        description: Where the container finds it.
        type: str
        required: true
      shift:
        description: Map the owners of the files into the container's own range of ids.
        type: bool
        default: true
      readonly:
        description: Whether the container may only read.
        type: bool
        default: false
  luks_uuid:
    description: UUID of the LUKS2 volume, open and mounted, in which every O(attachments[].source) has to lie.
    type: str
  bootstrap_python:
    description: Install C(python3) in Debian and Ubuntu containers that have none. They need a package mirror for it.
    type: bool
    default: true
extends_documentation_fragment:
  - securebox.stack.lxd
notes:
  - Every container gets an id range of its own and cannot nest, unless O(instances[].config) says otherwise.
seealso:
  - module: securebox.stack.lxd_preseed
  - module: securebox.stack.lxd_storage_attachment
"""

EXAMPLES = r"""
- name: Two containers, the second with a directory of its own
  securebox.stack.lxd_instances:
    image: {remote: images, alias: debian/12}
    instances:
      - {name: web1, network: web, ipv4: 10.90.1.10, cpu: 1, memory: 512MiB}
      - {name: db1, network: db, ipv4: 10.90.2.10, memory: 2GiB, processes: 500}
    attachments:
      - {instance: db1, source: /srv/data/db1, path: /var/lib/postgresql}

- name: An image from two files that are on the target already
  securebox.stack.lxd_instances:
    image:
      alias: ours
      files: {metadata: /var/cache/ours/lxd.tar.xz, rootfs: /var/cache/ours/rootfs.squashfs}
    instances:
      - {name: web1, network: web}
"""

RETURN = r"""
restart_required:
  description: Running containers with a change that they see only after a restart. They are not restarted.
  returned: success
  type: list
  elements: str
  sample: [web1]
created:
  description: Containers that were created, or would be.
  returned: success
  type: list
  elements: str
  sample: [web1, db1]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.securebox.stack.plugins.module_utils import (
    lxd,
    lxd_attachment,
    lxd_image,
    lxd_ready,
)

FILTERED = "eth0"
NIC_KEYS = ("type", "name", "network", "ipv4.address", "ipv6.address", "security.mac_filtering",
            "security.ipv4_filtering", "security.ipv6_filtering")
OWN = {"security.idmap.isolated": True, "security.nesting": False}
LIMITS = {"cpu": "limits.cpu", "memory": "limits.memory", "processes": "limits.processes"}
# A running container keeps the old value of these.
NEED_RESTART = ("security.", "raw.", "linux.")


def nic(instance: dict[str, t.Any]) -> dict[str, str]:
    """Its interface, which can use its own addresses and no others. Where none is given, LXD chooses it."""
    device = {"type": "nic", "name": FILTERED, "network": instance["network"], "security.mac_filtering": "true"}
    for family in ("ipv4", "ipv6"):
        device[f"security.{family}_filtering"] = "true"
        if instance.get(family):
            device[f"{family}.address"] = instance[family]
    return device


def settings(instance: dict[str, t.Any]) -> dict[str, str]:
    wanted = {key: instance.get(option) for option, key in LIMITS.items()}
    return lxd.texts({**OWN, **wanted, "boot.autostart": instance["autostart"], **instance["config"]})


def merged(instance: dict[str, t.Any], document: lxd.Document) -> lxd.Document:
    """What is there, with what the description says about it."""
    document["config"].update(settings(instance))
    if instance.get("profiles"):
        document["profiles"] = instance["profiles"]
    if instance.get("network"):
        kept = {k: v for k, v in document["devices"].get(FILTERED, {}).items() if k not in NIC_KEYS}
        document["devices"][FILTERED] = {**kept, **nic(instance)}
    return document


def part(document: lxd.Document) -> lxd.Document:
    config = {key: value for key, value in document["config"].items() if not key.startswith(("volatile.", "image."))}
    return {"config": config, "devices": document["devices"], "profiles": document["profiles"]}


def needs_restart(before: lxd.Document, after: lxd.Document) -> bool:
    old, new = before["config"], after["config"]
    touched = [key for key in {*old, *new} if old.get(key) != new.get(key)]
    return any(key.startswith(NEED_RESTART) for key in touched) or (
        before["devices"].get(FILTERED) != after["devices"].get(FILTERED) or before["profiles"] != after["profiles"]
    )


class Convergence:
    """One call: what is there, what is wanted, and the steps between, each for all instances at once."""

    def __init__(self, params: dict[str, t.Any], backend: lxd.Lxd, check_mode: bool, host: lxd_attachment.Host) -> None:
        self.params, self.lxd, self.check_mode, self.host = params, backend, check_mode, host
        self.wanted: dict[str, dict[str, t.Any]] = {
            i["name"]: {**i, "profiles": i.get("profiles") or params["profiles"]} for i in params["instances"]
        }
        self.there: dict[str, lxd.Document] = {}
        self.before: dict[str, t.Any] = {}
        self.after: dict[str, t.Any] = {}
        self.warnings: list[str] = []
        self.restart_required: list[str] = []
        self.changed = False

    def note(self, name: str, before: t.Any, after: t.Any) -> None:
        if before != after:
            self.changed = True
            self.before.setdefault(name, {}).update(before)
            self.after.setdefault(name, {}).update(after)

    def observe(self) -> None:
        """See what is there, and refuse what cannot be, before anything is changed."""
        self.there = {d["name"]: d for d in self.lxd.get("instances", recursion=1)[0]}
        for attachment in self.attachments():
            if attachment["instance"] not in self.wanted:
                raise lxd.LxdError(f"attachments: {attachment['instance']} is not one of the instances")
            self.warnings += lxd_attachment.verify(attachment, self.lxd, self.host, self.check_mode)
        for name in self.missing():
            if not (self.wanted[name].get("image") or self.params["image"]):
                raise lxd.LxdError(f"{name} does not exist, and there is no image to create it from: set image")

    def attachments(self) -> list[dict[str, t.Any]]:
        return [{**a, "luks_uuid": self.params["luks_uuid"] if a.get("source") else None}
                for a in self.params["attachments"]]

    def missing(self) -> list[str]:
        return [name for name in self.wanted if name not in self.there]

    def create(self) -> list[str]:
        missing = self.missing()
        images = {name: self.wanted[name].get("image") or self.params["image"] for name in missing}
        # All images before the first container: importing one takes longer than LXD remembers how a creation went.
        for image in images.values():
            self.changed |= lxd_image.ensure(image, self.lxd, self.check_mode)
        for name in missing:
            document = merged(self.wanted[name], {"config": {}, "devices": {}, "profiles": []})
            self.note(name, {}, document)
            if not self.check_mode:
                # One after the other: LXD gives two that are made at the same time wrong isolated id ranges, because
                # it counts a container without a range yet as one that begins at 0.
                body = {"name": name, "type": "container", "source": lxd_image.source(images[name]), **document}
                self.lxd.change("POST", "instances", body, f"Creating {name}")
                self.there[name] = {"status": "Stopped"}
        return missing

    def change(self, created: list[str]) -> None:
        for name in [n for n in self.wanted if n in self.there and n not in created]:
            wanted, current = self.wanted[name], self.there[name]
            before, after = part(current), part(merged(wanted, {**current, **_copied(current)}))
            self.note(name, before, after)
            if before != after and not self.check_mode:
                self.lxd.update(name, lambda document, wanted=wanted: merged(wanted, document))
            if current["status"] == "Running" and needs_restart(before, after):
                self.restart_required.append(name)

    def attach(self) -> None:
        for attachment in self.attachments():
            name = attachment["instance"]
            if name not in self.there:
                self.note(name, {}, {"attached": attachment["device"]})
                continue
            result = lxd_attachment.ensure(attachment, self.lxd, self.check_mode, self.host)
            self.warnings += result["warnings"]
            self.changed |= result["changed"]
            self.note(name, result["diff"]["before"], result["diff"]["after"])

    def switch(self) -> None:
        operations: dict[str, tuple[str, str]] = {}
        for name, wanted in self.wanted.items():
            status = self.there.get(name, {}).get("status", "Stopped")
            target = {"started": "Running", "stopped": "Stopped"}.get(wanted["state"], status)
            self.note(name, {"status": status}, {"status": target})
            if status != target and not self.check_mode:
                if status not in ("Running", "Stopped"):
                    raise lxd.LxdError(f"{name} is {status.lower()}: see to it by hand, then run again")
                action, what = ("start", f"Starting {name}") if target == "Running" else ("stop", f"Stopping {name}")
                body = {"action": action, "force": False, "timeout": int(self.lxd.deadline.left(what))}
                operations[name] = (self.lxd.send("PUT", f"instances/{name}/state", body), what)
        try:
            self.lxd.wait_each(operations)
        except lxd.LxdError as error:
            raise lxd.LxdError(f"{error}. The log may say more: lxc info NAME --show-log") from error

    def wait(self) -> None:
        names = [name for name, wanted in self.wanted.items() if wanted["state"] == "started"]
        addresses = {n: [a for a in (self.wanted[n].get("ipv4"), self.wanted[n].get("ipv6")) if a] for n in names}
        if not self.check_mode:
            given = lxd_ready.wait_for(self.lxd, addresses, self.params["bootstrap_python"])
            self.changed |= bool(given)


def _copied(document: lxd.Document) -> lxd.Document:
    return {"config": dict(document["config"]), "devices": dict(document["devices"])}


def ensure(
    params: dict[str, t.Any], backend: lxd.Lxd, check_mode: bool, host: lxd_attachment.Host | None = None
) -> dict[str, t.Any]:
    """Observe, create, change, attach, start, wait."""
    convergence = Convergence(params, backend, check_mode, host or lxd_attachment.Host())
    convergence.observe()
    created = convergence.create()
    convergence.change(created)
    convergence.attach()
    convergence.switch()
    convergence.wait()
    return {
        "changed": convergence.changed,
        "created": created,
        "restart_required": convergence.restart_required,
        "warnings": convergence.warnings,
        "diff": {"before": convergence.before, "after": convergence.after},
    }


IMAGE: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "alias": {"type": "str", "required": True},
        "remote": {"type": "str"},
        "server": {"type": "str"},
        "files": {
            "type": "dict",
            "options": {
                "metadata": {"type": "path", "required": True},
                "rootfs": {"type": "path", "required": True},
            },
        },
    },
}
INSTANCE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "image": IMAGE,
    "profiles": {"type": "list", "elements": "str"},
    "network": {"type": "str"},
    "ipv4": {"type": "str"},
    "ipv6": {"type": "str"},
    "cpu": {"type": "str"},
    "memory": {"type": "str"},
    "processes": {"type": "int"},
    "autostart": {"type": "bool", "default": False},
    "config": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["started", "stopped", "present"], "default": "started"},
}
ATTACHMENT: dict[str, t.Any] = {
    "instance": {"type": "str", "required": True},
    "device": {"type": "str", "default": "data"},
    "source": {"type": "path"},
    "pool": {"type": "str"},
    "volume": {"type": "str"},
    "path": {"type": "str", "required": True},
    "shift": {"type": "bool", "default": True},
    "readonly": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **lxd.ARGUMENTS,
            "instances": {"type": "list", "elements": "dict", "required": True, "options": INSTANCE},
            "image": IMAGE,
            "profiles": {"type": "list", "elements": "str", "default": ["default"]},
            "attachments": {
                "type": "list", "elements": "dict", "default": [], "options": ATTACHMENT,
                "mutually_exclusive": [("source", "volume")], "required_one_of": [("source", "volume")],
                "required_together": [("pool", "volume")],
            },
            "luks_uuid": {"type": "str"},
            "bootstrap_python": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if lxd.pylxd is None:
        module.fail_json(msg=missing_required_lib("pylxd"))
    try:
        result = ensure(module.params, lxd.Lxd.connect(module.params), module.check_mode)
    except lxd.LxdError as error:
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result["restart_required"]:
        module.warn(f"Changed, but only after a restart: {', '.join(result['restart_required'])} (lxc restart NAME).")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
