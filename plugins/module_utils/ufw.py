# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw through its own Python library, which the package installs for the system's interpreter.

One process reads, compares and writes all rules; the command would start once a rule, and each start costs as much as
this whole module. See docs/decisions/firewall-ruleset-module.md.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import typing as t
from pathlib import Path

UNIT = "ufw.service"
KERNEL_IPV6 = "/proc/sys/net/ipv6"
LOCK = "/run/ufw.lock"
POLICIES = {"allow": "accept", "deny": "drop", "reject": "reject"}
# ufw's names of the directions, and those of its settings.
DIRECTIONS = {"incoming": "input", "outgoing": "output", "routed": "forward"}

# While ufw starts anew, its policies are those of a machine without firewall. What comes through then stays connected:
# so nothing new is forwarded meanwhile. This server itself stays reachable, whatever happens.
SHUT = r"""
command -v nft >/dev/null || exit 0
nft -f - <<'RULES'
table inet firewall_restart
delete table inet firewall_restart
table inet firewall_restart {
    chain forward {
        type filter hook forward priority filter - 10; policy accept;
        ct state new,invalid,untracked drop
    }
}
RULES
"""
# Opened again, even if ufw did not start.
START = '"$1" start; code=$?; nft delete table inet firewall_restart 2>/dev/null; exit $code'

# ufw keeps its chains when it stops, and its start takes it for granted that INPUT, FORWARD and OUTPUT still lead to
# them. Where somebody flushed those (iptables -F INPUT), the policy would drop everything for ever: then all chains are
# made anew. And what it loads where IPv6 is off, it leaves there when IPv6 is on again.
HEAL = r"""
ip6tables -D INPUT -i lo -j ACCEPT 2>/dev/null && ip6tables -D OUTPUT -o lo -j ACCEPT
for ipt in iptables ip6tables; do
    v=; [ $ipt = iptables ] || v=6
    $ipt -nL ufw$v-before-input >/dev/null 2>&1 || continue
    for way in INPUT:input FORWARD:forward OUTPUT:output; do
        $ipt -C "${way%:*}" -j "ufw$v-before-${way#*:}" 2>/dev/null || break
        [ $way != OUTPUT:output ] || continue 2
    done
    $ipt -S | sed -n "s/^-A \(INPUT\|FORWARD\|OUTPUT\) -j \(ufw$v-[a-z-]*\)$/-D \1 -j \2/p" |
        while read -r rule; do $ipt $rule; done
    chains=$($ipt -S | sed -n "s/^-N \(ufw$v-.*\)/\1/p")
    for chain in $chains; do $ipt -F "$chain"; done
    for chain in $chains; do $ipt -X "$chain"; done
done
"""


class UfwError(Exception):
    """What is wrong, in words for the person who wrote the rules."""


class UfwMissing(UfwError):
    """There is no ufw on the machine."""


class State(t.NamedTuple):
    """All that decides what passes. Rules of IPv4 and IPv6 have an order each, as in the kernel."""

    enabled: bool
    active: bool
    logging: str
    policies: dict[str, str]
    rules: list[str]
    rules6: list[str]
    # Switched off, ufw drops all of it.
    ipv6: bool = True

    def describe(self) -> str:
        lines = [
            f"Status: {'active' if self.active else 'inactive'}{'' if self.enabled else ', not at boot'}",
            f"Logging: {self.logging}",
            *(f"Default: {policy} ({direction})" for direction, policy in sorted(self.policies.items())),
            *([] if self.ipv6 else ["IPv6: off, all of it is dropped"]),
            *(f"ufw {rule}" for rule in self.rules),
            *(f"ufw {rule} (v6)" for rule in self.rules6),
        ]
        return "\n".join(lines) + "\n"


@contextlib.contextmanager
def alone() -> t.Iterator[None]:
    """While nobody else changes ufw's rules: the command takes the same lock, and writes what it has read before."""
    try:
        import ufw.util
    except ImportError:
        # Whoever needs ufw says what is missing.
        yield
        return
    lock = ufw.util.create_lock(LOCK)
    try:
        yield
    finally:
        ufw.util.release_lock(lock)


@contextlib.contextmanager
def as_the_command() -> t.Iterator[None]:
    """The library judges the permissions of the program that runs it, and prints what it thinks of them."""
    arguments, sys.argv = sys.argv, ["/usr/sbin/ufw"]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv = arguments


def in_force(loaded: str, version: str | None, closed: t.Iterable[str]) -> bool:
    """Whether the kernel's rules, as C(iptables -S) tells them, are those of a ufw that runs.

    Packets come to its chains (of this I(version), or of none where it is off), and what no rule is about, the policies
    of the I(closed) chains drop.
    """
    wanted = {f"-P {chain.upper()} DROP" for chain in closed}
    if version is not None:
        wanted.add(f"-N ufw{version}-user-input")
        wanted.update(f"-A {chain.upper()} -j ufw{version}-before-{chain}" for chain in DIRECTIONS.values())
    return wanted <= set(loaded.splitlines())


class Ufw:
    """The running ufw: C(read) and C(write) are all that the module needs."""

    def __init__(
        self,
        run: t.Callable[[list[str]], None],
        output: t.Callable[[list[str]], str],
        others: t.Sequence[str] = (),
    ) -> None:
        self._run = run
        self._output = output
        self._others = tuple(others)
        self._load()

    def _load(self) -> None:
        try:
            import ufw.common
            import ufw.frontend
        except ImportError as error:
            raise UfwMissing(
                "ufw's library is not there: install the package ufw, and let Ansible use the system's "
                "interpreter (ansible_python_interpreter: /usr/bin/python3)"
            ) from error
        # The command sets these up before anything else; the library alone does not.
        import gettext

        gettext.install(ufw.common.programName)
        self._frontend = ufw.frontend
        self._parser = ufw.parser
        self._error = ufw.common.UFWError
        try:
            with as_the_command():
                self._backend = ufw.frontend.UFWFrontend(False).backend
        except self._error as error:
            raise UfwError(f"ufw: {error.value}") from error

    def canonical(self, rules: t.Iterable[str], ipv6: bool) -> tuple[list[str], list[str]]:
        """The rules of IPv4 and of IPv6 as C(ufw show added) prints them: what is the same, reads the same."""
        rules4, rules6 = self._parse(rules)
        # Where ufw leaves IPv6 alone (IPV6=no, or a kernel without it), it drops all of it: nothing is to be described.
        return self._words(rules4), self._words(rules6) if ipv6 and Path(KERNEL_IPV6).exists() else []

    def read(self) -> State:
        settings = self._backend.defaults
        spoken = {value: name for name, value in POLICIES.items()}
        return State(
            enabled=self._backend.is_enabled() and self._output(["systemctl", "is-enabled", UNIT]).strip() == "enabled",
            active=self._in_force("") and (not Path(KERNEL_IPV6).exists() or self._in_force("6")),
            logging=settings["loglevel"],
            policies={
                direction: spoken[settings[f"default_{chain}_policy"]] for direction, chain in DIRECTIONS.items()
            },
            rules=self._words(self._split(self._backend.rules)[0]),
            rules6=self._words(self._split(self._backend.rules6)[0]),
            ipv6=settings["ipv6"] == "yes",
        )

    def _in_force(self, version: str) -> bool:
        """Whether what it says of this protocol is what the kernel does."""
        settings = self._backend.defaults
        on = version == "" or self._backend.use_ipv6()
        chains = [chain for chain in DIRECTIONS.values() if not on or settings[f"default_{chain}_policy"] != "accept"]
        return in_force(self._output([f"ip{version}tables", "-S"]), version if on else None, chains)

    def write(self, before: State, after: State, rules: t.Iterable[str], restart: bool) -> None:
        """On disk first, then into the kernel. A running firewall is restarted only for what needs it."""
        backend = self._backend
        try:
            if after.ipv6 != before.ipv6:
                backend.set_default(backend.files["defaults"], "IPV6", "yes" if after.ipv6 else "no")
                # Which chains there are, the library decides when it is loaded.
                self._load()
                backend, restart = self._backend, True
            for direction, policy in after.policies.items():
                if policy != before.policies[direction]:
                    backend.set_default_policy(policy, direction)
                    restart = True
            if after.logging != before.logging:
                backend.set_default(backend.files["conf"], "LOGLEVEL", after.logging)
                restart = True
            if not before.enabled:
                backend.set_default(backend.files["conf"], "ENABLED", "yes")
                self._run(["systemctl", "--quiet", "enable", UNIT])
            others = self._split(backend.rules)[1], self._split(backend.rules6)[1]
            backend.rules, backend.rules6 = (own + rest for own, rest in zip(self._parse(rules), others, strict=True))
            backend._write_rules(v6=False)
            if backend.use_ipv6():
                backend._write_rules(v6=True)
            if before.active and not restart:
                # Replaces the chains of the rules in one go, while everything else stays in force.
                backend._reload_user_rules()
        except self._error as error:
            raise UfwError(f"ufw: {error.value}") from error
        if restart or not before.active:
            for command in self.restore_commands():
                self._run(command)

    def undo_commands(self) -> list[list[str]]:
        """Stop by the hooks that started it."""
        return [["/bin/sh", "-c", SHUT], [self._backend.files["init"], "force-stop"]]

    def restore_commands(self) -> list[list[str]]:
        """Make what is on disk effective, also if that is a firewall switched off."""
        init = self._backend.files["init"]
        return [*self.undo_commands(), ["/bin/sh", "-c", HEAL], ["/bin/sh", "-c", START, "sh", init]]

    def files(self) -> list[str]:
        names = ("rules", "rules6", "after_rules", "after6_rules", "defaults", "conf")
        return [self._backend.files[name] for name in names]

    def directory(self) -> Path:
        return Path(self._backend.files["conf"]).parent

    def _parse(self, rules: t.Iterable[str]) -> tuple[list[t.Any], list[t.Any]]:
        parsed: tuple[list[t.Any], list[t.Any]] = ([], [])
        for text in rules:
            try:
                answer = self._frontend.parse_command(["ufw", *shlex.split(text)])
                rule, versions = answer.data["rule"], answer.data["iptype"]
                if rule.dapp or rule.sapp:
                    raise UfwError(f"ufw {text}: name ports and protocols, not an application profile")
                if rule.remove or rule.position:
                    raise UfwError(f"ufw {text}: the list is the order; delete, insert and prepend have no place in it")
                if versions in ("both", "v4"):
                    parsed[0].append(self._of_version(rule, v6=False))
                if versions in ("both", "v6"):
                    parsed[1].append(self._of_version(rule, v6=True))
            except (SystemExit, ValueError, KeyError, self._error) as error:
                raise UfwError(
                    f"ufw {text}: {getattr(error, 'value', None) or 'ufw does not understand this rule'}"
                ) from error
        return parsed

    def _split(self, rules: t.Iterable[t.Any]) -> tuple[list[t.Any], list[t.Any]]:
        """Those that are described, or should be, and those that another program keeps."""
        parts: tuple[list[t.Any], list[t.Any]] = ([], [])
        for rule in rules:
            parts[bool(self._others) and rule.get_comment().startswith(self._others)].append(rule)
        return parts

    def _of_version(self, rule: t.Any, v6: bool) -> t.Any:
        copy = rule.dup_rule()
        copy.set_v6(v6)
        copy.normalize()
        return copy

    def _words(self, rules: t.Iterable[t.Any]) -> list[str]:
        commands = self._parser.UFWCommandRule, self._parser.UFWCommandRouteRule
        return [("route " if rule.forward else "") + commands[rule.forward].get_command(rule) for rule in rules]
