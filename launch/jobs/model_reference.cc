#include "launch/jobs/model_reference.h"

#include <glog/logging.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/sha256.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

void warn(const std::string& message) { LOG(WARNING) << message; }

/// A training job's folder, or one of its checkpoints.
ModelSource open_training(const fs::path& path, const JobFolder& folder,
                          const std::string& reference) {
  HALO_REQUIRE_INPUT(checkpoints::holds_checkpoint(path),
                     str(reference, ": ", path.string(), " holds no checkpoint; has job \"",
                         folder.name(), "\" run?"));
  ModelSource source;
  source.reference = reference;
  source.config = model::read_model_config(folder.model_config());
  source.weights = model::checkpoint_weights(checkpoints::open_checkpoint(path, warn));
  source.tokenizer = folder.tokenizer();
  source.mixers_only = !source.weights->contains(model::kEmbedding);
  return source;
}

/// The job that a path belongs to: the folder that holds config.textproto, itself or two above a checkpoint.
fs::path job_of(const fs::path& path) {
  const fs::path clean = normal_path(path);
  return clean.parent_path().filename() == "checkpoints" ? clean.parent_path().parent_path()
                                                         : clean;
}

ModelSource open_folder(const fs::path& path) {
  ModelSource source;
  source.reference = path.string();
  source.config = model::read_model_config(path);
  source.tokenizer = path;
  source.mixers_only = fs::exists(mixers_file(path));
  source.weights = model::open_weights(source.mixers_only ? mixers_file(path) : path);
  return source;
}

/// A few rows of a tensor: enough to tell two models apart, little enough for any size.
void add_samples(Sha256& hash, const model::WeightSource& weights, const std::string& name) {
  const Shape shape = weights.shape(name);
  if (shape.rank() == 0 || shape.elements() == 0) return;
  const std::int64_t rows = std::min<std::int64_t>(shape[0], 8);
  std::vector<double> values;
  for (std::int64_t i = 0; i < rows; ++i) {
    parallel::Region region = parallel::whole(shape);
    region.offset[0] = i * (shape[0] / rows);
    region.shape[0] = 1;
    values.resize(static_cast<std::size_t>(region.shape.elements()));
    weights.read(name, region, view(values.data(), region.shape));
    hash.update({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)});
  }
}

}  // namespace

fs::path mixers_file(const fs::path& folder) { return folder / "mixers.safetensors"; }

fs::path normal_path(const fs::path& path) {
  return fs::absolute(path / "").lexically_normal().parent_path();
}

ModelSource open_model(const std::string& reference, const fs::path& output) {
  if (const std::string_view job = referenced_job(reference); !job.empty()) {
    const JobFolder folder(output, std::string(job));
    return open_training(folder.path(), folder, reference);
  }
  const fs::path path(reference);
  HALO_REQUIRE_INPUT(fs::is_directory(path), str("model ", reference, ": no such folder"));
  if (!checkpoints::holds_checkpoint(path)) return open_folder(path);
  const fs::path job = job_of(path);
  return open_training(path, {job.parent_path(), job.filename().string()}, reference);
}

model::ModelConfig read_referenced_config(const std::string& reference, const fs::path& output) {
  if (const std::string_view job = referenced_job(reference); !job.empty())
    return model::read_model_config(JobFolder(output, std::string(job)).model_config());
  const fs::path path(reference);
  return model::read_model_config(checkpoints::holds_checkpoint(path) ? job_of(path) / "config.json"
                                                                      : path);
}

fs::path tokenizer_of(const std::string& reference, const fs::path& output) {
  if (const std::string_view job = referenced_job(reference); !job.empty())
    return JobFolder(output, std::string(job)).tokenizer();
  if (checkpoints::holds_checkpoint(reference)) return job_of(reference) / "tokenizer";
  return fs::is_directory(reference) ? fs::path(reference) : fs::path(reference).parent_path();
}

std::vector<int> selected_layers(const std::string& reference, const fs::path& output) {
  const JobFolder folder(output, std::string(referenced_job(reference)));
  HALO_REQUIRE_INPUT(fs::exists(folder.result()), str(reference, ": job \"", folder.name(),
                                                      "\" has not selected its layers yet (",
                                                      folder.result().string(), " is missing)"));
  const nlohmann::json document = parse_json(read_file(folder.result()), folder.result().string());
  const JsonValue selected = JsonValue(document, folder.result().string()).at("selected");
  std::vector<int> layers;
  for (std::size_t i = 0; i < selected.size(); ++i)
    layers.push_back(static_cast<int>(selected[i].integer(0, 10000)));
  return layers;
}

std::string fingerprint(const ModelSource& source) {
  Sha256 hash;
  hash.update(model::to_json(source.config));
  std::vector<std::string> names = source.weights->tensors();
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    hash.update(name);
    add_samples(hash, *source.weights, name);
  }
  return hash.hex_digest();
}

void copy_tokenizer(const fs::path& from, const fs::path& to) {
  constexpr const char* kFiles[] = {
      "tokenizer.json",    "tokenizer_config.json",   "vocab.json",
      "merges.txt",        "special_tokens_map.json", "generation_config.json",
      "added_tokens.json", "chat_template.jinja"};
  for (const char* file : kFiles) {
    if (!fs::exists(from / file)) continue;
    fs::create_directories(to);
    write_file_atomically(to / file, read_file(from / file));
  }
}

}  // namespace halo::launch
