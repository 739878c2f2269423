# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in each image. Changing anything here changes the image's content hash, and so builds it anew."""

from __future__ import annotations

import os
from pathlib import Path

# An unprivileged system that gets its address by DHCP and router advertisements, and can be managed by Ansible.
BASE = """
    systemd systemd-sysv systemd-resolved libnss-resolve dbus udev kmod iproute2 iputils-ping netbase procps
    ca-certificates python3 python3-apt python3-cryptography sudo curl openssl ssl-cert acl unattended-upgrades
    apt-utils less tzdata
    libpam-pwquality cracklib-runtime libpam-tmpdir aide needrestart debsums apt-listchanges apt-show-versions lynis
    debsecan
"""

# The bare server: what the site needs on the host is preloaded, because installing under emulation takes minutes.
SERVER = """
    openssh-server openssh-client lxd lxd-client dnsmasq-base ufw nftables iptables cryptsetup cryptsetup-bin e2fsprogs
    attr python3-yaml python3-debian apparmor jq rsync xz-utils squashfs-tools zstd systemd-timesyncd
    netcat-openbsd age
    acct apparmor-utils fail2ban python3-systemd sysstat auditd audispd-plugins cron logrotate rsyslog rsyslog-openssl
    openscap-scanner libpam-oath chkrootkit wireguard-tools
"""

KERNEL = " linux-image-cloud-amd64 initramfs-tools lz4"
# What a box has besides; CIS wants a server without it.
BOX = " squid libcap2-bin"

PACKAGES: dict[str, dict[str, str]] = {
    "base": {"*": ""},
    # Debian 13 no longer has python3-pylxd.
    "server": {"bookworm": SERVER + " python3-pylxd", "trixie": SERVER},
    "vm": {"bookworm": SERVER + KERNEL + BOX + " python3-pylxd", "trixie": SERVER + KERNEL + BOX},
    "proxy": {"*": "apache2 certbot apparmor rsyslog"},
    "app": {
        "bookworm": "tomcat10 openjdk-17-jre-headless apparmor",
        "trixie": "tomcat10 openjdk-21-jre-headless apparmor",
    },
    "db": {
        "bookworm": "postgresql postgresql-15-postgis-3 python3-psycopg2 apparmor rsyslog",
        "trixie": "postgresql postgresql-17-postgis-3 python3-psycopg2 apparmor rsyslog",
    },
}
# The packages that openssh-server would bring to a machine without it.
SSH = "$(apt-get install --simulate openssh-server | sed -n 's/^Inst \\([^ ]*\\).*/\\1/p')"
TIERS = ("proxy", "app", "db")
RELEASES = ("bookworm", "trixie")
# Of a machine whose platform says nothing about it: one scenario is tried on any release.
RELEASE = os.environ.get("SECUREBOX_LAB_RELEASE") or RELEASES[0]

# Nobody reads manuals in a lab, and unpacking them costs time in each container.
EXCLUDED = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
)

NETWORK = """\
[Match]
Name=en* eth*

[Network]
DHCP=yes
IPv6AcceptRA=yes

[DHCPv4]
UseDomains=yes
UseHostname=no
"""

# Runs on the new tree: $1 is the tree, $2 the image.
CUSTOMIZE = """\
set -eu
root=$1 image=$2
cp network "$root/etc/systemd/network/20-lab.network"
install -D -m 0644 -t "$root/usr/lib/python3/dist-packages" lab_bytecode.py
echo 'import lab_bytecode' > "$root/usr/lib/python3/dist-packages/lab_bytecode.pth"
install -d -m 0700 "$root/var/cache/lab-bytecode"
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/hostname" "$root"/var/lib/dbus/machine-id
: > "$root/etc/machine-id"
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
# Nothing may start updating by itself while a test runs; and chkrootkit never ends in a nested container.
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer chkrootkit.timer
# Installed, so that a role need not wait for it; running only where a role wants it.
if [ -e "$root/lib/systemd/system/squid.service" ]; then chroot "$root" systemctl -q disable squid; fi
if [ "$image" != vm ]; then
    # What published LXD images have too: AppArmor forbids an unprivileged container the mounts of these sandboxes, and
    # without them networkd, resolved and logind do not start.
    mkdir -p "$root/etc/systemd/system/service.d"
    cat > "$root/etc/systemd/system/service.d/zzz-lxc-service.conf" <<-'END'
	[Service]
	ProcSubset=all
	ProtectProc=default
	ProtectControlGroups=no
	ProtectKernelTunables=no
	NoNewPrivileges=no
	LoadCredential=
	END
fi
for unit in systemd-binfmt.service e2scrub_reap.service systemd-networkd-wait-online.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
mkdir -p "$root/var/lib/apt/periodic" "$root/var/lib/apt/lists/partial"
"""

# What the roles install is in the images already. So the package lists count as fresh for ever: fetching and reading
# them in every container takes minutes under emulation. The engine container takes this mark away.
FRESH = "./var/lib/apt/periodic/update-success-stamp"
FOR_EVER = 2145916800  # 2038: mke2fs writes no time after that year's January

# Put into every image: see the file itself.
BYTECODE = Path(__file__).with_name("lab_bytecode.py").read_text()

# The template of /etc/hostname and /etc/hosts in a container's image.
HOSTNAME = '{{ config_get("user.hostname", container.name) }}'
TEMPLATES = {
    "hostname": f"{HOSTNAME}\n",
    "hosts": f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n::1 localhost ip6-localhost\n",
}


def essential(image: str) -> list[str]:
    """Commands before the packages are installed: $1 is the tree."""
    # Alternatives (Java, PostgreSQL) are linked into manual pages' directories, which are left out above.
    hooks = ['mkdir -p "$1"/usr/share/man/man1 "$1"/usr/share/man/man7 "$1"/usr/share/man/man8']
    if image == "db":
        # A cluster made now would lie in the image; the role makes it on the encrypted volume.
        hooks.append(
            'mkdir -p "$1/etc/postgresql-common" && '
            "echo 'create_main_cluster = false' > \"$1/etc/postgresql-common/createcluster.conf\""
        )
    return hooks


def packages(image: str, release: str) -> list[str]:
    """The packages of an image; a trailing '-' keeps a recommended one out."""
    chosen = PACKAGES[image].get(release, PACKAGES[image].get("*", ""))
    return sorted(set((BASE + chosen).split()))
