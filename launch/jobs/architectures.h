#pragma once
#include <map>
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
  [[nodiscard]] model::ModelConfig of(const std::string& reference) const {
    return of(reference, 0);
  }
  /// What a training job trains.
  [[nodiscard]] model::ModelConfig student(const proto::Train& train) const;
  /// Whether a job of this config makes what a path names, rather than people.
  [[nodiscard]] bool is_made(const std::string& path) const;

 private:
  /// Below `depth` references of exports to what they export.
  [[nodiscard]] model::ModelConfig of(const std::string& reference, int depth) const;
  /// The training job in whose folder a path lies; null when there is none.
  [[nodiscard]] const proto::Job* trainer_of(const std::string& path) const;
  /// What the export job that writes the folder `path` reads; empty when none does.
  [[nodiscard]] std::string exported_from(const std::string& path) const;
  [[nodiscard]] const proto::Job& find(std::string_view name) const;
  [[nodiscard]] model::ModelConfig of_job(const proto::Job& job) const;
  [[nodiscard]] bool is_align(const std::string& reference) const;
  [[nodiscard]] std::vector<int> kept(const proto::Train& train, int layers) const;

  const Config& config_;
  mutable std::map<std::string, bool>
      made_;  // by path: is_made's answers, which all jobs take long for
};

/// The architectures that a training job works with.
struct TrainedModels {
  TrainedModels(const Config& config, const proto::Train& train);
  [[nodiscard]] const model::ModelConfig* teacher_or_null() const {
    return taught ? &teacher : nullptr;
  }

  bool taught;  // by a teacher
  model::ModelConfig teacher, student;
};

}  // namespace halo::launch
