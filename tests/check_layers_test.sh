#!/usr/bin/env bash
# Shows that check_layers.sh passes a tree that keeps the rules and names each violation in one that does not.
set -euo pipefail
check=$(cd "$(dirname "$0")" && pwd)/check_layers.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

write() { mkdir -p "$tree/$(dirname "$1")" && printf '%s\n' "${@:2}" >"$tree/$1"; }

write core/base/a.h '#include <vector>'
write kernels/cpu/b.cc '#include "core/base/a.h"' '#include "kernels/b.h"'
write parallel/c.h '#include "kernels/b.h"' '#include "parallel/comm/d.h"'
write core/halo/e.cc '#include "core/train/f.h"' '#include "checkpoints/g.h"' '#include "data/h.h"'
write launch/i.cc '#include <CLI/CLI.hpp>' '#include "launch/halo.pb.h"' '#include "core/halo/e.h"'
write tests/j.cc '#include "launch/i.h"'
write build/cpu/k.h '#include "anything.h"'
"$check" "$tree" || { echo "a tree that keeps the rules is refused"; exit 1; }

expect() {  # FILE LINE EXPECTED: one violation at a time
  write "$1" "$2"
  if output=$("$check" "$tree"); then echo "not found: $2 in $1"; exit 1; fi
  [[ $output == *"$1:1: "*"$3"* ]] || { echo "wrong message for $2 in $1: $output"; exit 1; }
  rm "$tree/$1"
}
expect core/base/x.cc '#include "kernels/b.h"' "core/base may not include kernels"
expect kernels/x.cc '#include "data/h.h"' "kernels may not include data"
expect parallel/comm/x.cc '#include "parallel/c.h"' "parallel/comm may not include parallel"
expect parallel/x.cc '  #  include   "checkpoints/g.h"' "parallel may not include checkpoints"
expect checkpoints/x.cc '#include "core/model/y.h"' "checkpoints may not include core/model"
expect core/model/x.cu '#include "core/train/f.h"' "core/model may not include core/train"
expect core/train/x.cc '#include "core/infer/y.h"' "core/train may not include core/infer"
expect core/halo/x.cuh '#include "launch/config.h"' "core/halo may not include launch"
expect core/train/x.cc '#include <launch/halo.pb.h>' "only launch/ knows the config"
expect core/halo/x.cc '#include <CLI/App.hpp>' "only launch/ knows the command line"
expect core/train/x.h '#include "f.h"' "write the include from the root"
expect launch/x.cc '#include "../core/base/a.h"' "write the include from the root"
expect core/extras/x.h '' "no layer"
expect tools/x.cc '#include <vector>' "no layer"
echo "every violation is found"
