#!/usr/bin/env bash
# Runs halo_train on all tasks of this allocation, and has Slurm queue the job again when its time ran out before the end.
#   run.sh CONFIG [OPTION...]     what follows is handed to halo_train
# Slurm warns the batch script some minutes before the end (--signal=B:USR1@SECONDS). All ranks then finish their step, write a
# checkpoint and end with 0; the queued job goes on from there. A node that fails ends the step; Slurm itself queues the job
# again (--requeue).
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=slurm/environment.sh
source "$here/environment.sh"
if [[ $# -lt 1 ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
config=$1
shift

warned=false
pid=
on_warning() {
  warned=true
  # srun hands it to every task.
  if [[ -n $pid ]]; then kill -USR1 "$pid"; fi
}
trap on_warning USR1

# PMIx tells the ranks of each other. Cores are bound by Slurm: --cpus-per-task of the batch script, which srun is told again.
srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --cpu-bind=cores \
  "${HALO_TRAIN:-halo_train}" --config "$config" "$@" &
pid=$!
# A warning ends the wait, with 128 and the number of USR1, and not the run.
interrupted=$((128 + $(kill -l USR1)))
code=$interrupted
for ((waits = 0; waits < 100 && code == interrupted; ++waits)); do
  code=0
  wait "$pid" || code=$?
done

# The number of an array's last task stands for the whole array.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
if $warned && [[ $code -eq 0 ]]; then
  echo "run.sh: time is up; job $job is queued again and goes on from its checkpoint"
  scontrol requeue "$job"
fi
exit "$code"
