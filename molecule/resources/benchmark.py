#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""How hardened a server is afterwards, and what that takes: the role `hardening` beside its peers, in one table.

Each row is a fresh machine of the lab. It gets the judges, then the row's playbook twice, then the judges look.
`docs/benchmarks.md` explains the columns and says how to repeat it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable
from pathlib import Path

from lab import cli, judges, paths, recipes, scores, ssh
from lab.run import LabError, run, say, stage
from lab.scores import Result, Run
from lab.state import Lab, Machine

PAGE = paths.CHECKOUT / "docs" / "benchmarks.md"
WORK = paths.CHECKOUT / ".cache" / "benchmark"
MACHINE = "server"
# One play may take so long before it counts as hung: file integrity databases are made in it.
PATIENCE = 3600

# As molecule's (.config/molecule/config.yml), for all rows.
SETTINGS = """\
[defaults]
gathering = explicit
interpreter_python = /usr/bin/python3
host_key_checking = true
forks = 10
collections_path = {collections}
roles_path = {roles}
[connection]
pipelining = true
[ssh_connection]
ssh_args = -o ControlMaster=auto -o ControlPersist=120s -o ServerAliveInterval=20 -o ServerAliveCountMax=6
"""

# What a server has and a container lacks. The kernel gives its audit messages to the host alone: where a role installs
# auditd, the unit that it starts is there, but writes nothing.
STAND_IN = """\
set -eu
mkdir -p /etc/systemd/system/auditd.service.d
cat > /etc/systemd/system/auditd.service.d/stand-in.conf <<END
[Unit]
ConditionVirtualization=
[Service]
Type=exec
PIDFile=
ExecStart=
ExecStart=/bin/sleep infinity
ExecStartPost=
END
"""

# Peers treat the machine as the server that it stands in for: where devsec sees a container, it leaves the kernel's
# parameters, and lockdown leaves ssh and passwords.
SERVER_FACTS = {
    "name": "Take the container for the server that it stands in for",
    "ansible.builtin.set_fact": {"virtualization_type": "kvm", "virtualization_role": "guest", "cacheable": True},
}

# A server as clouds deliver it: an administrator with a key and sudo. All peers forbid root to log in, so they come in
# as this one, and no variable of theirs has to be bent for it. lockdown leaves `admin` the sudo without a password.
ADMIN = "admin"
DELIVER = f"""\
useradd --create-home --shell /bin/bash --groups sudo {ADMIN}
install -d -m 0700 -o {ADMIN} -g {ADMIN} /home/{ADMIN}/.ssh
install -m 0600 -o {ADMIN} -g {ADMIN} /root/.ssh/authorized_keys /home/{ADMIN}/.ssh/
echo '{ADMIN} ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/{ADMIN}
chmod 0440 /etc/sudoers.d/{ADMIN}
password=$(openssl rand -base64 24)
echo "{ADMIN}:$password" | chpasswd
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: where it comes from, and the play that applies it."""

    title: str
    url: str = ""
    # Where its checkout is to be found by Ansible, below .cache/benchmark.
    place: str = ""
    roles: tuple[str, ...] = ()
    variables: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    # Shell, on the machine and before the first run: what the role expects of a server and a container does not have.
    before: str = ""
    # And before the judges look: what a role leaves to the minutes after its run.
    after: str = ""
    port: int = 22
    # Variables that have to be made first.
    made: Callable[[], dict[str, t.Any]] = dict

    # Who logs in afterwards.
    account: str = ADMIN

    def play(self, machine: Machine) -> dict[str, t.Any]:
        """Peers are documented to be applied like this."""
        contained = machine.engine == "container"
        return {
            "hosts": "all",
            "gather_facts": True,
            "become": True,
            # In a container some of what a server can do must fail: kernel modules, boot loader, device files. These
            # tasks are counted, and the role goes on.
            "ignore_errors": contained,
            "vars": {"ansible_user": ADMIN, **self.variables},
            "pre_tasks": [SERVER_FACTS] if contained else [],
            "roles": list(self.roles),
        }


class Ours(Row):
    """Our own role, as a plain server of nobody's box gets it."""

    def play(self, machine: Machine) -> dict[str, t.Any]:
        """As the scenario `hardening` does: the first run finds the server as it was delivered, the second does not."""
        reached = {
            "ansible_port": "{{ securebox_login.reached.port }}",
            "ansible_user": "{{ securebox_login.reached.user }}",
            "ansible_become": "{{ securebox_login.reached.become }}",
        }
        return {
            "hosts": "all",
            "gather_facts": False,
            "vars": {
                "ansible_port": outside(machine, self.port),
                "ansible_user": self.account,
                "ansible_become": True,
                "firewall_ssh_port": self.port,
                "hardening_admins": [{"name": self.account, "keys": ["{{ lab_public_key }}"]}],
                **self.variables,
                **self.made(),
            },
            "pre_tasks": [
                {
                    "name": "Log in as the inventory says, or else as the server was delivered",
                    "securebox.stack.bootstrap_connection": {"port": outside(machine, 22), "user": "root"},
                    "register": "securebox_login",
                },
                {"name": "Go on by the way that works", "ansible.builtin.set_fact": reached},
            ],
            "roles": list(self.roles),
        }


def outside(machine: Machine, port: int) -> int:
    """Where a port of the machine is reached from here."""
    return machine.forwards.get(str(port), port)


OURS = Ours(
    "securebox.stack.hardening",
    # Peers bring a firewall of their own; here it is a role beside.
    roles=("securebox.stack.hardening", "securebox.stack.firewall"),
    # A server by itself, and not the box that routes for its containers.
    variables={
        "hardening_forwarding": False,
        "hardening_router_advertisements": False,
        "hardening_bans_never": ["10.0.0.0/8"],
    },
    # Ten minutes after a run, so that the database of files holds what the whole run has made.
    after="hardening-integrity accept",
    port=822,
    account="alice",
)

# Of which rows on which engine the limits of the documents are demanded. With a log server a container makes up for the
# kernel that it lacks; that row is one of its own, because a server alone has no log server.
LIMITED = {"container": ("logged",), "vm": ("ours", "logged")}

# Peers have their default variables, except for what stands here with its reason.
ROWS = {
    "nothing": Row("nothing (Debian as it is)", account="root"),
    "ours": OURS,
    "logged": dataclasses.replace(OURS, title="with a log server: securebox.stack.hardening", made=judges.log_server),
    "devsec": Row(
        "devsec.hardening (os_hardening, ssh_hardening)",
        url="https://github.com/dev-sec/ansible-collection-hardening",
        place="collections/ansible_collections/devsec/hardening",
        roles=("devsec.hardening.os_hardening", "devsec.hardening.ssh_hardening"),
        before=DELIVER,
    ),
    "konstruktoid": Row(
        "konstruktoid.hardening",
        url="https://github.com/konstruktoid/ansible-role-hardening",
        place="roles/konstruktoid.hardening",
        roles=("konstruktoid.hardening",),
        variables={
            # Its firewall lets ssh in from two private networks only, and the lab's is neither.
            "sshd_admin_net": ["0.0.0.0/0", "::/0"],
            # The lab's resolver passes no signatures on, and without names there are no packages.
            "dnssec": False,
        },
        before=DELIVER,
    ),
    "lockdown": Row(
        "ansible-lockdown DEBIAN12-CIS",
        url="https://github.com/ansible-lockdown/DEBIAN12-CIS",
        place="roles/DEBIAN12-CIS",
        roles=("DEBIAN12-CIS",),
        # It refuses to begin where root has no password.
        before=DELIVER + 'echo "root:$(openssl rand -base64 24)" | chpasswd',
    ),
}


def recap(text: str) -> dict[str, int]:
    """The counts behind the host's name in the last lines of ansible-playbook."""
    found = re.findall(rf"^{MACHINE} +: (.*)$", text, re.MULTILINE)
    if not found:
        raise LabError(f"ansible-playbook came to no recap:\n{text[-2000:]}")
    return {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", found[-1])}


def play(lab: Lab, machine: Machine, row: Row, log: Path) -> Run:
    """Apply the row's playbook once, and take the time."""
    book = WORK / f"{log.stem}.yml"
    # JSON is YAML.
    book.write_text(json.dumps([{"name": row.title, **row.play(machine)}], indent=1))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(WORK / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    environment = {key: value for key, value in environment.items() if key != "ANSIBLE_COLLECTIONS_PATH"}
    command = ["ansible-playbook", "-i", str(lab.directory / "inventory.yml"), str(book)]
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w") as output:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"no end after {PATIENCE} s, see {log}") from error
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise LabError(f"ansible-playbook failed, see {log}:\n{log.read_text()[-2500:]}")
    counts = recap(log.read_text())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Ansible counts a failure that it ignores as ok.
    return Run(counts["ok"] - counts["ignored"], counts["changed"], counts["ignored"], seconds, cpu)


def prepare(peers: Path, rows: list[str]) -> dict[str, str]:
    """The directory that Ansible works from, with each peer where Ansible looks for it. The peers' versions."""
    WORK.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in rows:
        row = ROWS[name]
        if row.place:
            source = checkout(peers / name, row.url)
            link = WORK / row.place
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(source)
        else:
            source = paths.CHECKOUT
        found[name] = describe(source) if row.roles else ""
    collections = [WORK / "collections", *filter(None, [os.environ.get("ANSIBLE_COLLECTIONS_PATH")])]
    if len(collections) == 1:
        collections.append(paths.CHECKOUT / ".cache" / "collections")
    where = {"collections": ":".join(map(str, collections)), "roles": WORK / "roles"}
    (WORK / "ansible.cfg").write_text(SETTINGS.format(**where))
    return found


def checkout(directory: Path, url: str) -> Path:
    """A peer's checkout: the one given, or a fresh clone of it."""
    if not directory.exists():
        with stage(f"clone {url}"):
            directory.parent.mkdir(parents=True, exist_ok=True)
            run(["git", "clone", "--quiet", "--filter=blob:none", url, directory], timeout=600)
    return directory.resolve()


def describe(directory: Path) -> str:
    """The version of a checkout, as git names it."""
    try:
        return run(["git", "-C", directory, "describe", "--tags", "--always", "--dirty"]).strip()
    except LabError:
        return "of unknown version"


def bring_up(name: str, release: str, engine: str) -> tuple[Lab, Machine]:
    """A fresh server."""
    take_down(name)
    image = "vm" if engine == "vm" else "server"
    platform = [{"name": MACHINE, "engine": engine, "image": image, "release": release}]
    with contextlib.redirect_stdout(sys.stderr):
        code = cli.main(["up", "--name", name, "--platforms", json.dumps(platform), "--output", "molecule"])
    if code:
        raise LabError(f"the lab {name} did not come up")
    lab = Lab(name)
    return lab, lab.machines[MACHINE]


def take_down(name: str) -> None:
    cli.main(["down", "--name", name, "--force"])


def follow(lab: Lab, machine: Machine, row: Row) -> judges.Reach:
    """Log in as one does afterwards: a role may have moved the port, and shut root out."""
    ssh.close(lab, machine)
    machine.user, machine.port = row.account, outside(machine, row.port)
    lab.save()
    ssh.write_files(lab)
    return judges.reach(lab, machine)


def stored(name: str, where: str) -> Path:
    """What came out of a row, there."""
    return WORK / f"{name}-{where}.json"


def place(release: str, engine: str) -> str:
    """As the page calls it."""
    return release if engine == "container" else f"{release}-{engine}"


def measure(name: str, release: str, engine: str, version: str, keep: bool) -> Result:
    """One row."""
    row, lab_name = ROWS[name], f"benchmark-{name}"
    lab, machine = bring_up(lab_name, release, engine)
    contained = engine == "container"
    try:
        target = judges.reach(lab, machine)
        with stage(f"{name}: install the judges"):
            judges.install(target, container=contained)
        runs = []
        if row.roles:
            target.run((STAND_IN if contained else "set -eu\n") + row.before)
            for number in (1, 2):
                with stage(f"{name}: run {number}"):
                    runs.append(play(lab, machine, row, WORK / f"{name}-{number}.log"))
            target = follow(lab, machine, row)
        result = judge(row, target, machine, release)
        result.runs, result.version = runs, version
        result.store(stored(name, place(release, engine)))
        return result
    finally:
        if not keep:
            take_down(lab_name)


def judge(row: Row, target: judges.Reach, machine: Machine, release: str) -> Result:
    """Let all judges look."""
    if row.after:
        with stage(f"{row.title}: {row.after}"):
            target.run(row.after)
    with stage(f"{row.title}: ssh-audit"):
        algorithms = judges.ssh_audit(machine.address, outside(machine, row.port))
    with stage(f"{row.title}: Lynis"):
        index = judges.lynis(target)
    with stage(f"{row.title}: OpenSCAP"):
        levels = judges.openscap(target, release)
    return Result(row.title, "", index, levels[1], levels[2], algorithms, [], judges.versions(target))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="benchmark.py", description="Measure the role hardening and its peers.")
    top.add_argument("--release", choices=recipes.RELEASES, default=recipes.RELEASE)
    top.add_argument(
        "--engine",
        choices=tuple(LIMITED),
        default="container",
        help="what stands for the server: a container, or a virtual machine, which takes an hour where it is emulated",
    )
    top.add_argument("--rows", type=lambda text: text.split(","), default=list(ROWS), help=",".join(ROWS))
    top.add_argument(
        "--peers",
        type=Path,
        default=Path(os.environ.get("SECUREBOX_PEERS") or paths.CHECKOUT / ".cache" / "peers"),
        help="directory with a checkout of each peer, named like its row; what is not there is cloned",
    )
    top.add_argument("--fresh-judges", action="store_true", help="fetch the newest judges, though some are there")
    top.add_argument("--stored", action="store_true", help="take what these rows came to when last measured here")
    top.add_argument("--keep", action="store_true", help="leave the machines as they are, to look at them")
    top.add_argument("--write", action="store_true", help="write the rows into docs/benchmarks.md")
    return top


def main(words: list[str] | None = None) -> int:
    """Row by row, so that none disturbs another's times. One that fails does not take the others with it."""
    arguments = parser().parse_args(words)
    if set(arguments.rows) - set(ROWS):
        raise LabError(f"no rows {sorted(set(arguments.rows) - set(ROWS))}; there are {', '.join(ROWS)}")
    found = {}
    if not arguments.stored:
        judges.fetch(fresh=arguments.fresh_judges)
        found = prepare(arguments.peers, arguments.rows)
    where = place(arguments.release, arguments.engine)
    results, failed = [], False
    for name in arguments.rows:
        try:
            if arguments.stored:
                result = Result.load(stored(name, where))
            else:
                result = measure(name, arguments.release, arguments.engine, found[name], arguments.keep)
        except LabError as error:
            say(f"benchmark: {name}: {error}")
            failed = True
            continue
        results.append(result)
        limits = judges.LIMITS[where] if name in LIMITED[arguments.engine] else {}
        for text in result.short_of(limits) if limits else ():
            say(f"benchmark: {name}: {text}")
            failed = True
    print(scores.table(results), end="")
    if arguments.write and results:
        order = [row.title for row in ROWS.values()]
        PAGE.write_text(scores.write(PAGE.read_text(), results, where, order, ROWS["ours"].title))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        say(f"benchmark: {error}")
        sys.exit(1)
