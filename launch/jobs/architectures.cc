#include "launch/jobs/architectures.h"

#include <filesystem>

#include "core/halo/select.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/model_reference.h"
#include "launch/jobs/prepared_stage.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

}  // namespace

const proto::Job& Architectures::find(std::string_view name) const {
  for (const proto::Job& job : config_.job()) {
    if (job.name() == name) return job;
  }
  throw InputError(str("job:", name, " is no job of this config"));
}

const proto::Job* Architectures::trainer_of(const std::string& path) const {
  if (path.empty()) return nullptr;
  const fs::path wanted = normal_path(path);
  for (const proto::Job& job : config_.job()) {
    if (!job.has_train()) continue;
    const fs::path own = normal_path(JobFolder(config_.output(), job.name()).path());
    const fs::path inside = wanted.lexically_relative(own);
    if (!inside.empty() && *inside.begin() != "..") return &job;
  }
  return nullptr;
}

std::string Architectures::exported_from(const std::string& path) const {
  if (path.empty()) return {};
  for (const proto::Job& job : config_.job()) {
    const proto::Export& spec = job.export_();
    if (!spec.to().empty() && normal_path(spec.to()) == normal_path(path)) return spec.from();
  }
  return {};
}

bool Architectures::is_made(const std::string& path) const {
  const auto [known, is_new] = made_.try_emplace(path);
  if (is_new) known->second = trainer_of(path) != nullptr || !exported_from(path).empty();
  return known->second;
}

model::ModelConfig Architectures::of_job(const proto::Job& job) const {
  const fs::path begun = JobFolder(config_.output(), job.name()).model_config();
  return fs::exists(begun) ? model::read_model_config(begun) : student(job.train());
}

model::ModelConfig Architectures::of(const std::string& reference, int depth) const {
  HALO_REQUIRE_INPUT(depth <= config_.job_size(),
                     str(reference, ": is exported from itself, by way of others"));
  const std::string_view name = referenced_job(reference);
  if (!name.empty()) return of_job(find(name));
  if (!fs::exists(reference)) {
    if (const proto::Job* trainer = trainer_of(reference)) return of_job(*trainer);
    const std::string source = exported_from(reference);
    if (!source.empty()) return of(source, depth + 1);
  }
  return read_referenced_config(reference, config_.output());
}

model::ModelConfig Architectures::student(const proto::Train& train) const {
  switch (train.stage()) {
    case proto::PRETRAIN:
      return of(train.model());
    case proto::FINETUNE:
      return of(train.student());
    case proto::ALIGN:
      return hybrid_of(of(train.teacher()), {}, train, {});
    case proto::DISTILL:
      break;
  }
  if (!train.student().empty() && !is_align(train.student())) return of(train.student());
  const model::ModelConfig teacher = of(train.teacher());
  const model::HybridOptions defaults = train.student().empty()
                                            ? model::HybridOptions{}
                                            : model::hybrid_options_of(of(train.student()));
  return hybrid_of(teacher, kept(train, teacher.num_hidden_layers), train, defaults);
}

bool Architectures::is_align(const std::string& reference) const {
  const std::string_view name = referenced_job(reference);
  return !name.empty() && find(name).train().stage() == proto::ALIGN;
}

/// Which layers stay attention; before they are selected, as many of them.
std::vector<int> Architectures::kept(const proto::Train& train, int layers) const {
  if (train.keep_attention_from().empty())
    return {train.keep_attention().begin(), train.keep_attention().end()};
  const int keep = find(referenced_job(train.keep_attention_from())).select().keep();
  return method::uniform_layers(layers, keep > 0 ? keep : method::default_keep(layers));
}

TrainedModels::TrainedModels(const Config& config, const proto::Train& train)
    : taught(train.stage() == proto::ALIGN || train.stage() == proto::DISTILL) {
  const Architectures architectures(config);
  if (taught) teacher = architectures.of(train.teacher());
  student = architectures.student(train);
}

}  // namespace halo::launch
