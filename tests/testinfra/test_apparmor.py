# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the services in the containers are held to by AppArmor, as the running system says and as it is tried out."""

from __future__ import annotations

import pytest
from machine import CONTAINER, python

# By group: the role, its unit, the profile, and a file that the service does read. The switch is the role's too.
SERVICES = {
    "box": ("forward_proxy", "squid.service", "/usr/sbin/squid", "/etc/squid/forward-proxy.conf"),
    "proxy": ("proxy_apache", "apache2.service", "proxy_apache", "/etc/apache2/apache2.conf"),
    "app": ("app_tomcat", "tomcat10.service", "app_tomcat", "/etc/tomcat10/server.xml"),
    "db": ("db_postgresql", "postgresql@*-main.service", "db_postgresql", "/etc/passwd"),
}
ENABLED = "cat /sys/module/apparmor/parameters/enabled 2>/dev/null || echo N"
# How each process of a unit is confined; its first one is marked.
PROCESSES = """
unit=$(systemctl list-units --plain --no-legend --state=active 'UNIT' | awk '{print $1; exit}')
[ -n "$unit" ] || exit 3
main=$(systemctl show --property=MainPID --value "$unit")
for pid in $(cat "/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$unit")/cgroup.procs"); do
    label=$(tr -d '\\0' 2>/dev/null </proc/$pid/attr/current) || continue
    if [ "$pid" = "$main" ]; then echo "main $label"; else echo "other $label"; fi
done
"""
# A process of root tries the same twice: as it is, and after it has put itself under the profile. Each kind of refusal
# has its counterpart that is let through, so that a profile that refuses everything does not look like a good one.
TRIED = r"""
import os
profile, readable = GIVEN
def attempt(action):
    try: action()
    except OSError as error: return error.strerror
    return "done"
def read(path):
    return lambda: open(path, "rb").close()
def write():
    descriptor = os.open("/run/securebox-apparmor-probe", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(descriptor)
    os.unlink("/run/securebox-apparmor-probe")
def execute():
    # The child says by its exit status whether the program was begun.
    child = os.fork()
    if not child:
        try: os.execv("/bin/true", ["true"])
        except OSError as error: os._exit(100 + error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status >= 100: raise OSError(status - 100, os.strerror(status - 100))
def all_of_it():
    return {"read /etc/shadow": attempt(read("/etc/shadow")), "list /root": attempt(lambda: os.listdir("/root")),
            "write to /run": attempt(write), "run /bin/true": attempt(execute),
            "read " + readable: attempt(read(readable)), "open /dev/null": attempt(read("/dev/null"))}
found = {"free": all_of_it()}
with open("/proc/self/attr/current", "w") as label:
    label.write("changeprofile " + profile)
found["confined"] = all_of_it()
print(json.dumps(found))
"""
FORBIDDEN = {"read /etc/shadow", "list /root", "write to /run", "run /bin/true"}


def questions(site):
    asked = {site.box: {"container": CONTAINER, "enabled": ENABLED}}
    for group, (_role, unit, profile, readable) in SERVICES.items():
        for host in site.groups.get(group, []):
            asked.setdefault(host, {})[f"{group}_processes"] = PROCESSES.replace("UNIT", unit)
            asked[host][f"{group}_tried"] = python(TRIED, profile, readable)
    return asked


@pytest.fixture
def with_apparmor(site, said, own_kernel):
    """The kernel is the box's, for its containers too. That it should have AppArmor is another test's (test_kernel)."""
    if said(site.box, "enabled").text != "Y":
        pytest.skip("this kernel runs without AppArmor, so the services in the containers are not confined by it")


def enforced(site, group, having, evidence, not_applicable):
    """The hosts of a group whose profile is meant to forbid."""
    switch = f"{SERVICES[group][0]}_apparmor"
    hosts = having(switch, *site.groups.get(group, []))
    complaining = [host for host in hosts if site.get(host, switch) == "complain"]
    for host in complaining:
        evidence(f"{host}: not looked at, because {switch} is complain there")
    if complaining == hosts:
        not_applicable(f"{switch} is complain")
    return [host for host in hosts if host not in complaining]


@pytest.mark.control("SYS-2")
@pytest.mark.parametrize("group", SERVICES)
def test_the_service_is_confined(site, said, with_apparmor, evidence, having, not_applicable, group):
    """Each process of Squid, Apache, Tomcat and PostgreSQL runs under its own profile, and the profile forbids."""
    profile = SERVICES[group][2]
    for host in enforced(site, group, having, evidence, not_applicable):
        found = [line.split(None, 1) for line in said(host, f"{group}_processes").lines]
        labels = {label for _kind, label in found}
        evidence(f"{host}: {len(found)} processes, {', '.join(sorted(labels))}")
        assert [label for kind, label in found if kind == "main"], f"{host}: the service does not run"
        free = sorted(label for label in labels if not confined(label, profile))
        assert not free, f"{host}: not under {profile} (enforce), but {', '.join(free)}"


def confined(label, profile):
    """Held by the profile, alone or beside others (`one//&two (enforce)`), and by none that only complains."""
    names, _space, mode = label.rpartition(" ")
    return mode == "(enforce)" and profile in names.split("//&")


@pytest.mark.control("SYS-2")
@pytest.mark.parametrize("group", SERVICES)
def test_the_profile_refuses(site, said, with_apparmor, evidence, having, not_applicable, group):
    """Tried as root: passwords, root's files, writing and programs are refused; the service's own files are not."""
    profile = SERVICES[group][2]
    for host in enforced(site, group, having, evidence, not_applicable):
        answer = said(host, f"{group}_tried")
        assert answer.code == 0, f"{host}: nobody can be put under {profile}: {answer.text[-300:]}"
        free, held = answer.json["free"], answer.json["confined"]
        evidence(f"{host}, under {profile}: {', '.join(f'{what}: {result}' for what, result in held.items())}")
        assert set(free.values()) == {"done"}, f"{host}: refused to root without the profile too, which says nothing"
        assert {what for what, result in held.items() if result == "Permission denied"} == FORBIDDEN, f"{host}: {held}"
        assert {result for what, result in held.items() if what not in FORBIDDEN} == {"done"}, f"{host}: {held}"
