#!/usr/bin/env bash
# Two hosts on this machine, for tests: network namespaces halo1 and halo2 with the addresses 10.77.0.1 and 10.77.0.2 and an sshd
# each, by which mpirun reaches them. All else, files too, they share. Needs root, iproute2, openssh-server, openssh-client.
#   tests/supervisor/two_hosts.sh up|down STATE
# STATE is a folder for keys; STATE/ssh is mpirun's plm_rsh_agent. `ip -n halo2 link set eth0 down` cuts a host off.
set -euo pipefail
action=$1
state=$2

down() {
  for i in 1 2; do
    if [[ -f $state/sshd$i.pid ]]; then kill "$(cat "$state/sshd$i.pid")" || true; fi
    for pid in $(ip netns pids "halo$i" 2>/dev/null || true); do kill -9 "$pid" || true; done
    ip netns del "halo$i" 2>/dev/null || true
    # A namespace lives on as long as a connection in it that the other host cannot end any more.
    ip link del "halov$i" 2>/dev/null || true
  done
  ip link del halobr 2>/dev/null || true
}

up() {
  mkdir -p "$state" /run/sshd
  for key in id host; do ssh-keygen -q -t ed25519 -N '' -f "$state/$key"; done
  cp "$state/id.pub" "$state/authorized"
  chmod 600 "$state/authorized"
  cat >"$state/ssh" <<SSH
#!/bin/sh
exec ssh -i $state/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "\$@"
SSH
  chmod +x "$state/ssh"
  ip link add halobr type bridge
  ip link set halobr up
  for i in 1 2; do
    ip netns add "halo$i"
    ip link add "halov$i" type veth peer name eth0 netns "halo$i"
    ip link set "halov$i" master halobr up
    ip -n "halo$i" addr add "10.77.0.$i/24" dev eth0
    ip -n "halo$i" link set eth0 up
    ip -n "halo$i" link set lo up
    ip netns exec "halo$i" /usr/sbin/sshd -o ListenAddress="10.77.0.$i" -o HostKey="$state/host" \
      -o AuthorizedKeysFile="$state/authorized" -o PidFile="$state/sshd$i.pid" -o StrictModes=no -o UsePAM=no
  done
}

"$action"
