#!/bin/sh
# usage: tokenizers_parity.sh TOKENIZER_TOOL SCRIPT FOLDER
exec "${HALO_PYTHON:-python3}" "$2" "$1" "$3" ${HALO_EXTRAS:+"$HALO_EXTRAS/tokenizer/qwen3-tokenizer.json"}
