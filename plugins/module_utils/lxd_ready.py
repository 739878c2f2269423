# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting, all instances at once, until Ansible can work in them: booted, with their addresses and a Python."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.securebox.stack.plugins.module_utils.lxd import Lxd, LxdError

READY, NO_PYTHON, BOOTING = 0, 3, 4
PROBE = (
    'if command -v systemctl >/dev/null; then case "$(systemctl is-system-running 2>/dev/null)" in '
    f"running|degraded) ;; *) exit {BOOTING} ;; esac; fi; command -v python3 >/dev/null || exit {NO_PYTHON}"
)
INSTALL = (
    "export DEBIAN_FRONTEND=noninteractive; "
    "apt-get -qq update && apt-get -qq -y --no-install-recommends install python3"
)


def start_command(lxd: Lxd, name: str, script: str) -> str:
    body = {"command": ["/bin/sh", "-c", script], "interactive": False, "wait-for-websocket": False}
    return lxd.send("POST", f"instances/{name}/exec", body)


def run_everywhere(lxd: Lxd, names: t.Iterable[str], script: str, what: str) -> dict[str, int]:
    """Start the command in all of them, then collect what each answered."""
    operations = {name: (start_command(lxd, name, script), f"{what} in {name}") for name in names}
    return {name: int(answer.get("return", -1)) for name, answer in lxd.wait_each(operations).items()}


def missing_addresses(lxd: Lxd, name: str, wanted: t.Iterable[str]) -> list[str]:
    network = (lxd.get(f"instances/{name}/state")[0].get("network") or {}).values()
    there = {ipaddress.ip_address(a["address"]) for interface in network for a in interface.get("addresses") or []}
    return [address for address in wanted if ipaddress.ip_address(address) not in there]


def install_python(lxd: Lxd, names: list[str], allowed: bool) -> None:
    if not allowed:
        raise LxdError(f"There is no python3 in {', '.join(names)}: take an image with it, or set bootstrap_python")
    for name, code in run_everywhere(lxd, names, INSTALL, "Installing python3").items():
        if code != 0:
            raise LxdError(
                f"Installing python3 in {name} failed with {code}. See what it says: lxc exec {name} -- apt-get update"
            )


def wait_for(lxd: Lxd, addresses: dict[str, list[str]], bootstrap_python: bool) -> list[str]:
    """Return when every instance is ready; the names of those that were given a Python."""
    given: list[str] = []
    pending = dict(addresses)
    pause = 0.25
    while pending:
        codes = run_everywhere(lxd, pending, PROBE, "Looking whether the system is up")
        missing = {name: missing_addresses(lxd, name, pending[name]) for name in pending}
        # Its network has to be up before anything can be installed.
        bare = [name for name, code in codes.items() if code == NO_PYTHON and not missing[name]]
        if bare:
            install_python(lxd, bare, bootstrap_python)
            given += bare
        pending = {
            name: pending[name] for name in pending if name not in bare and (codes[name] != READY or missing[name])
        }
        if pending:
            lxd.pause(pause)
            pause = min(2, pause * 2)
        for name in pending:
            lxd.deadline.left(describe(name, codes[name], missing[name]))
    return given


def describe(name: str, code: int, missing: list[str]) -> str:
    if code == BOOTING:
        return f"{name} is still starting; what it waits for: lxc exec {name} -- systemctl list-jobs"
    if missing:
        return (
            f"{name} has not got {' and '.join(missing)}; its system has to ask for addresses by DHCP"
            f"{' and DHCPv6' if any(':' in address for address in missing) else ''}"
        )
    return f"{name} answers with {code}"
