#!/bin/sh
# A stand-in for the vendor's package, in an APT repository of its own at 127.0.0.1:8099: same paths, same account, same
# kind of unit, and a daemon that reads its settings as that account or does not start. Signed by whoever calls.
set -eu
root=/root/wazuh-agent repository=/srv/wazuh
rm -rf $root $repository
mkdir -p $root/DEBIAN $root/lib/systemd/system $root/var/ossec/bin $root/var/ossec/etc $root/var/ossec/var/run \
    $repository/pool $repository/dists/stable/main/binary-amd64
cat > $root/DEBIAN/control <<'END'
Package: wazuh-agent
Version: 4.0.0-1
Architecture: all
Maintainer: nobody <nobody@example.org>
Depends: adduser
Description: stand-in
END
cat > $root/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
getent group wazuh >/dev/null || addgroup --quiet --system wazuh
getent passwd wazuh >/dev/null || adduser --quiet --system --home /var/ossec --no-create-home --ingroup wazuh wazuh
if [ ! -e /var/ossec/etc/ossec.conf ]; then
    echo '<ossec_config><client><server><address>MANAGER_IP</address></server></client></ossec_config>' \
        > /var/ossec/etc/ossec.conf
fi
chown root:wazuh /var/ossec/etc /var/ossec/etc/ossec.conf
chmod 0770 /var/ossec/etc
chmod 0660 /var/ossec/etc/ossec.conf
END
cat > $root/lib/systemd/system/wazuh-agent.service <<'END'
[Unit]
Description=Stand-in for the Wazuh agent

[Service]
Type=forking
TimeoutSec=45
PIDFile=/var/ossec/var/run/wazuh-agentd.pid
ExecStart=/usr/bin/env /var/ossec/bin/wazuh-agentd
KillMode=process

[Install]
WantedBy=multi-user.target
END
cat > $root/var/ossec/bin/wazuh-agentd <<'END'
#!/usr/bin/python3 -I
"""Reads settings and password as user wazuh; with -t that is all."""
import grp, os, pathlib, pwd, sys, time
import xml.etree.ElementTree as tree

os.setgroups([])
os.setegid(grp.getgrnam("wazuh").gr_gid)
os.seteuid(pwd.getpwnam("wazuh").pw_uid)
root = tree.parse("/var/ossec/etc/ossec.conf").getroot()
assert root.tag == "ossec_config", root.tag
assert root.findtext("client/server/address") not in (None, "MANAGER_IP"), "no manager"
for name in ("authorization_pass_path", "server_ca_path"):
    if path := root.findtext(f"client/enrollment/{name}"):
        assert pathlib.Path(path).read_text().strip(), path
if "-t" not in sys.argv:
    os.seteuid(0)
    if pid := os.fork():
        pathlib.Path("/var/ossec/var/run/wazuh-agentd.pid").write_text(f"{pid}\n")
        sys.exit()
    time.sleep(3600)
END
chmod 0755 $root/DEBIAN/postinst $root/var/ossec/bin/wazuh-agentd
dpkg-deb --build --root-owner-group $root $repository/pool/wazuh-agent_4.0.0-1_all.deb >/dev/null
# What must never come from there, however new it is.
sed -i 's/^Package: .*/Package: hello/; s/^Depends: .*/Section: misc/' $root/DEBIAN/control
rm -r $root/DEBIAN/postinst $root/lib $root/var
dpkg-deb --build --root-owner-group $root $repository/pool/hello_4.0.0-1_all.deb >/dev/null
cd $repository
apt-ftparchive packages pool > dists/stable/main/binary-amd64/Packages
cp dists/stable/main/binary-amd64/Packages "dists/stable/main/binary-$(dpkg --print-architecture)/Packages" 2>/dev/null || true
apt-ftparchive -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Components=main \
    -o "APT::FTPArchive::Release::Architectures=amd64 $(dpkg --print-architecture)" release dists/stable > Release
mv Release dists/stable/Release
systemctl reset-failed wazuh-repository 2>/dev/null || true
systemctl is-active --quiet wazuh-repository \
    || systemd-run --quiet --unit=wazuh-repository python3 -m http.server --bind 127.0.0.1 --directory $repository 8099
