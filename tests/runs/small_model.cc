#include "tests/runs/small_model.h"

#include "checkpoints/safetensors_writer.h"
#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/model/parameters.h"
#include "data/token_file.h"

namespace halo::test {

namespace fs = std::filesystem;

SmallModel::SmallModel(const SmallModelOptions& options, const fs::path& folder)
    : options_(options), folder_(folder) {
  write_teacher();
  write_tokens();
  const std::string first = "precision: FP64 threads: 1\n";
  const std::string teacher_field = str("teacher: \"", teacher().string(), "\" ");
  write_file_atomically(
      config(), first + job("align", "ALIGN", teacher_field) +
                    job("distill", "DISTILL",
                        teacher_field + "student: \"job:align\" keep_attention: " + options.keep) +
                    job("finetune", "FINETUNE", "student: \"job:distill\""));
  write_file_atomically(
      to_itself(),
      first + job("itself", "DISTILL", teacher_field + "student: \"" + teacher().string() + '"'));
}

/// With a large eps, so that AdamW does not magnify the rounding of gradients near 0.
std::string SmallModel::job(const std::string& name, const std::string& stage,
                            const std::string& fields) const {
  const std::string need = name == "distill"    ? "needs: \"align\" "
                           : name == "finetune" ? "needs: \"distill\" "
                                                : "";
  return str("job { name: \"", name, "\" ", need, "train { stage: ", stage, ' ', fields,
             " dump_gradients_at: 0 data { tokens: \"", (folder_ / "tokens.h5").string(),
             "\" first_sample: 0 sequence_length: ", options_.T,
             " } batch { micro_sequences: 1 sequences: ", options_.sequences,
             " } steps: 2 optimizer { lr: 1e-3 min_lr: 1e-3 warmup_steps: 0 eps: 1e-6 } } }\n");
}

void SmallModel::write_teacher() const {
  fs::create_directories(teacher());
  write_file_atomically(
      teacher() / "config.json",
      str(R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu",)",
          R"( "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false,)",
          R"( "max_position_embeddings": 4096, "hidden_size": 48, "intermediate_size": 80,)",
          R"( "head_dim": 16, "vocab_size": )", options_.vocab_size, R"(, "num_hidden_layers": )",
          options_.layers, R"(, "num_attention_heads": )", options_.heads,
          R"(, "num_key_value_heads": )", options_.key_heads, R"(, "tie_word_embeddings": )",
          options_.tied ? "true" : "false", "}"));
  std::vector<checkpoints::OutputTensor> tensors;
  for (const model::ParameterSpec& spec :
       model::parameter_specs(model::read_model_config(teacher()))) {
    const auto fill = [spec](const parallel::Region& region, TensorView out) {
      const CounterRng rng(7, spec.name);
      const bool norm = spec.shape.rank() == 1;
      const std::int64_t row = spec.shape.elements() / spec.shape[0];
      for (std::int64_t i = 0; i < region.shape.elements(); ++i) {
        const double x = rng.normal(static_cast<std::uint64_t>(region.offset[0] * row + i));
        out.as<float>()[i] = static_cast<float>(norm ? 1 + 0.1 * x : 0.1 * x);
      }
    };
    tensors.push_back({spec.name, DType::kFloat32, spec.shape, {}, fill});
  }
  checkpoints::write_safetensors(teacher() / "model.safetensors", tensors);
}

void SmallModel::write_tokens() const {
  data::TokenFileWriter writer(folder_ / "tokens.h5", {options_.vocab_size, -1, ""});
  const CounterRng rng(7, "tokens");
  std::int64_t left = 2 * options_.sequences * options_.T;
  std::uint64_t at = 0;
  for (std::size_t i = 0; left > 0; ++i) {
    const std::int64_t length = std::min(left, options_.documents[i % options_.documents.size()]);
    std::vector<std::int32_t> document;
    for (std::int64_t k = 0; k < length; ++k)
      document.push_back(static_cast<std::int32_t>(
          rng.below(static_cast<std::uint64_t>(options_.vocab_size), at++)));
    writer.add_document(document);
    left -= length;
  }
  writer.finish();
}

}  // namespace halo::test
