#!/usr/bin/env bash
# Installs the programs and uses them by name, from text to a trained model on four ranks.
#   tests/runs/install_test.sh BUILD
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cmake --install "$build" --prefix "$folder/installed" >/dev/null
export PATH=$folder/installed/bin:$PATH
[[ -x $folder/installed/bin/halo_check_tokens ]] || { echo "halo_check_tokens is not installed" >&2; exit 1; }
cd "$folder"

mkdir teacher
cp "$source/launch/quickstart/config.json" teacher/
cp "$source/docs/glossary.md" text.txt
halo tokenizer train --vocab 300 --out teacher/tokenizer.json text.txt
halo tokenize --tokenizer teacher/tokenizer.json --out text.h5 text.txt
cat >run.textproto <<'CONFIG'
output: "runs"
job { name: "teacher"
  train { stage: PRETRAIN model: "teacher" data { tokens: "text.h5" sequence_length: 32 first_sample: 0 }
    batch { sequences: 6 micro_sequences: 1 } steps: 3 optimizer { lr: 1e-3 } } }
CONFIG

# This machine may be root's and have fewer cores; the line itself is what users type.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
mpirun -np 4 halo_train --config run.textproto
[[ $(wc -l <runs/teacher/metrics.jsonl) -eq 3 ]] || { echo "not three steps in metrics.jsonl" >&2; exit 1; }
halo export --from runs/teacher --to exported
halo inspect exported/model.safetensors >tensors.txt
grep -q embed_tokens tensors.txt

code=0
head -c 3000 text.h5 >cut.h5
mpirun -np 4 halo_train --config run.textproto --output cut --set train.data.tokens=cut.h5 >cut.txt 2>&1 || code=$?
[[ $code -eq 2 ]] && grep -q cut.h5 cut.txt || { echo "a cut token file gave $code:" >&2; cat cut.txt >&2; exit 1; }
