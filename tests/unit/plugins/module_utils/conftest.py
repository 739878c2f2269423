# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sites for the tests of the input check: the example inventory, filled in, with a few variables put wrong."""

from __future__ import annotations

import pytest
from site_factory import FILLED_IN, ROLES, ROOT, UNSET


@pytest.fixture(scope="session")
def inventory():
    """The example inventory, read by Ansible itself."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    loader = DataLoader()
    return InventoryManager(loader=loader, sources=[str(ROOT / "inventories/example/hosts.yml")]), loader


@pytest.fixture
def make_site(inventory):
    """A site with variables changed: {group or host: {variable: value, or UNSET}}, and groups as {group: hosts}."""
    from ansible.vars.hostvars import HostVars
    from ansible.vars.manager import VariableManager
    from ansible_collections.securebox.stack.plugins.action.inventory_check import build_site
    from ansible_collections.securebox.stack.plugins.module_utils.inventory_check.model import Server

    manager, loader = inventory

    def make(changes=None, groups=None):
        variables = VariableManager(loader=loader, inventory=manager)
        known = {name: list(hosts) for name, hosts in manager.get_groups_dict().items()}
        unset: dict[str, set[str]] = {}
        for layer in (FILLED_IN, changes or {}):
            for place, values in layer.items():
                for host in known.get(place, [place]):
                    unset.setdefault(host, set()).update(name for name, value in values.items() if value is UNSET)
                    facts = {name: as_template(value) for name, value in values.items() if value is not UNSET}
                    variables.set_nonpersistent_facts(host, facts)
        hostvars = HostVars(inventory=manager, variable_manager=variables, loader=loader)
        raw_get = hostvars.raw_get
        hostvars.raw_get = lambda host: {
            name: value for name, value in raw_get(host).items() if name not in unset.get(host, set())
        }
        site = build_site(loader, {"groups": {**known, **(groups or {})}, "hostvars": hostvars}, ROLES)
        site.controller.has_terminal = False
        site.server = Server(
            distribution="debian",
            release="12",
            architecture="x86_64",
            python="3.11.2",
            memory=8 * 1024**3,
            cpus=4,
            disks={"/": (150 * 1024**3, 160 * 1024**3)},
            mounts={"/": "/dev/vda1"},
            addresses=[("eth0", "203.0.113.10/24"), ("eth0", "2001:db8::10/64")],
            routes=[("eth0", "203.0.113.0/24")],
            paths={"/var/lib/securebox/data.luks": {"type": "missing", "size": 0, "signatures": []}},
            lxd="available",
        )
        return site

    return make


def as_template(value):
    """Core 2.19 and later resolve only what comes from a trusted source, such as an inventory."""
    try:
        from ansible.template import trust_as_template
    except ImportError:
        return value
    return trust_as_template(value) if isinstance(value, str) and "{{" in value else value
