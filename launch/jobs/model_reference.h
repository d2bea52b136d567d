#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/model/weight_source.h"
#include "launch/config.h"
#include "launch/jobs/job_folder.h"

namespace halo::launch {

/// Where a model comes from: a Hugging Face folder, or an earlier job's newest good checkpoint.
struct ModelSource {
  std::string reference;  // as the config names it
  model::ModelConfig config;
  std::unique_ptr<model::WeightSource> weights;
  std::filesystem::path tokenizer;  // folder that may hold tokenizer files
  bool mixers_only =
      false;  // an align job's result: lightning mixers for every layer, nothing else
};

/// Opens what a config calls a model: "job:NAME", a Hugging Face folder, or a checkpoint folder of a run. Throws
/// InputError when it is none, or when the job has left no checkpoint yet.
[[nodiscard]] ModelSource open_model(const std::string& reference,
                                     const std::filesystem::path& output);

/// Its config alone: of "job:NAME", a folder, or a config.json.
[[nodiscard]] model::ModelConfig read_referenced_config(const std::string& reference,
                                                        const std::filesystem::path& output);

/// Where the tokenizer's files of a model lie that was given as open_model takes it, or as a config.json.
[[nodiscard]] std::filesystem::path tokenizer_of(const std::string& reference,
                                                 const std::filesystem::path& output);

/// The layers that a select job chose. Throws InputError when it has not ended.
[[nodiscard]] std::vector<int> selected_layers(const std::string& reference,
                                               const std::filesystem::path& output);

/// A hash of a model's config and of samples of each of its tensors: tells whether a path still holds the same teacher.
[[nodiscard]] std::string fingerprint(const ModelSource& source);

/// The file that an exported align job's mixers lie in.
[[nodiscard]] std::filesystem::path mixers_file(const std::filesystem::path& folder);

/// The path from the root, without "." and ".." and a slash at its end.
[[nodiscard]] std::filesystem::path normal_path(const std::filesystem::path& path);

/// Copies the tokenizer's files (tokenizer.json and what belongs to it) when the folder has any.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace halo::launch
