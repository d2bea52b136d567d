#!/usr/bin/env bash
# On a machine with several GPUs: builds the CUDA preset, compares every layout that they can have with one GPU, through
# NCCL, and measures collectives and whole training steps by layout, with what the planner predicts beside them.
#   tests/gpus.sh                all of that; the tables come last
#   --gpus N                     with so many GPUs at most (all that nvidia-smi shows)
#   --no_build                   takes the programs that are in build/cuda
#   --no_tests                   measures alone
#   --only NAME[,NAME...]        these tables alone: scaling, layouts, overlap, context, large
#   --steps N                    measured steps of each row (8)
#   --out DIR                    for logs and tables (build/cuda/gpus)
set -euo pipefail
cd "$(dirname "$0")/.."

build=true tests=true only=scaling,layouts,overlap,context,large out=build/cuda/gpus steps=8 gpus=
usage_error() { echo "gpus.sh: error: $1 (see tests/gpus.sh --help)" >&2; exit 2; }
while [[ $# -gt 0 ]]; do
  case $1 in
    --gpus | --only | --steps | --out) [[ $# -gt 1 ]] || usage_error "$1 needs a value" ;;&
    --no_build) build=false ;;
    --no_tests) tests=false ;;
    --gpus) gpus=$2; shift ;;
    --only) only=$2; shift ;;
    --steps) steps=$2; shift ;;
    --out) out=$2; shift ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
  shift
done
shown=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | wc -l)
gpus=${gpus:-$shown}
[[ $gpus -ge 1 && $gpus -le $shown ]] || usage_error "$gpus GPUs are asked for, nvidia-smi shows $shown"
mkdir -p "$out"
# Multicast through the switches of NVLink is left alone: a host's GPUs may be others' too.
export NCCL_NVLS_ENABLE=0

if $build; then
  cmake --preset cuda >/dev/null
  cmake --build --preset cuda --parallel "$(nproc)" \
    --target program_halo_train cuda_layouts_test nccl_communicator_test nccl_bandwidth >"$out/build.log"
fi
failed=0
if $tests; then
  for test in comm/nccl_communicator_test runs/cuda_layouts_test; do
    echo "== $test ($SECONDS s)"
    name=${test##*/}
    if "build/cuda/tests/$test" --gtest_brief=1 >"$out/$name.log" 2>&1; then
      tail -n 2 "$out/$name.log"
    else
      failed=1
      grep -E '^\[  FAILED|error:|Failure' "$out/$name.log" | head -n 40 || tail -n 40 "$out/$name.log"
    fi
  done
fi

ranks() {  # ranks N COMMAND...: alone when N is 1
  local n=$1
  shift
  if [[ $n == 1 ]]; then "$@"; else mpirun --allow-run-as-root --oversubscribe --bind-to none -np "$n" "$@"; fi
}
# row MODEL JOB N SETTING...: the job's line of the table.
row() {
  local model=$1 job=$2 n=$3 settings=() setting log
  shift 3
  for setting in "$@"; do settings+=(--set "$setting"); done
  log=$out/$model-$job-$n-$(printf '%s.' "$@" | tr -c 'a-z0-9=.\n' _).log
  if ranks "$n" build/cuda/halo_train --config "launch/bench/models/$model.textproto" --device cuda \
    --bench "$steps" --bench_job "$job" "${settings[@]}" >"$log" 2>&1; then
    sed -n "s/^$job /$model $n GPUs: $* | /p" "$log"
  else
    echo "$model $n GPUs: $job $*: failed: $(grep -m 1 -iE 'error|out of memory' "$log" || tail -n 1 "$log")"
  fi
}
table() { [[ ,$only, == *,$1,* ]] && echo "== $1 ($SECONDS s): | layout tokens/s ms MFU waiting peak planned ms, of it, peak"; }
counts() { for n in 1 2 4 8; do [[ $n -le $gpus ]] && echo $n; done; }
batch() { echo "train.batch.sequences=$1"; }

if [[ $gpus -gt 1 ]] && $tests; then
  echo "== collectives ($SECONDS s)"
  ranks "$gpus" build/cuda/tests/comm/nccl_bandwidth 256 | tee "$out/bandwidth.log"
fi
if table scaling; then
  for n in $(counts); do
    row qwen3-1.7b align "$n" "$(batch $((16 * n)))"
    row qwen3-1.7b distill "$n" "$(batch $((12 * n)))"
    row qwen3-1.7b finetune "$n" "$(batch "$n")"
  done
fi
if [[ $gpus -gt 1 ]] && table layouts; then
  for axis in tensor context pipeline; do
    row qwen3-1.7b distill "$gpus" "layout.$axis=$gpus" "$(batch $((12 * gpus)))"
    row qwen3-1.7b finetune "$gpus" "layout.$axis=$gpus" "$(batch "$gpus")"
  done
fi
if [[ $gpus -gt 1 ]] && table overlap; then
  for overlap in true false; do
    row qwen3-1.7b finetune "$gpus" "layout.overlap=$overlap" "$(batch "$gpus")"
    row qwen3-1.7b distill "$gpus" "layout.overlap=$overlap" layout.tensor=2 "$(batch $((12 * gpus)))"
  done
fi
if table context; then
  for length in 65536 131072 262144 524288; do
    for n in $(counts); do
      row qwen3-1.7b finetune "$n" "layout.context=$n" "train.data.sequence_length=$length" train.recompute=true
    done
  done
fi
if [[ $gpus -gt 1 ]] && table large; then
  for layout in layout.tensor=2 layout.pipeline=2 $([[ $gpus -gt 2 ]] && echo "layout.tensor=$gpus"); do
    row qwen3-8b distill "$gpus" "$layout" "$(batch $((8 * gpus)))"
  done
  row qwen3-8b align "$gpus" "$(batch $((8 * gpus)))"
fi
exit $failed
