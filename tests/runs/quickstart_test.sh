#!/usr/bin/env bash
# The quickstart in a fresh folder, and what it must come to.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$source/launch/quickstart.sh" "$folder"
[[ -s $folder/runs/report.html && -s $folder/models/hypenet/config.json ]]
python3 - "$folder" <<'CHECK'
import gzip, json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
models = {m["model"]: m for m in json.loads((folder / "runs/evaluate/result.json").read_text())["models"]}
perplexity = {name.removeprefix("job:"): m["perplexity"] for name, m in models.items()}
text = (folder / "data/validation.txt").read_bytes()
gzip_bits = 8 * len(gzip.compress(text, 9)) / len(text)
selected = json.loads((folder / "runs/select/result.json").read_text())
teacher = perplexity["teacher"]
checks = {
    "the teacher's bits a byte are below gzip's": models["job:teacher"]["bits_per_byte"] < gzip_bits,
    "distill is within 25% of the teacher": perplexity["distill"] <= 1.25 * teacher,
    "finetune is within 10% of the teacher": perplexity["finetune"] <= 1.10 * teacher,
    "from scratch it is 10% worse": perplexity["scratch"] >= 1.10 * perplexity["finetune"],
    "a quarter of the layers is kept": len(selected["selected"]) == len(selected["layers"]) // 4,
    "recall differs between layers": len({layer["recall"] for layer in selected["layers"]}) > 1,
    "choice differs between layers": len({layer["csr"] for layer in selected["layers"]}) > 1,
}
for what, holds in checks.items():
    print("ok  " if holds else "FAIL", what)
print(perplexity, f"gzip {gzip_bits:.3f}")
sys.exit(0 if all(checks.values()) else 1)
CHECK
