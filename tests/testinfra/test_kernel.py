# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the running kernel says: its parameters, the modules that it refuses, and AppArmor."""

from __future__ import annotations

import re
import shlex

import pytest
from machine import CONTAINER

# The most important, said here once more; all others are compared with the file that sets them at the start.
PARAMETERS = {
    "fs.protected_hardlinks": "1",
    "fs.protected_symlinks": "1",
    "fs.suid_dumpable": "0",
    "kernel.dmesg_restrict": "1",
    "kernel.kptr_restrict": "2",
    "kernel.randomize_va_space": "2",
    "kernel.sysrq": "0",
    "kernel.unprivileged_bpf_disabled": "1",
    "kernel.yama.ptrace_scope": "1",
    "net.core.bpf_jit_harden": "2",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv4.conf.all.log_martians": "1",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv6.conf.all.accept_source_route": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
}
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
WANTED = "cat /etc/sysctl.d/99-hardening.conf"
ACTUAL = (
    "sysctl -e "
    + " ".join([*PARAMETERS, *FORWARDING])
    + " $(sed -n 's/^ *\\([a-z][^ =]*\\) *=.*/\\1/p' /etc/sysctl.d/99-hardening.conf) 2>/dev/null"
)
INTERFACES = (
    "cd /proc/sys/net && grep -H . ipv[46]/conf/*/accept_redirects ipv[46]/conf/*/accept_source_route "
    "ipv4/conf/*/send_redirects ipv[46]/conf/*/forwarding"
)
# Modules that every server may load: what the refused ones are compared with.
ALLOWED = "dm_crypt"
LEVEL2 = ["dccp", "rds", "sctp", "tipc"]
LOADED = "cat /proc/modules"
PROFILES = (
    "cat /sys/module/apparmor/parameters/enabled; cat /sys/kernel/security/apparmor/profiles; echo; "
    "cat /proc/[0-9]*/attr/current 2>/dev/null | tr -d '\\0' | sort | uniq -c"
)
# The first process of each running container, and how it is confined.
CONFINED = (
    "lxc list --columns np --format csv </dev/null | while IFS=, read -r name pid; do "
    '[ "$pid" -gt 0 ] || continue; echo "$name $(tr -d "\\0" < /proc/$pid/attr/current)"; done; '
    'echo "- $(tr -d "\\0" < /proc/1/attr/current)"'
)


def refused_modules(site):
    found = list(site.get(site.box, "hardening_modules_off", []))
    found += ["usb-storage"] if not site.get(site.box, "hardening_usb_storage", False) else []
    return found + (LEVEL2 if int(site.get(site.box, "hardening_level", 2)) == 2 else [])


def questions(site):
    modules = [ALLOWED, *refused_modules(site)]
    files = [shlex.quote(name) for name in site.get(site.box, "hardening_apparmor_complain", [])]
    return {
        site.box: {
            "container": CONTAINER,
            "wanted": WANTED,
            "actual": ACTUAL,
            "interfaces": INTERFACES,
            # What modprobe would do. It does nothing.
            "modules": f"for name in {shlex.join(modules)}; do "
            'echo "$name: $(modprobe --dry-run --verbose "$name" 2>&1 | tail -n 1)"; done',
            "loaded": LOADED,
            "apparmor": PROFILES,
            "complain": f"cd /etc/apparmor.d && apparmor_parser --names {' '.join(files)}" if files else "true",
            "confined": CONFINED,
        }
    }


def values(text):
    """{name: value} of lines as sysctl writes and reads them."""
    found = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): " ".join(value.split()) for name, _sign, value in found if name.strip()}


@pytest.mark.control("SYS-1")
def test_the_kernel_has_the_parameters(site, said, evidence, having):
    """The running kernel has what the file sets at the start, and the most important are what this suite says too."""
    having("hardening_kernel", site.box)
    wanted, actual = values(said(site.box, "wanted").text), values(said(site.box, "actual").text)
    own = {name: str(value) for name, value in site.get(site.box, "hardening_sysctl", {}).items()}
    wanted = {**wanted, **PARAMETERS, **own}
    if said(site.box, "container").code == 0:
        # The rest is the kernel's below, which is somebody else's.
        wanted = {name: value for name, value in wanted.items() if name.startswith(("net.ipv4.", "net.ipv6."))}
        evidence("the box is itself a container: only what is its own was looked at (net.ipv4, net.ipv6)")
    assert actual, "the kernel tells none of its parameters"
    evidence("\n".join(f"{name} = {actual[name]}" for name in sorted(wanted) if name in actual))
    unknown = sorted(set(wanted) - set(actual))
    if unknown:
        evidence(f"this kernel has no {', '.join(unknown)}")
    if own:
        evidence(f"as this site says otherwise: {', '.join(sorted(own))}")
    wrong = [
        f"{name} is {actual[name]}, not {value}"
        for name, value in sorted(wanted.items())
        if name in actual and actual[name] != value
    ]
    assert not wrong, "; ".join(wrong)


@pytest.mark.control("SYS-1")
def test_no_interface_believes_or_sends_redirects(site, said, evidence, having):
    """The parameters of all interfaces and of each one together: nobody can turn packets of this machine elsewhere."""
    having("hardening_kernel", site.box)
    found = {}
    for line in said(site.box, "interfaces").lines:
        path, value = line.rsplit(":", 1)
        family, _conf, interface, name = path.split("/")
        found[family, interface, name] = int(value)
    interfaces = sorted({(family, interface) for family, interface, _name in found} - every_interface())
    assert interfaces, "the kernel tells of no interface"
    wrong = [f"{name} ({family}) {what}" for family, name in interfaces for what in bad(found, family, name)]
    evidence(f"looked at: {', '.join(f'{interface} ({family})' for family, interface in interfaces)}")
    assert not wrong, "; ".join(wrong)


def every_interface():
    return {(family, name) for family in ("ipv4", "ipv6") for name in ("all", "default", "lo")}


def bad(found, family, interface):
    """How the kernel joins `all` and an interface is different for each of them (ip-sysctl.rst)."""

    def get(name, of=interface):
        return found.get((family, of, name), 0)

    if get("accept_source_route") > 0 and get("accept_source_route", "all") > 0:
        yield "takes the sender's word for the route"
    if family == "ipv4":
        takes, own = get("accept_redirects"), get("accept_redirects", "all")
        if (takes and own) if get("forwarding") else (takes or own):
            yield "believes redirects"
        if get("send_redirects") or get("send_redirects", "all"):
            yield "sends redirects"
    elif get("accept_redirects") and not get("forwarding"):
        # `all` counts for nothing here; who forwards takes none.
        yield "believes redirects"


@pytest.mark.control("SYS-1")
def test_packets_are_passed_on_only_where_wanted(site, said, evidence, having):
    """A box forwards for its containers, and the firewall says what; a server without them forwards nothing."""
    having("hardening_kernel", site.box)
    actual = values(said(site.box, "actual").text)
    evidence(", ".join(f"{name} = {actual.get(name, 'not there')}" for name in FORWARDING))
    if site.on(site.box, "hardening_forwarding"):
        assert not site.containers or actual[FORWARDING[0]] == "1", "nothing can reach the containers"
    else:
        assert {actual.get(name, "0") for name in FORWARDING} == {"0"}, "it forwards: hardening_forwarding is off"


@pytest.mark.control("SYS-3")
def test_modules_that_nobody_needs_are_refused(site, said, evidence, having):
    """The program that loads modules refuses them when asked, and none is in the kernel; others are not refused."""
    having("hardening_kernel", site.box)
    answers = dict(line.split(":", 1) for line in said(site.box, "modules").lines)
    assert "/bin/false" not in answers[ALLOWED], f"{ALLOWED} is refused as well: {answers[ALLOWED]}"
    names = refused_modules(site)
    evidence(f"refused: {', '.join(name for name in names if '/bin/false' in answers[name])}")
    allowed = [f"{name} ({answers[name].strip()})" for name in names if "/bin/false" not in answers[name]]
    assert not allowed, f"not refused: {', '.join(allowed)}"
    if said(site.box, "container").code == 0:
        return
    loaded = {line.split()[0] for line in said(site.box, "loaded").lines}
    there = [name for name in names if name.replace("-", "_") in loaded]
    evidence(f"{len(loaded)} modules are loaded, of these {', '.join(there) or 'none'}")
    assert not there, f"loaded, and refused only from the next start on: {', '.join(there)}"


@pytest.mark.control("SYS-2")
def test_apparmor_enforces_its_profiles(site, said, own_kernel, evidence, having):
    """The kernel has profiles loaded, and each of them forbids; none only writes down what it would have forbidden."""
    having("hardening_apparmor", site.box)
    text = said(site.box, "apparmor").text
    assert text.splitlines()[:1] == ["Y"], (
        "this kernel runs without AppArmor: start it with apparmor=1 security=apparmor (see /proc/cmdline), or with "
        "a kernel that has it"
    )
    found = re.findall(r"^(.+) \((enforce|complain|kill|unconfined|prompt)\)$", text.partition("\n\n")[0], re.M)
    modes = {mode: [name for name, its in found if its == mode] for mode in sorted({mode for _name, mode in found})}
    evidence("profiles: " + ", ".join(f"{len(names)} {mode}" for mode, names in modes.items()))
    processes = [line.split(None, 1) for line in text.partition("\n\n")[2].splitlines()]
    confined = sum(int(count) for count, label in processes if label.strip() != "unconfined")
    evidence(f"processes: {confined} confined, {sum(int(count) for count, _label in processes) - confined} not")
    assert modes.get("enforce"), "no profile is enforced"
    # Profiles of a container's own namespace are below that of the container itself.
    complaining = {name for name in modes.get("complain", []) if not name.startswith(":")}
    excepted = set(said(site.box, "complain").lines)
    if complaining & excepted:
        evidence(f"only complain, as hardening_apparmor_complain says: {', '.join(sorted(complaining & excepted))}")
    wrong = sorted(name for name in complaining - excepted if name.split("//")[0] not in excepted)
    assert not wrong, f"profiles that only complain: {', '.join(wrong)}"


@pytest.mark.control("SYS-2")
def test_containers_are_confined(site, said, own_kernel, evidence, having, not_applicable):
    """Each running container has a profile of its own around it; the box's first process has none, as a comparison."""
    having("hardening_apparmor", site.box)
    if not site.containers:
        not_applicable("there are no containers")
    found = (line.partition(" ") for line in said(site.box, "confined").lines)
    labels = {name: label for name, _space, label in found}
    assert labels.pop("-", "").startswith("unconfined"), "the kernel does not tell who is confined: is AppArmor there?"
    running = {host: labels[site.instance(host)] for host in site.containers if site.instance(host) in labels}
    assert running, f"LXD tells of no running container: {said(site.box, 'confined').text}"
    for host, label in running.items():
        evidence(f"{host}: {label}")
    free = [
        host
        for host, label in running.items()
        if not label.startswith(f"lxd-{site.instance(host)}_") or label.endswith("(complain)")
    ]
    assert not free, f"not confined: {', '.join(free)}"
