#include "tests/runs/planned_job.h"

#include "core/base/file.h"

namespace halo::test {

launch::Config distillation(const TestFolder& folder, int layers, std::int64_t length,
                            std::int64_t sequences) {
  write_file_atomically(
      folder / "config.json",
      str(R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 4096,
  "intermediate_size": 12288, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "vocab_size": 151936, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false,
  "max_position_embeddings": 40960, "hidden_act": "silu", "attention_bias": false,
  "num_hidden_layers": )",
          layers, "}"));
  const std::string text =
      str("precision: BF16 job { name: \"distill\" train { stage: DISTILL teacher: \"",
          folder.path().string(), "\" keep_attention: [0, ", layers / 2,
          "] data { tokens: \"x.h5\" sequence_length: ", length,
          " } batch { sequences: ", sequences, " } steps: 10 optimizer { lr: 1e-4 } } }");
  return launch::resolve(launch::parse_config(text, "test"), "test");
}

launch::proto::Machine machine_of(double memory_gib) {
  launch::proto::Machine machine = launch::read_machine("h100");
  machine.set_memory_gib(memory_gib);
  return machine;
}

}  // namespace halo::test
