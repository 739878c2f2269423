#!/usr/bin/env python3
# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make demo`: a whole box in a virtual machine, from nothing to its report.

Each stage says what it does and how long it took; the output of Ansible is shown as it comes. A stage that does not
show what it promises ends the demo, so that the demo is a test as well.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from lab import cli, inventory, ssh
from lab.paths import CHECKOUT
from lab.run import LabError, say, wait_for
from lab.state import Lab

NAME = "demo"
BOX = CHECKOUT / "inventories" / NAME
MOUNT_POINT = "/srv/securebox"


class Demo:
    """The lab's machine, the commands that a user would type, and how long each stage took."""

    def __init__(self) -> None:
        self.lab = Lab(NAME)
        self.times: list[tuple[str, float, float]] = []
        self.vault_password = self.lab.directory / "vault-password"
        self.environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(BOX / "ansible.cfg"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.vault_password),
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }

    @property
    def machine(self) -> t.Any:
        return self.lab.machines[NAME]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        say(f"\n== {name}")
        begin, cpu = time.monotonic(), os.times()
        yield
        after = os.times()
        used = after.children_user + after.children_system - cpu.children_user - cpu.children_system
        self.times.append((name, time.monotonic() - begin, used))
        say(f"== {name}: {self.times[-1][1]:.0f} s")

    def playbook(self, name: str, *options: str) -> str:
        """Run a playbook of the installed collection as a user does; its output is shown and returned."""
        command = ["ansible-playbook", f"securebox.stack.{name}", "-i", str(BOX), *options]
        say("$ " + " ".join(command).replace(str(CHECKOUT) + "/", ""))
        lines = []
        with (
            subprocess.Popen(
                command,
                env=self.environment,
                cwd=CHECKOUT,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ) as process,
            heartbeat(),
        ):
            for line in process.stdout or []:
                lines.append(line)
                print(line, end="", flush=True)
        if process.returncode != 0:
            raise LabError(
                f"{name} ended with {process.returncode}; the machine is left as it is: `make demo FROM=STAGE` "
                "goes on, `make demo-down` removes it"
            )
        return "".join(lines)

    def on_the_box(self, *command: str) -> str:
        """As the administrator, at the hardened port."""
        done = subprocess.run([*self.ssh(), "sudo", *command], capture_output=True, text=True, timeout=120, check=False)
        return done.stdout.strip()

    def ssh(self, *words: str) -> list[str]:
        """How the administrator logs in: one connection for all, because the firewall refuses the sixth in 30 s."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f"{self.lab.directory}/known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "ControlMaster": "auto",
            "ControlPath": "~/.ssh/sbd-%C",
            "ControlPersist": "60s",
            "ServerAliveInterval": "20",
            "ConnectTimeout": "20",
        }
        login = ["ssh", "-F", "none", "-i", str(self.lab.key), "-p", str(self.machine.forwards["822"])]
        return [*login, *(f"-o{name}={value}" for name, value in options.items()), *words, "admin@127.0.0.1"]

    def browse(self, path: str = "/") -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the site, as a browser that trusts its certificate sees it."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.machine.forwards['443']}{path}", headers={"Host": "dhis.demo.test"}
        )
        try:
            with urllib.request.urlopen(request, context=context, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    def browse_if_up(self) -> tuple[int, dict[str, str], str] | None:
        """The same; None while nothing answers yet."""
        try:
            return self.browse()
        except OSError:
            return None


@contextmanager
def heartbeat(seconds: float = 30) -> Iterator[None]:
    """Say now and then that it goes on: on an emulated machine, one task may take minutes."""
    over, begin = threading.Event(), time.monotonic()

    def beat() -> None:
        while not over.wait(seconds):
            say(f"   ... {time.monotonic() - begin:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def expect(holds: bool, promise: str, found: object = "") -> None:
    """A promise of the demo, shown; broken, it ends the demo."""
    if not holds:
        raise LabError(f"NOT TRUE: {promise}. Found: {found}")
    say(f"   ok: {promise}{f' ({found})' if found != '' else ''}")


def recap(output: str) -> dict[str, int]:
    """The play recap, added up over all hosts."""
    total: dict[str, int] = {}
    for name, count in re.findall(r"\b(ok|changed|unreachable|failed|skipped)=(\d+)", output):
        total[name] = total.get(name, 0) + int(count)
    return total


def describe(demo: Demo) -> None:
    """What only this machine knows, into the demo's inventory: how to reach it, and where the images lie on it."""
    reached = inventory.host_vars(demo.lab, demo.machine)
    forwards = demo.machine.forwards
    box = {
        "ansible_host": "127.0.0.1",
        "ansible_port": int(forwards["822"]),
        "securebox_bootstrap_port": int(forwards["22"]),
        "securebox_verify_address": "127.0.0.1",
        "securebox_verify_ports": {int(guest): int(host) for guest, host in forwards.items()},
    }
    everywhere = {
        "ansible_ssh_private_key_file": reached["ansible_ssh_private_key_file"],
        "ansible_ssh_common_args": reached["ansible_ssh_common_args"],
        "lab_public_key": reached["lab_public_key"],
        "lab_images": reached["lab_images"],
    }
    for place, variables in ((BOX / "host_vars/demo.yml", box), (BOX / "group_vars/all/zz_lab.yml", everywhere)):
        place.parent.mkdir(exist_ok=True)
        # JSON is YAML.
        place.write_text("---\n# Written by `make demo`.\n" + json.dumps(variables, indent=2) + "\n")
    if not demo.vault_password.exists():
        demo.vault_password.touch(mode=0o600)
        demo.vault_password.write_text(secrets.token_urlsafe(24) + "\n")
        # An earlier demo's secrets, keys and headers are of no use without the password that went with its machine.
        for leftover in ("pki", "header-backups", "report"):
            shutil.rmtree(BOX / leftover, ignore_errors=True)
        shutil.copyfile(CHECKOUT / "inventories/example/group_vars/all/vault.yml", BOX / "group_vars/all/vault.yml")


def locked(demo: Demo) -> None:
    """What a locked box looks like, from outside and on it."""
    with heartbeat():
        status, headers, body = wait_for("the proxy", demo.browse_if_up, 180, 2)
    expect(
        status == 503 and "Retry-After" in headers, "the site shows its maintenance page, 503 with Retry-After", status
    )
    expect("<html" in body.lower(), "the page is one for people")
    state = json.loads(demo.on_the_box("securebox", "status", "--json"))
    running = [item["name"] for item in state["dependents"] if item["running"]]
    expect(running == ["proxy1"], "database and application are stopped, the proxy runs", running)
    expect(state["volume"]["state"] == "closed", "the volume is closed", state["volume"]["state"])
    below = demo.on_the_box("find", MOUNT_POINT, "-mindepth", "1")
    expect(below == "", "nothing was written beside the volume")


def standin(demo: Demo) -> None:
    build = [sys.executable, CHECKOUT / "tests/standin/build.py", CHECKOUT / ".cache/standin/standin.war"]
    subprocess.run(build, check=True)


def machine(demo: Demo) -> None:
    if cli.main(["images", "--image", "vm", "proxy", "app", "db", "--build"]):
        raise LabError("the images could not be built")
    if cli.main(["up", "--name", NAME, "--machine", NAME, "--engine", "vm", "--image", "vm", "--tiers"]):
        raise LabError("the machine did not start")
    demo.lab = Lab(NAME)
    describe(demo)


def make_secrets(demo: Demo) -> None:
    demo.playbook("secrets")


def site(demo: Demo) -> None:
    first = recap(demo.playbook("site", "-e", "encrypted_volume_initialise=true"))
    tasks = first["ok"] + first["failed"] + first["unreachable"]
    expect(tasks <= 200, "a first run executes at most 200 tasks", tasks)


def site_again(demo: Demo) -> None:
    second = recap(demo.playbook("site"))
    expect(second["changed"] == 0 and second["failed"] == 0, "a second run changes nothing", second)


def reboot(demo: Demo) -> None:
    demo.on_the_box("systemctl", "reboot")
    # Shared connections would wait for the machine that was.
    ssh.close(demo.lab, demo.machine)
    subprocess.run(demo.ssh("-O", "exit"), capture_output=True, check=False)
    time.sleep(10)
    with heartbeat():
        begin = time.monotonic()
        while demo.on_the_box("systemctl", "is-system-running", "--wait") not in ("running", "degraded"):
            if time.monotonic() - begin > 300:
                raise LabError("the box did not come back within 300 s")
            # Rarely enough for the firewall, which counts each try.
            time.sleep(8)
    failed = demo.on_the_box("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    expect(failed == "", "no unit failed at boot", failed)


def unlock(demo: Demo) -> None:
    demo.playbook("unlock")
    status, _, body = demo.browse("/api/ping")
    expect(status == 200 and "pong" in body, "the application answers over https", status)


def verify(demo: Demo) -> None:
    """All of it, also what nobody wants tried on a box in use: the maintenance page, and locking, which is the last."""
    demo.playbook("verify", "-e", "securebox_verify_disruptive=true", "-e", "securebox_verify_lock=true")
    locked(demo)


STAGES = {
    "application": ("stand-in application", standin),
    "machine": ("images (cached by content) and boot", machine),
    "secrets": ("secrets", make_secrets),
    "site": ("site", site),
    "again": ("site again", site_again),
    "reboot": ("reboot", reboot),
    "locked": ("locked", locked),
    "unlock": ("unlock", unlock),
    "verify": ("verify, and lock", verify),
    "unlock-again": ("unlock again", unlock),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="A whole box in a virtual machine, from nothing to its report.")
    parser.add_argument("--from", dest="first", choices=STAGES, default="application", help="go on with this stage")
    first = list(STAGES).index(parser.parse_args().first)
    demo = Demo()
    for title, stage in list(STAGES.values())[first:]:
        with demo.stage(title):
            stage(demo)
    close(demo)
    return 0


def close(demo: Demo) -> None:
    """Where to look, how to log in, and what it took."""
    forwards = demo.machine.forwards
    options = f"-i {demo.lab.key} -o UserKnownHostsFile={demo.lab.directory}/known_hosts"
    say(f"""
The box is up.
  site     https://127.0.0.1:{forwards["443"]}/   (self-signed; it calls itself dhis.demo.test)
  log in   ssh -p {forwards["822"]} {options} admin@127.0.0.1
  report   {BOX / "report/report.html"}
  remove   make demo-down

{"stage":40} {"seconds":>8} {"CPU here":>9}""")
    for name, seconds, cpu in demo.times:
        say(f"{name:40} {seconds:8.0f} {cpu:9.0f}")
    say(f"{'all':40} {sum(item[1] for item in demo.times):8.0f}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        say(f"demo: {error}")
        sys.exit(1)
