#pragma once
#include <filesystem>

#include "launch/jobs/model_reference.h"

namespace halo::launch {

struct ExportOptions {
  std::filesystem::path to;         // a folder, made when missing
  DType dtype = DType::kFloat32;    // of the weights in the file
  std::string attn_logits_scaling;  // such as "hype 500"; empty: as the config has it
};

/// Writes a Hugging Face folder: config.json, the weights, the tokenizer's files. Of mixers alone the weights are
/// mixers.safetensors. Throws InputError for a scaling that is none, a model that has no softmax attention to
/// scale, or a folder that holds the other kind.
void export_model(const ModelSource& source, const ExportOptions& options);

}  // namespace halo::launch
