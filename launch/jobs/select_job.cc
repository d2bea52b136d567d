#include <glog/logging.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/file.h"
#include "core/halo/layer_sweep.h"
#include "core/halo/transfer.h"
#include "launch/config_check.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/model_reference.h"

namespace halo::launch {
namespace {

/// The align job whose mixers are swept: named, or the one training job that this job needs.
std::string mixers_reference(const proto::Job& job) {
  if (!job.select().mixers().empty()) return job.select().mixers();
  HALO_REQUIRE_INPUT(
      job.needs_size() == 1,
      str("job ", job.name(), ": select.mixers must name the align job, as \"job:NAME\""));
  return "job:" + job.needs(0);
}

const proto::Train& align_of(const Config& config, const std::string& reference) {
  const std::string_view name = referenced_job(reference);
  for (const proto::Job& job : config.job()) {
    if (job.name() == name && job.has_train() && job.train().stage() == proto::ALIGN)
      return job.train();
  }
  throw InputError(reference + " is no ALIGN job of this config");
}

/// Nothing when it was asked to stop.
std::optional<method::Sweep> measure(const JobContext& context) {
  const proto::Select& select = context.job.select();
  const std::string reference = mixers_reference(context.job);
  const ModelSource mixers = open_model(reference, context.config.output());
  HALO_REQUIRE_INPUT(mixers.mixers_only, str(reference, " holds no aligned mixers"));
  const ModelSource teacher =
      open_model(align_of(context.config, reference).teacher(), context.config.output());
  const model::LoadedModel loaded =
      model::load_model(teacher.config, *teacher.weights, context.dtype(), context.stream);
  const model::ParameterSet mixer_weights(context.stream, method::align_specs(mixers.config),
                                          context.dtype(), model::ParameterSet::Use::kFrozen);
  model::load_parameters(mixer_weights, *mixers.weights);
  const data::Tokenizer tokenizer(teacher.tokenizer / "tokenizer.json");
  const method::SweepInputs inputs{teacher.config, *loaded.parameters, mixer_weights,
                                   model::hybrid_options_of(mixers.config), tokenizer};
  const auto tasks =
      infer::read_tasks({select.tasks().begin(), select.tasks().end()}, select.max_examples());
  const auto scores = method::sweep_layers(inputs, tasks, context.world(), context.stream,
                                           [&] { return context.stop_agreed(); });
  if (!scores) return std::nullopt;
  method::Sweep sweep;
  sweep.model = teacher.reference;
  sweep.layers = scores->layers;
  return sweep;
}

/// How many layers are kept: as the job says, else the file of scores, else a quarter.
int keep_of(const proto::Select& select, int said_by_scores, int layers) {
  if (select.keep() > 0) return select.keep();
  return said_by_scores > 0 ? said_by_scores : method::default_keep(layers);
}

/// Of a file, or of a select job that measured.
method::Sweep read_scores(const JobContext& context) {
  const std::string& scores = context.job.select().scores();
  const std::string_view job = referenced_job(scores);
  const std::string path =
      job.empty() ? scores : context.folder_of(std::string(job)).result().string();
  method::Sweep sweep = method::parse_sweep(read_file(path), path);
  if (!job.empty()) sweep.keep = 0;  // how many is for this job to say
  return sweep;
}

std::optional<nlohmann::json> by_scores(const JobContext& context) {
  const proto::Select& select = context.job.select();
  std::optional<method::Sweep> sweep =
      select.scores().empty() ? measure(context) : read_scores(context);
  if (!sweep) return std::nullopt;
  sweep->keep = keep_of(select, sweep->keep, static_cast<int>(sweep->layers.size()));
  const bool by_recall = select.strategy() == proto::RECALL;
  nlohmann::json result = nlohmann::json::parse(method::sweep_to_json(*sweep));
  result["selected"] = by_recall
                           ? method::select_layers(method::recall_drop(sweep->layers), sweep->keep)
                           : result.at("expected_keep").get<std::vector<int>>();
  return result;
}

/// Needs the number of layers alone, nothing measured.
nlohmann::json by_place(const JobContext& context) {
  const proto::Select& select = context.job.select();
  int layers = 0, said_by_scores = 0;
  if (select.scores().empty()) {
    layers = read_referenced_config(mixers_reference(context.job), context.config.output())
                 .num_hidden_layers;
  } else {
    const method::Sweep sweep = read_scores(context);
    layers = static_cast<int>(sweep.layers.size());
    said_by_scores = sweep.keep;
  }
  const int keep = keep_of(select, said_by_scores, layers);
  return {{"keep", keep},
          {"selected", select.strategy() == proto::FIRST ? method::first_layers(layers, keep)
                                                         : method::uniform_layers(layers, keep)}};
}

}  // namespace

JobOutcome run_select_job(const JobContext& context) {
  const std::optional<nlohmann::json> result =
      is_measured(context.job.select().strategy()) ? by_scores(context) : by_place(context);
  if (!result) return JobOutcome::kStopped;
  if (!context.is_first_rank()) return JobOutcome::kDone;
  context.begin_folder();
  write_file_atomically(context.folder().result(), result->dump(2) + "\n");
  LOG(INFO) << context.job.name()
            << ": layers kept as softmax attention: " << result->at("selected").dump();
  return JobOutcome::kDone;
}

}  // namespace halo::launch
