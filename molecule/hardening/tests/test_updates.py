# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security updates install by themselves, also those of others' repositories, and take effect; other updates wait."""

from __future__ import annotations

import pytest

# What repositories say of themselves, each with a newer version of a package that is installed.
REPOSITORIES = {
    "security": "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: $VERSION_CODENAME-security",
    "updates": "Origin: Debian\nLabel: Debian\nSuite: stable-updates\nCodename: $VERSION_CODENAME-updates",
    "backports": "Origin: Debian Backports\nSuite: stable-backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes",
    "vendor": "Origin: Somebody\nLabel: Somebody\nSuite: stable\nCodename: $VERSION_CODENAME",
    "derived": "Origin: Debian-Something\nSuite: stable",
    "nameless": "Suite: stable",
    "testing": "Origin: Somebody\nSuite: testing\nNotAutomatic: yes",
}
# One service whose program an update replaces, and one whose library. The package does not restart them.
BUILD = r"""
set -eu
rm -rf /srv/repository; mkdir -p /srv/repository
cd /srv/repository
. /etc/os-release
: > /etc/apt/sources.list.d/lab.list
control() {
    printf 'Package: lab-%s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <l@example.org>\nDescription: -\n' "$@"
}
package() {  # NAME VERSION
    mkdir -p tree/DEBIAN
    control $1 $2 > tree/DEBIAN/control
    [ $1 != security ] || {
        mkdir -p tree/usr/lib/lab tree/usr/lib/systemd/system
        cp -L /usr/bin/sleep /usr/lib/*-linux-gnu/libz.so.1 tree/usr/lib/lab/
        printf '[Service]\nExecStart=/usr/lib/lab/sleep infinity\n' > tree/usr/lib/systemd/system/lab-program.service
        printf '[Service]\nEnvironment=LD_PRELOAD=/usr/lib/lab/libz.so.1\nExecStart=/usr/bin/sleep infinity\n' \
            > tree/usr/lib/systemd/system/lab-library.service
    }
    dpkg-deb --build --root-owner-group -Znone tree $1/lab-$1-$2.deb >/dev/null
    rm -r tree
}
repository() {  # NAME WHAT-IT-SAYS-OF-ITSELF
    mkdir $1
    package $1 1.0; dpkg -i $1/lab-$1-1.0.deb >/dev/null; rm $1/lab-$1-1.0.deb
    package $1 1.1
    { control $1 1.1; printf 'Filename: ./lab-%s-1.1.deb\nSize: %s\nSHA256: %s\n\n' $1 \
        $(stat -c %s $1/lab-$1-1.1.deb) $(sha256sum $1/lab-$1-1.1.deb | cut -d ' ' -f 1); } > $1/Packages
    printf '%s\nSHA256:\n %s %s Packages\n' "$2" \
        $(sha256sum $1/Packages | cut -d ' ' -f 1) $(stat -c %s $1/Packages) > $1/Release
    echo "deb [trusted=yes] file:/srv/repository/$1 ./" >> /etc/apt/sources.list.d/lab.list
}
""" + "".join(f'repository {name} "{says}"\n' for name, says in REPOSITORIES.items()) + r"""
systemctl daemon-reload
systemctl start lab-program lab-library
# Only these: what the real archive has to offer is not this test's business. Its lists stay where they are.
mkdir -p /root/sources; mv /etc/apt/sources.list /root/sources/ 2>/dev/null || true
apt-get -qq -o APT::Get::List-Cleanup=false update
"""
CLEAN = r"""
systemctl stop lab-program lab-library
dpkg --purge $(dpkg-query --show --showformat '${Package}\n' 'lab-*') >/dev/null 2>&1
systemctl daemon-reload
rm -rf /etc/apt/sources.list.d/lab.list /srv/repository
mv /root/sources/sources.list /etc/apt/ 2>/dev/null; rm -f /var/lib/apt/lists/_srv_repository_*
"""
PROCESSES = "systemctl show --property=MainPID --value lab-program lab-library"


@pytest.fixture(scope="module", params=["shell", "next", "worker"])
def updated(inside, request):
    """A machine after such a night, with what is installed and the services' processes before it and after it."""
    machine = inside[request.param]
    machine.check_output(BUILD)
    try:
        before = machine.check_output(PROCESSES).split()
        machine.check_output("unattended-upgrade")
        installed = dict(line.split() for line in machine.check_output(
            "dpkg-query --show --showformat '${Package} ${Version}\\n' 'lab-*'").splitlines())
        after = machine.check_output(PROCESSES).split()
        maps = machine.check_output(f"cat /proc/{after[0]}/maps /proc/{after[1]}/maps")
    finally:
        machine.run(CLEAN)
    return request.param, installed, before, after, maps


@pytest.mark.control("UPD-1")
def test_security_updates_and_those_of_others_are_installed_and_no_other(updated):
    """On hosts and in containers, from repositories that came after the role. Backports, and what is not meant to be
    installed by itself, wait. On the worker, third parties' updates are left to its administrator."""
    name, installed, _, _, _ = updated
    new = {"security"} if name == "worker" else {"security", "vendor", "derived", "nameless"}

    assert installed == {f"lab-{which}": "1.1" if which in new else "1.0" for which in REPOSITORIES}


@pytest.mark.control("UPD-1")
def test_what_ran_on_old_files_is_restarted(updated):
    """An update that nobody uses protects nobody: neither of a program nor of a library."""
    _, _, before, after, maps = updated

    assert "/usr/lib/lab/sleep" in maps
    assert "/usr/lib/lab/libz.so.1" in maps
    assert "(deleted)" not in maps
    assert not set(before) & set(after)
    assert "0" not in before + after
