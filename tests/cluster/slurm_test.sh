#!/usr/bin/env bash
# The batch scripts on a real Slurm of two nodes: a pipeline runs to its end; one that is warned that its time is up, one that is
# asked to stop, and one whose node's processes are killed, queued again by hand, go on without losing a step.
#   tests/cluster/slurm_test.sh BUILD
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
cluster=$source/tests/cluster/slurm_cluster.sh
for program in slurmctld slurmd sbatch munged; do
  PATH=$PATH:/usr/sbin command -v $program >/dev/null || { echo "skipped: there is no $program" >&2; exit 77; }
done
[[ $(id -u) -eq 0 ]] || { echo "skipped: a Slurm of one's own needs root" >&2; exit 77; }
export PATH=$build:$PATH:/usr/sbin
folder=$(mktemp -d)
export SLURM_CONF=$folder/cluster/slurm.conf
trap '"$cluster" stop "$folder/cluster"; rm -rf "$folder"' EXIT
fail() { echo "error: $1" >&2; tail -n 40 "$folder"/*.log >&2; exit 1; }

# Both nodes are this host, which would mix up their shared memory.
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo

"$cluster" start "$folder/cluster"
cd "$folder"
mkdir teacher
cp "$source/launch/quickstart/config.json" teacher/
cp "$source/docs/glossary.md" text.txt
halo tokenizer train --vocab 300 --out teacher/tokenizer.json text.txt >/dev/null
halo tokenize --tokenizer teacher/tokenizer.json --out text.h5 text.txt >/dev/null
cat >run.textproto <<'CONFIG'
precision: FP64 threads: 1
job { name: "teacher"
  train { stage: PRETRAIN model: "teacher" data { tokens: "text.h5" sequence_length: 32 first_sample: 0 }
    batch { sequences: 8 micro_sequences: 1 } steps: 60 optimizer { lr: 1e-3 } checkpoint { every_steps: 1000 } } }
job { name: "align" needs: "teacher"
  train { stage: ALIGN teacher: "job:teacher" data { tokens: "text.h5" sequence_length: 32 first_sample: 0 }
    batch { sequences: 8 micro_sequences: 1 } steps: 10 optimizer { lr: 1e-3 } checkpoint { every_steps: 1000 } } }
CONFIG

submit() {  # OUTPUT [SBATCH OPTION...]: prints the job's number
  local output=$1
  shift
  sbatch --parsable --nodes=2 --ntasks-per-node=2 --cpus-per-task=1 --output="$folder/$output.log" "$@" \
    "$source/slurm/pipeline.sbatch" run.textproto --output "$output"
}
state() { scontrol --oneliner show job "$1" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
steps() { if [[ -f $1/$2/metrics.jsonl ]]; then wc -l <"$1/$2/metrics.jsonl"; else echo 0; fi; }
wait_for_state() {  # JOB STATE
  for _ in $(seq 360); do
    [[ $(state "$1") == "$2" ]] && return
    case $(state "$1") in FAILED | CANCELLED | TIMEOUT | NODE_FAIL) break ;; esac
    sleep 0.5
  done
  fail "job $1 is $(state "$1") and should be $2"
}
wait_for_steps() {  # OUTPUT JOB STEPS
  for _ in $(seq 240); do
    [[ $(steps "$1" "$2") -ge $3 ]] && return
    sleep 0.25
  done
  fail "$1/$2 has $(steps "$1" "$2") steps, not $3"
}
numbers() { grep -o '"step":[0-9]*\|"loss":[^,}]*\|"grad_norm":[^,}]*' "$1"; }
expect_like_unbroken() {
  for job in teacher align; do
    diff <(numbers "unbroken/$job/metrics.jsonl") <(numbers "$1/$job/metrics.jsonl") >/dev/null ||
      fail "$1/$job has other numbers than the unbroken run"
  done
}

echo "to the end"
job=$(submit unbroken)
wait_for_state "$job" COMPLETED
[[ $(steps unbroken teacher) -eq 60 && $(steps unbroken align) -eq 10 ]] || fail "not all steps were done"

echo "time is up"
job=$(submit warned)
wait_for_steps warned teacher 5
scancel --signal=USR1 --batch "$job"  # as --signal=B:USR1 has Slurm do it
wait_for_state "$job" COMPLETED
grep -q "is queued again" warned.log || fail "the script did not queue itself again"
grep -q "going on after step" warned.log || fail "it did not go on"
expect_like_unbroken warned

echo "the processes of a node are killed, and it is queued again by hand"
job=$(submit killed)
wait_for_steps killed teacher 5
for process in $(pgrep -x halo_train); do
  environment=$(tr '\0' '\n' <"/proc/$process/environ" 2>/dev/null) || continue
  if grep -qxF "SLURM_CONF=$SLURM_CONF" <<<"$environment" && grep -qx "SLURMD_NODENAME=node2" <<<"$environment"; then
    kill -9 "$process"
  fi
done
wait_for_state "$job" FAILED
scontrol requeue "$job"  # it waits for two minutes: until then steps of the first try may be under way
wait_for_state "$job" COMPLETED
expect_like_unbroken killed

echo "asked to stop, and queued again by hand"
job=$(submit stopped)
wait_for_steps stopped teacher 5
scontrol update jobid="$job" requeue=1
scancel --signal=USR1 "$job"
for _ in $(seq 120); do grep -qs "the same command goes on" stopped.log && break; sleep 0.25; done
scontrol requeue "$job" 2>/dev/null || fail "job $job, $(state "$job"), cannot be queued again"
wait_for_state "$job" COMPLETED
grep -q "going on after step" stopped.log || fail "it did not go on"
expect_like_unbroken stopped

cat >sweep.textproto <<'CONFIG'
precision: FP64 threads: 1
job { name: "teacher" ranks: 2
  train { stage: PRETRAIN model: "teacher" data { tokens: "text.h5" sequence_length: 32 first_sample: 0 }
    validation { tokens: "text.h5" sequences: 4 every_steps: 5 } batch { sequences: 4 micro_sequences: 1 } steps: 20
    optimizer { min_lr: 0 } checkpoint { every_steps: 1000 } } }
job { name: "report" report {} }
sweep { parameter { path: "train.optimizer.lr" values: ["1e-4", "1e-3", "3e-3", "1e-2"] } }
CONFIG
submit_sweep() {  # SCRIPT OUTPUT NODES [SBATCH OPTION...]: prints the job's number
  local script=$1 output=$2 nodes=$3
  shift 3
  sbatch --parsable --nodes="$nodes" --ntasks-per-node=2 --cpus-per-task=1 --open-mode=append --output="$folder/$output.log" "$@" \
    "$source/slurm/$script" sweep.textproto --output "$output"
}
table_of() {  # OUTPUT: each trial with its objective at every digit
  halo report --config sweep.textproto --output "$1" --csv "$1.csv" >/dev/null
  cut -d, -f2-7 "$1.csv" | tail -n +2
}

echo "a sweep in one allocation"
job=$(submit_sweep sweep.sbatch whole 2)
wait_for_state "$job" COMPLETED
[[ $(table_of whole | grep -c ",20,0,done") -eq 4 && -f whole/trials.csv ]] || fail "not all trials were done"

echo "a sweep as a job array, a task of which is warned that its time is up"
job=$(submit_sweep sweep_array.sbatch shares 1 --array=1-2)
for _ in $(seq 240); do compgen -G "shares/share_1_of_2/teacher@*/metrics.jsonl" >/dev/null && break; sleep 0.25; done
scancel --signal=USR1 --batch "${job}_1"
for _ in $(seq 480); do [[ -z $(squeue --noheader --jobs="$job" 2>/dev/null) ]] && break; sleep 0.5; done
grep -q "job ${job}_1 is queued again" shares.log || fail "the first task did not queue itself again"
[[ -d shares/share_2_of_2 ]] || fail "the second task has no folder"
diff <(table_of whole) <(table_of shares) || fail "the array's trials are not those of one allocation"
