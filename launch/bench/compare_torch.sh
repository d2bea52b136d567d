#!/usr/bin/env bash
# Training steps of halo beside PyTorch's on this machine's CPU, in one run, with the ratio of tokens a second.
#   launch/bench/compare_torch.sh PEER.py [PYTHON]
# PEER.py is a program that takes the options below and prints "name=stage1 ...  tokens_per_s=N  ...  peak_gib=G" a line;
# PYTHON an interpreter that has torch. THREADS=2 sets the threads of both, BUILD the folder of the built programs.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
if [[ $# -lt 1 || $1 == -* ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
peer=$1
python=${2:-python3}
threads=${THREADS:-2}
halo=${BUILD:-$root/build/release}/halo
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

declare -A number=([align]=1 [distill]=2 [finetune]=3)
field() { sed -n "s/.*$1=\([0-9.]*\).*/\1/p" <<<"$2" | head -n 1; }

printf '%-10s %14s %14s %8s %12s %12s\n' stage 'halo tok/s' 'torch tok/s' ratio 'halo GiB' 'torch GiB'
for stage in align distill finetune; do
  ours=$("$halo" bench step --model small --threads "$threads" --stages "$stage")
  theirs=$("$python" "$peer" --device cpu --model small --recompute none --threads "$threads" \
    --stages "${number[$stage]}" --b1 4 --b2 4 --t3 2048 --steps 8 | grep tokens_per_s)
  again=$("$halo" bench step --model small --threads "$threads" --stages "$stage")
  rate() { sed -n 's/.* \([0-9]*\) tokens\/s.*/\1/p' <<<"$1"; }
  memory() { sed -n 's/.* \([0-9.]*\) GiB peak.*/\1/p' <<<"$1"; }
  mean=$((($(rate "$ours") + $(rate "$again")) / 2))
  peer_rate=$(field tokens_per_s "$theirs")
  printf '%-10s %14s %14s %8s %12s %12s\n' "$stage" "$mean" "$peer_rate" \
    "$(awk "BEGIN { printf \"%.2f\", $mean / $peer_rate }")" "$(memory "$ours")" "$(field peak_gib "$theirs")"
done
