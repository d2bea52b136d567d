#!/usr/bin/env bash
# A run on two hosts of which one is cut off goes on, under halo_launch, on the other, also a job that asks for the ranks of both; its
# monitor hears the ranks of both.
#   tests/supervisor/lost_host_test.sh BUILD
# Skipped (exit code 77) where there cannot be two hosts.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
if [[ $(id -u) -ne 0 || -e /run/netns/halo1 ]] || ! command -v ip sshd ssh-keygen >/dev/null; then
  echo "skipped: needs root, iproute2, openssh-server, and no other such test at work"
  exit 77
fi
folder=$(mktemp -d)
hosts=$source/tests/supervisor/two_hosts.sh
trap '"$hosts" down "$folder/hosts" >/dev/null 2>&1; rm -rf "$folder"' EXIT
if ! "$hosts" up "$folder/hosts" >"$folder/up.txt" 2>&1; then
  echo "skipped: $(tail -n 1 "$folder/up.txt")"
  exit 77
fi
export PATH=$build:$PATH
cd "$folder"

mkdir teacher
cp "$source/launch/quickstart/config.json" teacher/
cp "$source/docs/glossary.md" text.txt
halo tokenizer train --vocab 300 --out teacher/tokenizer.json text.txt
halo tokenize --tokenizer teacher/tokenizer.json --out text.h5 text.txt
cat >run.textproto <<CONFIG
output: "$folder/runs"
job { name: "teacher" ranks: 4
  train { stage: PRETRAIN model: "$folder/teacher" data { tokens: "$folder/text.h5" sequence_length: 32 first_sample: 0 }
    batch { sequences: 4 micro_sequences: 1 } steps: 200 optimizer { lr: 1e-3 } checkpoint { every_steps: 10 } } }
CONFIG

network=10.77.0.0/24
ip netns exec halo1 halo_launch --hang_timeout 5 --backoff 0.5 -- \
  mpirun --allow-run-as-root --oversubscribe --bind-to none -np 4 --host 10.77.0.1:2,10.77.0.2:2 \
  --mca plm_rsh_agent "$folder/hosts/ssh" --mca btl tcp,self --mca btl_tcp_if_include $network \
  --mca oob_tcp_if_include $network "$build/halo_train" --config run.textproto --monitor 8080 >told.txt 2>&1 &
launched=$!
metrics=runs/teacher/metrics.jsonl
until [[ -f $metrics && $(wc -l <$metrics) -ge 15 ]]; do
  kill -0 $launched 2>/dev/null || { echo "it ended too early:" >&2; cat told.txt >&2; exit 1; }
  sleep 0.1
done
status() {
  ip netns exec halo1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080
    printf "GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n" >&3; cat <&3'
}
heard=$(status | grep -o '"state":"well"' | wc -l)
[[ $heard -eq 4 ]] || { echo "the monitor hears $heard ranks of 4:" >&2; status >&2; exit 1; }
ip -n halo2 link set eth0 down

code=0
wait $launched || code=$?
expect() { grep -q -- "$1" told.txt || { echo "not told: $1" >&2; cat told.txt >&2; exit 1; }; }
[[ $code -eq 0 ]] || { echo "code $code:" >&2; cat told.txt >&2; exit 1; }
expect "no beat any more from rank 2 .*rank 3"
expect "host 10.77.0.2 does not answer: it is left out"
expect "job teacher: hosts are gone: it goes on on 2 of its 4 ranks"
expect "going on after step"
[[ $(wc -l <$metrics) -eq 200 ]] || { echo "not 200 steps in $metrics" >&2; exit 1; }
