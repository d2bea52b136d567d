#!/usr/bin/env bash
# Makes a corpus of English text from Debian packages: the King James Bible, Perl's manual and Debian Reference.
#   launch/quickstart_corpus.sh FOLDER [SOURCE...]
# Sources are bible, perl and debian (default: all). Writes FOLDER/train.jsonl and FOLDER/validation.jsonl, one document
# a line in the field "text", the same bytes whenever the packages are the same.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [[ $# -lt 1 || $1 == -* ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
folder=$1
shift
sources=("$@")
[[ ${#sources[@]} -gt 0 ]] || sources=(bible perl debian)

declare -A packages=([bible]="bible-kjv bible-kjv-text" [perl]="perl-doc" [debian]="debian-reference-en")
wanted=(perl)
for source in "${sources[@]}"; do
  if [[ -z ${packages[$source]:-} ]]; then
    echo "quickstart_corpus.sh: error: no source $source: choose bible, perl or debian" >&2
    exit 2
  fi
  read -ra more <<<"${packages[$source]}"
  wanted+=("${more[@]}")
done
"$here/install_dependencies.sh" "${wanted[@]}"

mkdir -p "$folder"
LC_ALL=C.UTF-8 perl "$here/quickstart_corpus.pl" "$folder/train.jsonl.part" "$folder/validation.jsonl.part" \
  "${sources[@]}"
mv "$folder/train.jsonl.part" "$folder/train.jsonl"
mv "$folder/validation.jsonl.part" "$folder/validation.jsonl"
