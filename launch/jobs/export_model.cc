#include "launch/jobs/export_model.h"

#include "checkpoints/weight_files.h"
#include "core/base/file.h"

namespace halo::launch {
namespace {

/// A job's folder has a config.json of its own, which its checkpoints are read with; a model is not written over itself.
void require_other_than_source(const ModelSource& source, const std::filesystem::path& to) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::weakly_canonical(normal_path(to));
  for (fs::path each = folder; each.has_relative_path(); each = each.parent_path()) {
    const bool is_job = fs::exists(each / "config.textproto") && fs::exists(each / "checkpoints");
    HALO_REQUIRE_INPUT(!is_job, str(to.string(), ": ", each == folder ? "is" : "lies in",
                                    " the folder of a training job: give another folder"));
  }
  HALO_REQUIRE_INPUT(!is_same_file(to, source.tokenizer),
                     str(to.string(), ": is what is exported: give another folder"));
}

}  // namespace

void export_model(const ModelSource& source, const ExportOptions& options) {
  model::ModelConfig config = source.config;
  if (!options.attn_logits_scaling.empty()) {
    HALO_REQUIRE_INPUT(config.is_hypenet(),
                       str(source.reference, " is no HypeNet: attn_logits_scaling is HypeNet's"));
    config.attn_logits_scaling = model::parse_logits_scaling(options.attn_logits_scaling);
  }
  std::vector<checkpoints::OutputTensor> tensors;
  for (const std::string& name : source.weights->tensors()) {
    const auto fill = [&weights = *source.weights, name](const parallel::Region& region,
                                                         TensorView out) {
      weights.read(name, region, out);
    };
    tensors.push_back({name, options.dtype, source.weights->shape(name), {}, fill});
  }
  require_other_than_source(source, options.to);
  std::error_code error;
  std::filesystem::create_directories(options.to, error);
  HALO_REQUIRE_INPUT(!error && std::filesystem::is_directory(options.to),
                     str(options.to.string(), ": is no folder and cannot be made one"));
  const bool holds_mixers = std::filesystem::exists(mixers_file(options.to));
  HALO_REQUIRE_INPUT(
      source.mixers_only ? !checkpoints::holds_weights(options.to) : !holds_mixers,
      str(options.to.string(), ": holds ", source.mixers_only ? "a whole model" : "mixers alone",
          ", which would be mixed up with ", source.reference,
          ": give another folder or remove it"));
  if (source.mixers_only) {
    checkpoints::write_safetensors(mixers_file(options.to), tensors);
  } else {
    checkpoints::write_weight_files(options.to, tensors);
  }
  copy_tokenizer(source.tokenizer, options.to);
  write_file_atomically(options.to / "config.json", model::to_json(config));
}

}  // namespace halo::launch
