#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace halo::test {

struct SmallModelOptions {
  int layers = 7, heads = 6, key_heads = 3;
  int vocab_size = 131;
  bool tied = true;
  std::string keep = "[2, 5]";                  // layers that stay attention
  std::int64_t T = 75, sequences = 3;           // of a step
  std::vector<std::int64_t> documents{100000};  // their lengths, again and again
};

/// A Qwen3 with random weights whose sizes divide by little, with tokens and a config that aligns, distills and finetunes
/// it for two steps each, in a folder of its own.
class SmallModel {
 public:
  SmallModel(const SmallModelOptions& options, const std::filesystem::path& folder);

  [[nodiscard]] std::filesystem::path teacher() const { return folder_ / "teacher"; }
  [[nodiscard]] std::filesystem::path config() const { return folder_ / "small.textproto"; }
  /// A config that distills the teacher into itself.
  [[nodiscard]] std::filesystem::path to_itself() const { return folder_ / "itself.textproto"; }

 private:
  void write_teacher() const;
  void write_tokens() const;
  [[nodiscard]] std::string job(const std::string& name, const std::string& stage,
                                const std::string& fields) const;

  SmallModelOptions options_;
  std::filesystem::path folder_;
};

}  // namespace halo::test
