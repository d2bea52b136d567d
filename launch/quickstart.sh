#!/usr/bin/env bash
# From nothing to a distilled HypeNet: installs what is missing, builds, makes a corpus of English text from Debian
# packages, trains a small Qwen3 teacher, converts it, and writes a page with what came of it.
#   launch/quickstart.sh [FOLDER]      the run's folder (default: runs/quickstart); started again it goes on
# RANKS=2 sets the number of data-parallel ranks.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")

case ${1:-} in
  -*) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
folder=${1:-$root/runs/quickstart}
ranks=${RANKS:-2}
say() { printf '\n== %s (%d s)\n' "$1" $SECONDS; }

say "What is missing"
"$here/install_dependencies.sh"

say "Build"
cmake -S "$root" --preset release -DHALO_TESTS=OFF >/dev/null
cmake --build "$root/build/release" --parallel "$(nproc)" -- --quiet

mkdir -p "$folder/data" "$folder/models/teacher"
cd "$folder"
bin=$root/build/release

say "Text, tokenizer, tokens and tasks"
if [[ ! -e data/train.h5 ]]; then
  "$here/quickstart_corpus.sh" data bible
  "$bin/halo" tokenizer train --vocab 2048 --out models/teacher/tokenizer.json data/train.jsonl
  "$bin/halo" tokenize --tokenizer models/teacher/tokenizer.json --out data/validation.h5 data/validation.jsonl
  perl "$here/quickstart_tasks.pl" data/validation.jsonl data/recall.jsonl data/choice.jsonl data/validation.txt
  "$bin/halo" tokenize --tokenizer models/teacher/tokenizer.json --out data/train.h5 data/train.jsonl
fi
cp "$here/quickstart/config.json" models/teacher/
cp "$here/quickstart/pipeline.textproto" .

say "Teacher, align, select, distill, finetune, evaluate, export, report on $ranks ranks"
as_root=()
[[ $(id -u) -ne 0 ]] || as_root=(--allow-run-as-root)
mpirun "${as_root[@]}" --oversubscribe --bind-to none -np "$ranks" "$bin/halo_train" --config pipeline.textproto

say "Done"
echo "Result page: $folder/runs/report.html"
echo "Hugging Face folder of the hybrid: $folder/models/hypenet"
