#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/file.h"
#include "core/base/progress_point.h"
#include "core/halo/layer_sweep.h"
#include "core/halo/transfer.h"
#include "launch/config_check.h"
#include "launch/jobs/job_context.h"
#include "launch/jobs/model_reference.h"
#include "launch/jobs/sweep_shards.h"

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

/// The teacher, its tokenizer and the mixers that a sweep is of.
struct Swept {
  explicit Swept(const JobContext& context)
      : names(swept_models(context.config, context.job)),
        teacher(open_model(names.teacher, context.config.output())),
        mixers(open_model(names.mixers, context.config.output())),
        tokenizer(teacher.tokenizer / "tokenizer.json"),
        sweep(selection_tasks(context.job.select()), tokenizer),
        inputs(sweep_inputs(context.config, context.job)) {
    HALO_REQUIRE_INPUT(mixers.mixers_only, str(names.mixers, " holds no aligned mixers"));
  }
  [[nodiscard]] method::SweepResult nothing() const {
    return sweep.nothing(teacher.config.num_hidden_layers);
  }

  SweptModels names;
  ModelSource teacher, mixers;
  data::Tokenizer tokenizer;
  method::LayerSweep sweep;
  std::string inputs;
};

/// Nothing when it was asked to stop.
std::optional<method::SweepResult> measure_shard(const JobContext& context, const Swept& swept) {
  if (!swept.sweep.has_work(*context.shard)) return swept.nothing();
  const model::LoadedModel loaded = model::load_model(swept.teacher.config, *swept.teacher.weights,
                                                      context.dtype(), context.stream);
  const model::ParameterSet mixers(context.stream, method::align_specs(swept.mixers.config),
                                   context.dtype(), model::ParameterSet::Use::kFrozen);
  model::load_parameters(mixers, *swept.mixers.weights);
  const method::SweepModels models{swept.teacher.config, *loaded.parameters, mixers,
                                   model::hybrid_options_of(swept.mixers.config)};
  return swept.sweep.measure(models, *context.shard, context.stop_requested, context.stream);
}

JobOutcome run_shard(const JobContext& context) {
  pass_point({"loading", -1, context.job.name()});
  const Swept swept(context);
  const auto result = measure_shard(context, swept);
  if (!result) return JobOutcome::kStopped;
  write_shard(context.folder(), swept.inputs, *context.shard, *result);
  return JobOutcome::kDone;
}

nlohmann::json passes_to_json(const method::SweepPasses& passes) {
  return {{"batches", passes.batches},
          {"teacher", passes.teacher},
          {"branches", passes.branches},
          {"decoding", passes.decoding}};
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

nlohmann::json by_scores(const JobContext& context) {
  const proto::Select& select = context.job.select();
  method::Sweep sweep;
  nlohmann::json passes;
  if (select.scores().empty()) {
    const Swept swept(context);
    const method::SweepResult sum = sum_of_shards(context.folder(), swept.inputs, swept.nothing());
    sweep.model = swept.teacher.reference;
    sweep.layers = swept.sweep.scores(sum).layers;
    passes = passes_to_json(sum.passes);
  } else {
    sweep = read_scores(context);
  }
  sweep.keep = keep_of(select, sweep.keep, static_cast<int>(sweep.layers.size()));
  const bool by_recall = select.strategy() == proto::RECALL;
  nlohmann::json result = nlohmann::json::parse(method::sweep_to_json(sweep));
  result["selected"] = by_recall
                           ? method::select_layers(method::recall_drop(sweep.layers), sweep.keep)
                           : result.at("expected_keep").get<std::vector<int>>();
  if (!passes.is_null()) result["passes"] = passes;
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

void tell_selection(const std::string& job, const nlohmann::json& result) {
  std::string text =
      str("job ", job, ": layers kept as softmax attention: ", result.at("selected").dump());
  if (const auto passes = result.find("passes"); passes != result.end()) {
    const auto count = [&](const char* name) { return passes->at(name).get<std::int64_t>(); };
    const auto layers = static_cast<std::int64_t>(result.at("layers").size());
    const std::int64_t batches = std::max<std::int64_t>(1, count("batches"));
    text += str("; ", batches, " batches of ", (count("teacher") + count("branches")) / batches,
                " layer passes each (", layers * layers, " one layer after the other)");
  }
  std::cout << text << std::endl;
}

}  // namespace

JobOutcome run_select_job(const JobContext& context) {
  if (context.shard) return run_shard(context);
  const nlohmann::json result =
      is_measured(context.job.select().strategy()) ? by_scores(context) : by_place(context);
  if (!context.is_first_rank()) return JobOutcome::kDone;
  context.begin_folder();
  write_file_atomically(context.folder().result(), result.dump(2) + "\n");
  std::error_code left;  // no harm: the result is there
  std::filesystem::remove_all(shards_folder(context.folder()), left);
  tell_selection(context.job.name(), result);
  return JobOutcome::kDone;
}

}  // namespace halo::launch
