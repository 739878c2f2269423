# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A security update installs by itself; another one does not."""

from __future__ import annotations

import pytest

BUILD = r"""
set -eu
rm -rf /srv/repository; mkdir -p /srv/repository
cd /srv/repository
for suite in security updates; do
    for version in 1.0 1.1; do
        mkdir -p tree/DEBIAN
        printf 'Package: lab-%s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <l@example.org>\nDescription: -\n' \
            $suite $version > tree/DEBIAN/control
        mkdir -p $suite
        dpkg-deb --build --root-owner-group tree $suite/lab-$suite-$version.deb >/dev/null
        rm -r tree
    done
    (cd $suite; dpkg -i lab-$suite-1.0.deb >/dev/null; rm lab-$suite-1.0.deb
     { printf 'Package: lab-%s\nVersion: 1.1\nArchitecture: all\nMaintainer: Lab <l@example.org>\nDescription: -\n' \
           $suite
       printf 'Filename: ./lab-%s-1.1.deb\nSize: %s\nSHA256: %s\n\n' $suite $(stat -c %s lab-$suite-1.1.deb) \
           $(sha256sum lab-$suite-1.1.deb | cut -d ' ' -f 1); } > Packages)
done
cd security
. /etc/os-release
printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: %s-security\nSHA256:\n %s %s %s\n' \
    $VERSION_CODENAME $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) Packages > Release
cd ../updates
printf 'Origin: Somebody\nLabel: Somebody\nSuite: stable\nCodename: %s\nSHA256:\n %s %s Packages\n' \
    $VERSION_CODENAME $(sha256sum Packages | cut -d ' ' -f 1) $(stat -c %s Packages) > Release
printf 'deb [trusted=yes] file:/srv/repository/security ./\ndeb [trusted=yes] file:/srv/repository/updates ./\n' \
    > /etc/apt/sources.list.d/lab.list
# Only the two: what the real archive has to offer is not this test's business.
mkdir -p /root/sources; mv /etc/apt/sources.list /root/sources/ 2>/dev/null || true
apt-get -qq update
"""
CLEAN = r"""
dpkg --purge lab-security lab-updates >/dev/null 2>&1
rm -rf /etc/apt/sources.list.d/lab.list /srv/repository
mv /root/sources/sources.list /etc/apt/ 2>/dev/null; apt-get -qq update
"""


@pytest.mark.control("UPD-1")
@pytest.mark.parametrize("name", ["shell", "next", "worker"])
def test_a_security_update_is_installed_and_no_other(inside, name):
    """From a repository that signs as the security archive does, and one that does not; on hosts and in containers."""
    machine = inside[name]
    machine.check_output(BUILD)
    try:
        machine.check_output("unattended-upgrade")
        installed = dict(line.split() for line in machine.check_output(
            "dpkg-query --show --showformat '${Package} ${Version}\\n' lab-security lab-updates").splitlines())
    finally:
        machine.run(CLEAN)

    assert installed == {"lab-security": "1.1", "lab-updates": "1.0"}


@pytest.mark.control("UPD-1")
@pytest.mark.parametrize("name", ["shell", "worker"])
def test_what_runs_on_old_files_is_restarted(inside, name):
    """An update that nobody uses protects nobody."""
    assert "$nrconf{restart} = 'a';" in inside[name].check_output("cat /etc/needrestart/conf.d/*.conf")
    assert inside[name].run("needrestart -b -r l").rc == 0
