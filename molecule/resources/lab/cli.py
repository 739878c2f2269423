# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import json
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from . import container, images, inventory, recipes, ssh
from .run import LabError, say, stage
from .state import Lab, Machine, every


def engine(machine: Machine) -> ModuleType:
    """The module that makes machines of this kind: up, down, reboot, alive."""
    if machine.engine == "container":
        return container
    from . import vm

    return vm


def wanted(arguments: argparse.Namespace) -> list[Machine]:
    """The machines asked for: one by options, or several as JSON (molecule's platforms)."""
    if arguments.platforms:
        text = sys.stdin.read() if arguments.platforms == "-" else arguments.platforms
        return [Machine.parse(item) for item in json.loads(text)]
    given = {
        "name": arguments.machine,
        "engine": arguments.engine,
        "release": arguments.release,
        "image": arguments.image,
        "groups": arguments.group,
        "memory": arguments.memory,
        "data_disk": arguments.data_disk,
        "tiers": arguments.tiers,
    }
    return [Machine.parse({key: value for key, value in given.items() if value})]


def up(arguments: argparse.Namespace) -> int:
    """Bring up all machines side by side. Machines that are up already are left alone."""
    lab = Lab(arguments.name)
    fresh = [machine for machine in wanted(arguments) if machine.name not in lab.machines]
    ssh.make_key(lab.key)
    if any(machine.engine == "container" for machine in fresh):
        from . import lxd

        lxd.ensure()
    # Known before they exist, so that `down` also removes what a killed `up` has begun.
    lab.machines |= {machine.name: machine for machine in fresh}
    lab.save()
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            failures = [text for text in pool.map(lambda machine: bring_up(lab, machine), fresh) if text]
        if failures:
            raise LabError("\n".join(failures))
    except BaseException:
        for machine in fresh:
            engine(machine).down(lab, machine, force=True)
            del lab.machines[machine.name]
        lab.save()
        raise
    lab.save()
    ssh.write_files(lab)
    inventory.write(lab)
    show(lab, arguments.output)
    return 0


def bring_up(lab: Lab, machine: Machine) -> str:
    """Bring one machine up; what went wrong is returned, so that one failure does not hide another."""
    try:
        with stage(f"{lab.name}: machine {machine.name} ({machine.engine}, {machine.image}, {machine.release})"):
            engine(machine).up(lab, machine)
    except LabError as error:
        return f"{machine.name}: {error}"
    return ""


def show(lab: Lab, output: str) -> None:
    """Print the lab in the shape that the caller reads."""
    shapes = {
        "yaml": lambda: inventory.yaml(inventory.inventory(lab)),
        "json": lambda: json.dumps(inventory.inventory(lab), indent=2) + "\n",
        "molecule": lambda: json.dumps(inventory.instance_config(lab)) + "\n",
    }
    sys.stdout.write(shapes[output]())


def down(arguments: argparse.Namespace) -> int:
    """Take a lab down, whatever state it is in. Taking down what is not there is no error."""
    labs = every() if arguments.all else [Lab(arguments.name)]
    for lab in labs:
        for machine in list(lab.machines.values()):
            with stage(f"{lab.name}: remove {machine.name}"):
                ssh.close(lab, machine)
                engine(machine).down(lab, machine, force=arguments.force)
        lab.remove()
    if arguments.purge:
        from . import lxd

        lxd.purge()
    return 0


def listing(arguments: argparse.Namespace) -> int:
    """All labs of this checkout."""
    del arguments
    for lab in every():
        for machine in lab.machines.values():
            state = "up" if engine(machine).alive(lab, machine) else "down"
            forwards = " ".join(f"{guest}->{host}" for guest, host in machine.forwards.items())
            where = f"{machine.address}:{machine.port} {forwards}"
            print(f"{lab.name:20} {machine.name:12} {machine.engine:10} {state:5} {where}")
    return 0


def build(arguments: argparse.Namespace) -> int:
    """Build images, or tell which are there."""
    for image in arguments.image:
        for release in arguments.release:
            path = images.directory(image, release)
            if arguments.build:
                images.build(image, release)
            print(f"{image:8} {release:10} {'cached' if path.exists() else 'not built':10} {path}")
    if arguments.prune:
        for path in images.prune():
            say(f"removed {path}")
    return 0


def reboot(arguments: argparse.Namespace) -> int:
    """Restart one machine, or all of a lab, and wait until sshd answers."""
    lab = Lab(arguments.name)
    for machine in lab.machines.values():
        if arguments.machine in (None, machine.name):
            with stage(f"{lab.name}: reboot {machine.name}"):
                ssh.close(lab, machine)
                engine(machine).reboot(lab, machine)
    return 0


def run_ssh(arguments: argparse.Namespace) -> int:
    """Run a command on a machine (the first one, unless named)."""
    lab = Lab(arguments.name)
    name = arguments.machine or next(iter(lab.machines), "")
    if name not in lab.machines:
        raise LabError(f"lab {lab.name} has no machine {name!r}")
    sys.stdout.write(ssh.ssh(lab, lab.machines[name], *arguments.command, timeout=600))
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from . import doctor as checks

    return checks.main(arguments.engine, arguments.install)


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(prog="lab.py", description=__doc__ and "Machines to try the collection on.")
    sub = top.add_subparsers(dest="action", required=True)

    def add(name: str, function: t.Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = sub.add_parser(name, help=(function.__doc__ or name).splitlines()[0])
        command.set_defaults(function=function)
        return command

    command = add("up", up)
    command.add_argument("--name", required=True, help="name of the lab")
    command.add_argument("--platforms", help="machines as JSON (molecule's platforms), or '-': from standard input")
    command.add_argument("--machine", default="server", help="name of the machine, unless --platforms is given")
    command.add_argument("--engine", choices=("container", "vm"), default="container")
    command.add_argument("--release", choices=recipes.RELEASES, default=recipes.RELEASE)
    command.add_argument("--image", choices=("server", "vm", "base", *recipes.TIERS), default="server")
    command.add_argument("--group", action="append", default=[], help="inventory group of the machine; repeat")
    command.add_argument("--memory", type=int, help="MiB (vm)")
    command.add_argument("--data-disk", help="size of a second, blank disk, such as 4G (vm)")
    command.add_argument(
        "--tiers",
        nargs="?",
        const="proxy,app,db",
        type=lambda text: text.split(","),
        help="put these tiers' images on the machine (vm)",
    )
    command.add_argument("--output", choices=("yaml", "json", "molecule"), default="yaml")

    command = add("down", down)
    group = command.add_mutually_exclusive_group(required=True)
    group.add_argument("--name")
    group.add_argument("--all", action="store_true")
    command.add_argument("--force", action="store_true", help="do not wait for a graceful shutdown")
    command.add_argument("--purge", action="store_true", help="also remove the lab's bridge, pool and images from LXD")

    add("list", listing)

    command = add("images", build)
    command.add_argument("--image", nargs="+", default=["server", "vm", "base", *recipes.TIERS])
    command.add_argument("--release", nargs="+", default=[recipes.RELEASE])
    command.add_argument("--build", action="store_true", help="build what is not there")
    command.add_argument("--prune", action="store_true", help="remove images of recipes that have changed since")

    command = add("reboot", reboot)
    command.add_argument("--name", required=True)
    command.add_argument("--machine")

    command = add("ssh", run_ssh)
    command.add_argument("--name", required=True)
    command.add_argument("--machine")
    command.add_argument("command", nargs="+")

    command = add("doctor", doctor)
    command.add_argument("--engine", choices=("container", "vm", "all"), default="all")
    command.add_argument("--install", action="store_true", help="install what is missing (as root)")
    return top


def main(words: list[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    try:
        return int(arguments.function(arguments))
    except (LabError, ValueError) as error:
        say(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        say("lab: interrupted")
        return 130
