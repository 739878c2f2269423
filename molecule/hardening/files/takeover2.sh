#!/bin/sh -e
# An account of its own, everything private, /tmp without programs, and no login of root.
useradd --create-home --shell /bin/bash --groups sudo keeper
install -d -m 0700 -o keeper -g keeper /home/keeper/.ssh
install -m 0600 -o keeper -g keeper /root/.ssh/authorized_keys /home/keeper/.ssh/authorized_keys
printf 'keeper ALL=(ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/090-keeper
printf 'Defaults use_pty\n' > /etc/sudoers.d/011_use_pty
printf 'Defaults logfile=/var/log/sudo.log\n' > /etc/sudoers.d/012_logfile
printf 'Defaults timestamp_type=tty\n' > /etc/sudoers.d/017_timestamptype
printf 'Defaults umask=0077\n' > /etc/sudoers.d/018_umask
chmod 0440 /etc/sudoers.d/*
sed -i '/^Subsystem/d' /etc/ssh/sshd_config
chmod 0600 /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*
sed -i 's/^UMASK.*/UMASK 077/' /etc/login.defs
grep -q pam_umask /etc/pam.d/common-session || echo 'session optional pam_umask.so umask=077' >> /etc/pam.d/common-session
sed -i '1i umask 077' /etc/bash.bashrc
mount -t tmpfs -o remount,noexec,nosuid,nodev /dev/shm || true
systemctl daemon-reload
systemctl enable --now tmp.mount || true
passwd --lock root
systemctl restart ssh.service
