"""Loads an exported Qwen3 in the transformers package and compares its logits with those that halo wrote.

    transformers_parity.py MODEL_FOLDER LOGITS.safetensors TOKENS.safetensors

Exit code 0 when the largest difference is below 1e-4.
"""
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder, logits_path, tokens_path = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
assert type(model).__name__ == "Qwen3ForCausalLM", type(model)
ids = load_file(tokens_path)["stage12"][0]
with torch.no_grad():
    theirs = model(ids).logits
ours = load_file(logits_path)["logits"].to(theirs.dtype)
assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
difference = (ours - theirs).abs().max().item()
print(f"largest difference of {theirs.numel()} logits: {difference:.2e}")
sys.exit(0 if difference < 1e-4 else 1)
