#include "tests/runs/byte_teacher.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"

namespace halo::test {

std::string byte_line(int i) { return str("line ", i * i % 37, " of some text; "); }

void write_byte_teacher(const std::filesystem::path& folder, const ByteTeacher& sizes) {
  const std::filesystem::path model = folder / "model";
  std::filesystem::create_directories(model);
  data::TokenizerTrainer trainer({.vocab_size = 257, .special_tokens = {"<|endoftext|>"}});
  write_file_atomically(model / "tokenizer.json", trainer.train());
  write_file_atomically(model / "config.json",
                        nlohmann::json{{"model_type", "qwen3"},
                                       {"vocab_size", 257},
                                       {"hidden_size", sizes.hidden_size},
                                       {"intermediate_size", sizes.intermediate_size},
                                       {"num_hidden_layers", sizes.layers},
                                       {"num_attention_heads", sizes.heads},
                                       {"num_key_value_heads", sizes.key_heads},
                                       {"head_dim", 16},
                                       {"rms_norm_eps", 1e-6},
                                       {"rope_theta", 1e6},
                                       {"tie_word_embeddings", true},
                                       {"hidden_act", "silu"},
                                       {"attention_bias", false},
                                       {"max_position_embeddings", 4096}}
                            .dump());
  const data::Tokenizer tokenizer(model / "tokenizer.json");
  std::string text;
  for (int i = 0; i < 400; ++i) text += byte_line(i);
  data::TokenFileWriter writer(folder / "text.h5", {257, -1, ""});
  writer.add_document(tokenizer.encode(text));
  writer.finish();
}

}  // namespace halo::test
