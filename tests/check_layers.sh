#!/usr/bin/env bash
# Checks that every source file includes only what its layer may.
#   tests/check_layers.sh [ROOT]
# Prints each violation as "file:line: reason" and then fails.
set -euo pipefail
root=${1:-$(dirname "$0")/..}
cd "$root"

find . -type f \( -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh' \) \
  -not -path './build/*' -not -path './.git/*' -print0 |
  sort -z |
  xargs -0 awk '
    BEGIN {
      # folder -> folders it may include besides itself; docs/architecture.md explains the order.
      may["core/base"] = ""
      may["kernels"] = "core/base"
      may["parallel/comm"] = "core/base"
      may["data"] = "core/base"
      may["parallel"] = may["kernels"] " kernels parallel/comm"
      may["checkpoints"] = may["parallel"] " parallel"
      may["core/model"] = may["parallel"] " parallel checkpoints"
      may["core/train"] = may["core/model"] " data checkpoints core/model"
      may["core/infer"] = may["core/train"]
      may["core/halo"] = may["core/train"] " core/train core/infer"
      may["launch"] = may["core/halo"] " core/halo"
      may["tests"] = may["launch"] " launch"
    }
    function folder_of(path, parts) {
      split(path, parts, "/")
      if ((parts[1] "/" parts[2]) in may) return parts[1] "/" parts[2]
      return parts[1] in may ? parts[1] : ""
    }
    function complain(reason) { printf "%s:%d: %s\n", file, FNR, reason; bad = 1 }
    FNR == 1 {
      file = substr(FILENAME, 3)
      folder = folder_of(file)
      if (folder == "") complain("this folder is no layer: name it in tests/check_layers.sh")
    }
    folder == "" { next }
    /^[ \t]*#[ \t]*include[ \t]*[<"]/ {
      match($0, /[<"][^>"]*[>"]/)
      quote = substr($0, RSTART, 1)
      path = substr($0, RSTART + 1, RLENGTH - 2)
      below_launch = folder != "launch" && folder != "tests"
      if (below_launch && path ~ /^CLI\//) complain("only launch/ knows the command line (" path ")")
      if (below_launch && path ~ /(^|\/)halo\.pb\.h$/) complain("only launch/ knows the config (" path ")")
      if (quote == "<") next
      target = folder_of(path)
      if (path !~ /\// || target == "") { complain("write the include from the root (" path ")"); next }
      if (target != folder && index(" " may[folder] " ", " " target " ") == 0)
        complain(folder " may not include " target " (" path ")")
    }
    END { exit bad }
  '
