#!/usr/bin/env bash
# On a machine with a GPU: builds the CUDA preset, runs the tests that need a GPU, and measures kernels and whole steps.
#   tests/gpu.sh                 all of that; a table of what passed and of the main figures comes last
#   --no_build                   takes the programs that are in build/cuda
#   --no_bench                   measures nothing
#   --sanitize                   also the kernels' tests under compute-sanitizer: memcheck, racecheck, initcheck
#   --model NAME                 of the measurements (qwen3-1.7b)
#   --peer FILE                  a peer's times of kernels, which then stand beside (halo bench kernels --help)
#   --out DIR                    for logs and tables (build/cuda/gpu)
set -euo pipefail
cd "$(dirname "$0")/.."

build=true bench=true sanitize=false model=qwen3-1.7b peer=() out=build/cuda/gpu
usage_error() { echo "gpu.sh: error: $1 (see tests/gpu.sh --help)" >&2; exit 2; }
while [[ $# -gt 0 ]]; do
  case $1 in
    --model | --peer | --out) [[ $# -gt 1 ]] || usage_error "$1 needs a value" ;;&
    --no_build) build=false ;;
    --no_bench) bench=false ;;
    --sanitize) sanitize=true ;;
    --model) model=$2; shift ;;
    --peer) peer=(--peer "$2"); shift ;;
    --out) out=$2; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) usage_error "unknown option $1" ;;
  esac
  shift
done

mkdir -p "$out"
summary=() failed=0
# step NAME COMMAND...: runs it into NAME.log and notes how it went; of a failure the end is shown.
step() {
  local name=$1 begin=$SECONDS verdict=passed
  shift
  echo "== $name"
  if ! "$@" >"$out/$name.log" 2>&1; then
    verdict=FAILED failed=1
    tail -n 40 "$out/$name.log"
  fi
  summary+=("$(printf '%-22s %-7s %5d s   %s' "$name" $verdict $((SECONDS - begin)) "$out/$name.log")")
}

build_programs() {
  cmake --preset cuda &&
    cmake --build --preset cuda --parallel "$(nproc)" --target tests_gpu program_halo program_halo_train
}
if $build; then
  step build build_programs
  [[ $failed == 0 ]] || exit 1
fi
[[ -x build/cuda/halo ]] || usage_error "build/cuda/halo is not there: build first, without --no_build"

step tests ctest --test-dir build/cuda --output-on-failure --no-tests=error --parallel 4 --label-regex '^gpu$'
# sanitize TOOL: the kernels' tests in shards beside each other. The libraries' own kernels, whose asynchronous copies and barriers
# racecheck and initcheck do not follow, are left out, and one test asks for more memory than there is.
sanitize() {
  local shards=8 shard jobs=() status=0
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard compute-sanitizer --tool "$1" --error-exitcode 9 \
      --report-api-errors no --kernel-name-exclude kernel_substring=cudnn --kernel-name-exclude kernel_substring=fmha \
      build/cuda/tests/kernels/cuda_kernels_test --gtest_brief=1 &
    jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job" || status=$?; done
  return $status
}
if $sanitize; then
  for tool in memcheck racecheck initcheck; do step "$tool" sanitize "$tool"; done
fi
if $bench; then
  step bench_kernels build/cuda/halo bench kernels --device cuda --model "$model" \
    --json "$out/kernels.json" "${peer[@]}"
  step bench_align build/cuda/halo bench step --device cuda --model "$model" --stages align --sequences 16
  step bench_distill build/cuda/halo bench step --device cuda --model "$model" --stages distill --sequences 12
  step bench_finetune build/cuda/halo bench step --device cuda --model "$model" --stages finetune \
    --finetune_length 16384
fi

echo
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || true
printf '%s\n' "${summary[@]}"
if $bench; then
  sed -n '1,/^op /p' "$out/bench_kernels.log"
  grep -E '^((rms_norm|swiglu|adamw|kl_loss)(_backward)? |linear .*(up|head)|(softmax|lightning)_attention(_backward)? )' \
    "$out/bench_kernels.log" || true
  tail -q -n 1 "$out"/bench_{align,distill,finetune}.log
fi
exit $failed
