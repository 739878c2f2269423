#!/bin/sh
# Two network namespaces stand in for the containers of two segments.
set -eu

cat > /usr/local/sbin/behind <<'SCRIPT'
#!/bin/sh
set -eu
segment() {
    ip link add "$1" type bridge
    ip address add "$2.1/24" dev "$1"
    ip -6 address add "$3::1/64" dev "$1" nodad
    ip link set "$1" up
    ip netns add "$4"
    ip link add "v$4" type veth peer name eth0 netns "$4"
    ip link set "v$4" master "$1" up
    ip -n "$4" link set lo up
    ip -n "$4" link set eth0 up
    ip -n "$4" address add "$2.10/24" dev eth0
    ip -n "$4" -6 address add "$3::10/64" dev eth0 nodad
    ip -n "$4" route add default via "$2.1"
    ip -n "$4" -6 route add default via "$3::1"
}
segment testproxy 10.91.1 fd91:0:0:1 proxy
segment testapp 10.91.2 fd91:0:0:2 app
# Frames that stay on one bridge are none of the firewall's business, as on a server without Docker.
for family in iptables ip6tables; do
    if [ -e "/proc/sys/net/bridge/bridge-nf-call-$family" ]; then echo 0 > "/proc/sys/net/bridge/bridge-nf-call-$family"; fi
done
nft add table inet somebody_else
nft add chain inet somebody_else prerouting '{ type nat hook prerouting priority dstnat + 5; }'
nft add rule inet somebody_else prerouting tcp dport 6543 redirect to 6544
ip netns exec app /usr/local/bin/who 8443 5432 &
exec ip netns exec proxy /usr/local/bin/who 80 443 9000
SCRIPT
chmod 755 /usr/local/sbin/behind

cat > /etc/systemd/system/behind.service <<'UNIT'
[Unit]
Description=Machines behind the gate

[Service]
ExecStart=/usr/local/sbin/behind

[Install]
WantedBy=multi-user.target
UNIT
