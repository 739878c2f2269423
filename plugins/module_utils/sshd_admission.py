# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Would sshd let an account in, if it read its configuration now?

C(sshd -t) finds a configuration good that denies the only administrator. Somebody else's file may have done so long
ago without sshd having read it, and then putting our own files back would not help: the restart is what locks out.
So this is asked after the files are written and before sshd sees them. In doubt the answer is yes, since the new login
decides in the end.
"""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import typing as t
from pathlib import Path

SSHD = "/usr/sbin/sshd"


def client(root: Path = Path("/")) -> list[str]:
    """Where our login comes from, as C(sshd -C) wants it: sudo forgets that, the processes above do not."""
    pid = os.getpid()
    while pid > 1:
        process = root / "proc" / str(pid)
        try:
            environment = dict(
                entry.split("=", 1) for entry in (process / "environ").read_text(errors="replace").split("\0")
                if "=" in entry)
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return []
        if len(parts := environment.get("SSH_CONNECTION", "").split()) == 4:
            return [f"addr={parts[0]}", f"host={parts[0]}", f"laddr={parts[2]}", f"lport={parts[3]}"]
        pid = parent
    return []


def parse(text: str) -> dict[str, list[str]]:
    """What C(sshd -T) prints. Names may come several times."""
    settings: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _blank, value = line.strip().partition(" ")
        settings.setdefault(name.lower(), []).append(value)
    return settings


def named(name: str, patterns: t.Iterable[str]) -> bool:
    """sshd's own matching, for names: * and ? and a leading exclamation mark."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if fnmatch.fnmatchcase(name, pattern[1:]):
                return False
        elif fnmatch.fnmatchcase(name, pattern):
            found = True
    return found


def groups_of(user: str) -> list[str]:
    try:
        numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return []
    return [group.gr_name for group in grp.getgrall() if group.gr_gid in numbers]


def objection(settings: t.Mapping[str, t.Sequence[str]], user: str, groups: t.Sequence[str]) -> str | None:
    """The setting that keeps the account out, or None."""

    def words(name: str) -> list[str]:
        return " ".join(settings.get(name, [])).split()

    def in_groups(patterns: t.Sequence[str]) -> bool:
        return any(named(group, patterns) for group in groups)

    # user@host: whether the host matches too is left to sshd.
    denied = [word for word in words("denyusers") if "@" not in word]
    allowed = [word.partition("@")[0] for word in words("allowusers")]
    methods = words("authenticationmethods")
    alternatives = [{way.partition(":")[0] for way in method.split(",")} for method in methods]
    refusals = (
        ("DenyUsers", bool(denied) and named(user, denied)),
        ("AllowUsers", bool(allowed) and not named(user, allowed)),
        ("DenyGroups", bool(groups) and in_groups(words("denygroups"))),
        ("AllowGroups", bool(groups) and bool(words("allowgroups")) and not in_groups(words("allowgroups"))),
        ("PermitRootLogin", user == "root" and words("permitrootlogin") == ["no"]),
        ("RefuseConnection", words("refuseconnection") == ["yes"]),
        # Ansible has one key or one password; more than one step is more than it can do.
        ("AuthenticationMethods", bool(methods) and methods != ["any"] and all(len(way) > 1 for way in alternatives)),
        ("PubkeyAuthentication", all(words(name) == ["no"] for name in (
            "pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication"))),
        ("ForceCommand", words("forcecommand") not in ([], ["none"])),
        ("MaxSessions", words("maxsessions") == ["0"]),
    )
    for name, refused in refusals:
        if refused:
            return f"{name} {' '.join(words(name.lower()))}".strip()
    return None


def require_admission(user: str, run: t.Callable[[list[str]], t.Any]) -> None:
    """RuntimeError with the setting, when sshd would refuse the account."""
    try:
        said = run([SSHD, "-T", "-C", ",".join([f"user={user}", *client()])])
    except (OSError, RuntimeError):
        # Whether the configuration is sound at all is for the check of whoever changes it.
        return
    reason = objection(parse(said or ""), user, groups_of(user))
    if reason:
        raise RuntimeError(
            f"sshd would refuse {user} as soon as it reads its configuration: `{reason}`. Somebody's file below "
            "/etc/ssh says so, or the settings of this run do: `grep -rn` finds which")
