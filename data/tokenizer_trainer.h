#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace halo::data {

struct TrainerOptions {
  /// Bytes (256), merges and special tokens together.
  std::int32_t vocab_size = 4096;
  std::vector<std::string> special_tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  /// A pair that occurs less often is not merged, so a small text gives a smaller vocabulary.
  std::int64_t min_pair_count = 2;
};

/// Learns a byte-level BPE tokenizer: NFC, Qwen3's split pattern, then again and again the most frequent pair of
/// neighbouring tokens becomes one; of equals the pair with the lower ids. The result depends on the text alone.
class TokenizerTrainer {
 public:
  /// Throws InputError for a vocabulary too small for the bytes and special tokens, and for a special token that is
  /// empty or given twice.
  explicit TokenizerTrainer(TrainerOptions options);
  ~TokenizerTrainer();

  /// Counts a document's pieces. Special tokens in it are plain text. Memory grows with the distinct pieces only.
  void add(std::string_view document);

  /// The tokenizer.json. Special tokens take the last ids.
  [[nodiscard]] std::string train() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halo::data
