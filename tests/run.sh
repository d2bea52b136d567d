#!/usr/bin/env bash
# Installs what is missing, builds the CPU preset and runs the tests.
#   tests/run.sh          the default set
#   tests/run.sh --all    also the slow tests, those that need Python packages (installed into build/venv), Chromium,
#                         several hosts or a Slurm, layouts under the thread sanitizer, and bad input under another
set -euo pipefail
cd "$(dirname "$0")/.."

all=false
for argument in "$@"; do
  case $argument in
    --all) all=true ;;
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: error: unknown option $argument (see tests/run.sh --help)" >&2; exit 2 ;;
  esac
done

jobs=$(nproc)
tests_at_once=$((jobs + jobs / 2))  # many wait for each other's processes, or for time to pass
if $all; then
  # A browser, several hosts and a Slurm on this machine.
  launch/install_dependencies.sh python3 python3-venv chromium iproute2 openssh-client openssh-server \
    munge slurm-client slurmctld slurmd
  [[ -x build/venv/bin/python3 ]] || python3 -m venv build/venv
  build/venv/bin/python3 -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
  PATH=$PWD/build/venv/bin:$PATH
else
  launch/install_dependencies.sh
fi

cmake --preset cpu >/dev/null
cmake --build --preset cpu --parallel "$jobs"
unset OPENBLAS_CORETYPE
if $all; then
  ctest --test-dir build/cpu --output-on-failure --parallel "$tests_at_once" --label-exclude gpu
  cmake --preset tsan >/dev/null
  cmake --build --preset tsan --parallel "$jobs" --target tests_threads_slow
  ctest --test-dir build/tsan --output-on-failure --parallel "$jobs" --no-tests=error --label-regex '^threads_slow$'
  # The programs on bad input. Open MPI keeps memory until the process ends.
  cmake --preset asan >/dev/null
  cmake --build --preset asan --parallel "$jobs" --target bad_input_test
  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    ctest --test-dir build/asan --output-on-failure --parallel "$jobs" --no-tests=error --tests-regex BadInput
else
  ctest --preset cpu --parallel "$tests_at_once"
fi
