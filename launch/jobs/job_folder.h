#pragma once
#include <filesystem>
#include <string>

namespace halo::launch {

/// Where one job of a run keeps what it makes: output/NAME/.
class JobFolder {
 public:
  JobFolder(const std::filesystem::path& output, const std::string& job)
      : path_(output / job), name_(job) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path config() const { return path_ / "config.textproto"; }
  [[nodiscard]] std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  [[nodiscard]] std::filesystem::path tensorboard() const { return path_ / "tensorboard"; }
  [[nodiscard]] std::filesystem::path trace() const { return path_ / "trace.json"; }
  [[nodiscard]] std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  [[nodiscard]] std::filesystem::path gradients() const { return path_ / "gradients.safetensors"; }
  /// The Hugging Face config.json of the model that a training job trains; of an align job, with its mixers everywhere.
  [[nodiscard]] std::filesystem::path model_config() const { return path_ / "config.json"; }
  /// The tokenizer's files, copied from the model that the job started from.
  [[nodiscard]] std::filesystem::path tokenizer() const { return path_ / "tokenizer"; }
  /// What a select, evaluate, export or report job leaves when it has ended.
  [[nodiscard]] std::filesystem::path result() const { return path_ / "result.json"; }
  /// How a training job went, in numbers for the report, written when it has ended.
  [[nodiscard]] std::filesystem::path summary() const { return path_ / "summary.json"; }

 private:
  std::filesystem::path path_;
  std::string name_;
};

}  // namespace halo::launch
