#!/usr/bin/env bash
# A conversion on one GPU, from text to a result page: a teacher of 42 million parameters is trained on English text from
# Debian's packages and made a hybrid.
#   launch/gpu_conversion.sh [FOLDER]    (default: runs/gpu_conversion)
# Needs an NVIDIA GPU and the CUDA toolkit; installs what else is missing and builds the cuda preset.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
case ${1-} in
  -*) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
folder=${1:-$root/runs/gpu_conversion}
say() { printf '\n== %s (%d s)\n' "$1" $SECONDS; }

say "What is missing"
"$here/install_dependencies.sh" --cuda

say "Build"
cmake -S "$root" --preset cuda >/dev/null
cmake --build "$root/build/cuda" --parallel "$(nproc)" --target program_halo program_halo_train -- --quiet

mkdir -p "$folder/data" "$folder/models/teacher"
cd "$folder"
bin=$root/build/cuda

say "Text, tokenizer, tokens and tasks"
if [[ ! -e data/train.h5 ]]; then
  "$here/quickstart_corpus.sh" data
  "$bin/halo" tokenizer train --vocab 8192 --out models/teacher/tokenizer.json data/train.jsonl
  "$bin/halo" tokenize --tokenizer models/teacher/tokenizer.json --out data/validation.h5 data/validation.jsonl
  perl "$here/quickstart_tasks.pl" data/validation.jsonl data/recall.jsonl data/choice.jsonl data/validation.txt
  "$bin/halo" tokenize --tokenizer models/teacher/tokenizer.json --out data/train.h5 data/train.jsonl
fi
cp "$here/gpu_conversion/config.json" models/teacher/
cp "$here/gpu_conversion/pipeline.textproto" .

say "Teacher, align, select, distill, finetune, evaluate, export, report"
"$bin/halo_train" --config pipeline.textproto

say "Done"
echo "Result page: $folder/runs/report.html"
echo "Hugging Face folder of the hybrid: $folder/models/hypenet"
