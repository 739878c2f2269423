#!/bin/sh -e
# The provider's account, root that only says so, and systemd that listens in sshd's place.
useradd --create-home --shell /bin/bash --groups sudo debian
install -d -m 0700 -o debian -g debian /home/debian/.ssh
install -m 0600 -o debian -g debian /root/.ssh/authorized_keys /home/debian/.ssh/authorized_keys
said='no-port-forwarding,no-agent-forwarding,command="echo Please login as the user \\"debian\\"; sleep 1; exit 142"'
sed -i "/^ssh-/s/^/$said /" /root/.ssh/authorized_keys
chmod 0440 /etc/sudoers.d/90-cloud-init-users
systemctl disable --now ssh.service
systemctl enable --now ssh.socket
