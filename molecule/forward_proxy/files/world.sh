#!/bin/sh
# One package in an archive of its own, and files that are large enough to fill a small cache.
set -eu
mkdir -p /srv/world /root/lab-package/DEBIAN
cat > /root/lab-package/DEBIAN/control <<'END'
Package: lab-package
Version: 1
Architecture: all
Maintainer: The lab <root@localhost>
Description: nothing
END
cd /srv/world
dpkg-deb --build --root-owner-group /root/lab-package lab-package_1_all.deb >/dev/null
apt-ftparchive packages . > Packages
apt-ftparchive release . > Release
for number in 1 2 3 4 5 6; do head -c 25M /dev/urandom > "large$number.deb"; done
[ -e /etc/ssl/private/ssl-cert-snakeoil.key ] || make-ssl-cert generate-default-snakeoil
systemd-run --quiet --unit world /usr/local/bin/world /srv/world
