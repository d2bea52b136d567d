#!/usr/bin/env bash
# A Slurm of two nodes on this machine, as root, for tests.
#   slurm_cluster.sh start FOLDER    then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm_cluster.sh stop FOLDER     ends its jobs, too
set -euo pipefail
folder=$2
export SLURM_CONF=$folder/slurm.conf

write_config() {
  local host
  host=$(hostname)
  # Each node wants a temporary folder of its own: PMIx keeps one socket a node in it.
  cat >"$SLURM_CONF" <<CONFIG
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17100
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/controller.pid
SlurmctldLogFile=$folder/controller.log
SlurmdPidFile=$folder/%n.pid
SlurmdLogFile=$folder/%n.log
SlurmdSpoolDir=$folder/%n.spool
SlurmdParameters=config_overrides
TmpFS=$folder/%n.tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=pmix
ReturnToService=2
KillWait=10
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17101 CPUs=4
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17102 CPUs=4
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
CONFIG
}

start() {
  mkdir -p "$folder"/{state,node1.spool,node2.spool,node1.tmp,node2.tmp} /run/munge
  chown munge: /run/munge
  pgrep -x munged >/dev/null || runuser -u munge -- /usr/sbin/munged
  write_config
  slurmctld
  slurmd -N node1
  slurmd -N node2
  for _ in $(seq 60); do
    [[ $(sinfo --noheader --Node --format=%T 2>/dev/null | grep -c idle) -eq 2 ]] && return
    sleep 0.5
  done
  echo "slurm_cluster.sh: error: its nodes did not come up:" >&2
  tail -n 20 "$folder"/*.log >&2
  exit 1
}

stop() {
  scancel --quiet --user root 2>/dev/null || true
  for _ in $(seq 40); do
    [[ -z $(squeue --noheader 2>/dev/null) ]] && break
    sleep 0.5
  done
  local daemons=()
  for name in node1 node2 controller; do
    [[ ! -f $folder/$name.pid ]] || daemons+=("$(cat "$folder/$name.pid")")
  done
  for _ in $(seq 40); do
    kill "${daemons[@]}" 2>/dev/null || break  # until none is left
    sleep 0.25
  done
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) echo "slurm_cluster.sh: error: start or stop, not $1" >&2; exit 2 ;;
esac
