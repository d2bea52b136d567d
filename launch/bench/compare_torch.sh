#!/usr/bin/env bash
# Training steps of halo beside PyTorch's on this machine's CPU, by turns, with the ratio of tokens a second.
#   launch/bench/compare_torch.sh PEER.py [PYTHON]
# PEER.py is a program that takes the options below and prints "name=stage1 ...  tokens_per_s=N  ...  peak_gib=G" a line;
# PYTHON an interpreter that has torch. THREADS=2 sets the threads of both, TURNS=3 how often each runs (halo, torch,
# halo, torch, ...; the medians are compared), STAGES="finetune" picks stages, BUILD the folder of the built programs.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
if [[ $# -lt 1 || $1 == -* ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
peer=$1
python=${2:-python3}
threads=${THREADS:-2}
turns=${TURNS:-3}
halo=${BUILD:-$root/build/release}/halo
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

declare -A number=([align]=1 [distill]=2 [finetune]=3)
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
largest() { printf '%s\n' "$@" | sort -n | tail -n 1; }

printf '%-10s %11s %11s %6s %9s %9s   %s\n' stage 'halo tok/s' 'torch tok/s' ratio 'halo GiB' 'torch GiB' \
  'every turn, halo / torch'
for stage in ${STAGES:-align distill finetune}; do
  ours=() theirs=() our_memory=() their_memory=() pairs=''
  for ((turn = 0; turn < turns; ++turn)); do
    line=$("$halo" bench step --model small --threads "$threads" --stages "$stage")
    ours+=("$(sed -n 's/.* \([0-9]*\) tokens\/s.*/\1/p' <<<"$line")")
    our_memory+=("$(sed -n 's/.* \([0-9.]*\) GiB peak.*/\1/p' <<<"$line")")
    line=$("$python" "$peer" --device cpu --model small --recompute none --threads "$threads" \
      --stages "${number[$stage]}" --b1 4 --b2 4 --t3 2048 --steps 8 | grep tokens_per_s)
    theirs+=("$(sed -n 's/.*tokens_per_s=\([0-9.]*\).*/\1/p' <<<"$line")")
    their_memory+=("$(sed -n 's/.*peak_gib=\([0-9.]*\).*/\1/p' <<<"$line")")
    pairs+=" ${ours[-1]}/${theirs[-1]}"
  done
  printf '%-10s %11.0f %11.0f %6.2f %9s %9s  %s\n' "$stage" "$(median "${ours[@]}")" "$(median "${theirs[@]}")" \
    "$(awk "BEGIN { print $(median "${ours[@]}") / $(median "${theirs[@]}") }")" \
    "$(largest "${our_memory[@]}")" "$(largest "${their_memory[@]}")" "$pairs"
done
