#pragma once
#include <string>
#include <string_view>

#include "core/model/model_config.h"
#include "launch/config.h"

namespace halo::launch {

/// What the models of a run's jobs will be, before any job has run: from the config, from config.json files, and from the
/// folders of jobs that have begun. Throws InputError for models that cannot be made, such as heads that do not divide.
class Architectures {
 public:
  /// The resolved config must outlive it.
  explicit Architectures(const Config& config) : config_(config) {}

  /// Of "job:NAME", a Hugging Face folder, or a folder that a job of this config writes.
  [[nodiscard]] model::ModelConfig of(const std::string& reference) const;
  /// What a training job trains.
  [[nodiscard]] model::ModelConfig student(const proto::Train& train) const;
  /// The training job of this config that makes what a path names: its own folder, or what an export job writes of it.
  /// Null when people give it.
  [[nodiscard]] const proto::Job* maker_of(const std::string& path) const;

 private:
  [[nodiscard]] const proto::Job& find(std::string_view name) const;
  [[nodiscard]] model::ModelConfig of_job(const proto::Job& job) const;
  [[nodiscard]] bool is_align(const std::string& reference) const;
  [[nodiscard]] std::vector<int> kept(const proto::Train& train, int layers) const;

  const Config& config_;
};

}  // namespace halo::launch
