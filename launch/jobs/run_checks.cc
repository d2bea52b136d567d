#include "launch/jobs/run_checks.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <tuple>

#include "checkpoints/checkpoint.h"
#include "checkpoints/checkpoint_folder.h"
#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/weight_files.h"
#include "core/base/cuda_device.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/halo/select.h"
#include "core/infer/tasks.h"
#include "data/token_file.h"
#include "data/token_file_check.h"
#include "launch/config_check.h"
#include "launch/jobs/architectures.h"
#include "launch/jobs/batches.h"
#include "launch/jobs/job_folder.h"
#include "launch/jobs/job_queue.h"
#include "launch/jobs/job_summary.h"
#include "launch/jobs/model_parts.h"
#include "launch/jobs/model_reference.h"
#include "launch/sweep/expand_sweep.h"
#include "launch/sweep/objective.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

/// One job's inputs, of which it says who wants them.
class Inputs {
 public:
  Inputs(const Architectures& architectures, const proto::Job& job)
      : architectures_(architectures), name_(job.name()) {}

  void file(const std::string& path) const {
    if (path.empty()) return;
    require(fs::exists(path), path, "no such file or folder");
    require(!fs::is_directory(path), path, "is a folder, not a file");
  }
  template <class Paths>
  void files(const Paths& paths) const {
    for (const std::string& path : paths) {
      require(!path.empty(), "\"\"", "an empty name in place of a file");
      file(path);
    }
  }
  /// A safetensors file, or a folder that holds weights.
  void weights(const std::string& path) const {
    if (path.empty()) return;
    require(fs::exists(path), path, "no such file or folder");
    require(!fs::is_directory(path) || checkpoints::holds_weights(path), path, "holds no weights");
  }
  void model(const std::string& reference) const {
    if (!is_given(reference)) return;
    const bool holds = checkpoints::holds_weights(reference) ||
                       fs::exists(mixers_file(reference)) ||
                       checkpoints::holds_checkpoint(reference);
    require(holds, reference, "holds no weights");
  }
  /// A folder or a config.json alone, to start from fresh weights.
  void architecture(const std::string& reference) const { std::ignore = is_given(reference); }

 private:
  /// False for what a job of this config makes; what people give must be there.
  [[nodiscard]] bool is_given(const std::string& reference) const {
    if (reference.empty() || !referenced_job(reference).empty()) return false;
    if (architectures_.is_made(reference)) return false;
    require(fs::exists(reference), reference, "no such file or folder");
    return true;
  }
  void require(bool ok, const std::string& path, const char* reason) const {
    HALO_REQUIRE_INPUT(ok, str(path, ": job ", name_, ": ", reason));
  }
  const Architectures& architectures_;
  std::string name_;
};

/// The task files hold what the job asks of them.
void require_tasks(const proto::Job& job) {
  if (job.has_evaluate()) {
    const auto& tasks = job.evaluate().tasks();
    std::ignore = infer::read_tasks({tasks.begin(), tasks.end()}, job.evaluate().max_examples());
  }
  const proto::Select& select = job.select();
  if (select.tasks_size() == 0 || !is_measured(select.strategy())) return;
  const auto tasks =
      infer::read_tasks({select.tasks().begin(), select.tasks().end()}, select.max_examples());
  const auto recall = std::ranges::count_if(tasks, infer::measures_recall);
  HALO_REQUIRE_INPUT(recall > 0 && recall < std::ssize(tasks),
                     str("select.tasks: layer selection needs recall and choice tasks: there are ",
                         recall, " and ", std::ssize(tasks) - recall));
}

/// The task that trials are ranked by is one of those that the job does.
void require_objective(const Config& config, const proto::Job& job) {
  const std::string task = objective_task(config.sweep());
  const bool has_it = std::ranges::any_of(
      config.trial(), [&](const proto::Trial& trial) { return trial.job() == job.name(); });
  if (task.empty() || !has_it) return;
  const auto& tasks = job.evaluate().tasks();
  std::vector<std::string> names;
  for (const infer::Task& known : infer::read_tasks({tasks.begin(), tasks.end()}, 1))
    names.push_back(known.name);
  if (std::ranges::find(names, task) != names.end()) return;
  const std::string nearest = nearest_name(task, names);
  throw InputError(str("sweep.objective is task:", task,
                       ": no file of evaluate.tasks has this task",
                       nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?")));
}

/// The evaluation's token files hold as many sequences as are asked for.
void require_held_out(const proto::Evaluate& evaluate) {
  std::int64_t sequences = 0;
  for (const std::string& path : evaluate.tokens())
    sequences += data::open_token_file(path)->tokens() / evaluate.sequence_length();
  if (evaluate.tokens_size() > 0)
    require_sequences(evaluate.tokens(0), sequences, evaluate.sequence_length(),
                      evaluate.sequences());
}

/// What each job complains of begins with its name.
void named(const Config& config, const proto::Job& job, const std::function<void()>& check) {
  try {
    check();
  } catch (const InputError& error) {
    const std::string text = error.what();
    const bool says_job = text.find(str("job ", job.name())) != std::string::npos;
    const std::string trial = trial_of_job(config, job.name());
    throw InputError(str(says_job ? "" : str("job ", job.name(), ": "), text,
                         trial.empty() ? "" : ", in " + trial));
  }
}

/// An export writes over what this run's own has written, nothing else.
void require_own_export(const Config& config, const proto::Job& job) {
  if (!job.has_export_()) return;
  const std::string& to = job.export_().to();
  const bool begun = fs::exists(JobFolder(config.output(), job.name()).config());
  HALO_REQUIRE_INPUT(begun || !fs::exists(fs::path(to) / "config.json"),
                     str("export.to: ", to,
                         " holds a model that this run has not written: name "
                         "another folder or remove it"));
}

/// A Transformer teaches, and its student has as many layers and predicts the same tokens.
void require_teacher(const Architectures& architectures, const proto::Job& job,
                     const model::ModelConfig& student) {
  const proto::Train& train = job.train();
  if (train.stage() != proto::ALIGN && train.stage() != proto::DISTILL) return;
  const model::ModelConfig teacher = architectures.of(train.teacher());
  HALO_REQUIRE_INPUT(!teacher.is_hypenet(),
                     str("teacher ", train.teacher(), " is not a Qwen3 Transformer"));
  HALO_REQUIRE_INPUT(student.vocab_size == teacher.vocab_size,
                     str("student ", train.student(), " has a vocabulary of ", student.vocab_size,
                         ", its teacher one of ", teacher.vocab_size));
  // Both are cut at the same layers.
  HALO_REQUIRE_INPUT(student.num_hidden_layers == teacher.num_hidden_layers,
                     str("student ", train.student(), " has ", student.num_hidden_layers,
                         " layers, its teacher ", teacher.num_hidden_layers));
  // Stages pass the activations of both on in tensors of one shape.
  HALO_REQUIRE_INPUT(job.layout().pipeline() == 1 || student.hidden_size == teacher.hidden_size,
                     str("layout.pipeline is ", job.layout().pipeline(), ": student ",
                         train.student(), " has a hidden size of ", student.hidden_size,
                         ", its teacher one of ", teacher.hidden_size, "; choose 1"));
  require_layout(job, teacher);
}

void require_selection(const Config& config, const proto::Select& select) {
  int layers = 0;
  if (!select.mixers().empty())
    layers = Architectures(config).of(select.mixers()).num_hidden_layers;
  if (!select.scores().empty() && referenced_job(select.scores()).empty()) {
    const method::Sweep sweep = method::parse_sweep(read_file(select.scores()), select.scores());
    const int scored = static_cast<int>(sweep.layers.size());
    HALO_REQUIRE_INPUT(layers == 0 || layers == scored,
                       str(select.scores(), ": holds scores of ", scored, " layers; ",
                           select.mixers(), " has ", layers));
    layers = scored;
  }
  HALO_REQUIRE_INPUT(layers == 0 || select.keep() <= layers,
                     str("select.keep is ", select.keep(), ": there are ", layers, " layers"));
}

}  // namespace

bool has_ended(const Config& config, const proto::Job& job) {
  const JobFolder folder(config.output(), job.name());
  if (job.has_export_() && !fs::exists(fs::path(job.export_().to()) / "config.json")) return false;
  if (!job.has_train()) return !job.has_report() && fs::exists(folder.result());
  const std::int64_t steps = job.train().steps();
  if (!fs::exists(folder.summary()) || read_job_summary(folder).steps != steps) return false;
  const std::vector<fs::path> saved = checkpoints::find_checkpoints(folder.checkpoints());
  return !saved.empty() && saved.front() == checkpoints::final_folder(folder.checkpoints(), steps);
}

void require_this_build(const Config& config, const proto::Job& job) {
  const bool gpu = config.device() == proto::CUDA;
  HALO_REQUIRE_INPUT(!gpu || HALO_CUDA_ENABLED,
                     "device: CUDA: this build has no CUDA; use --device cpu");
  HALO_REQUIRE_INPUT(!gpu || cuda_device_count() > 0,
                     "device: CUDA: this host shows no GPU; use --device cpu");
  HALO_REQUIRE_INPUT(
      gpu || job.precision() != proto::BF16,
      str("job ", job.name(), ": precision: BF16 needs a GPU; the CPU computes in FP32 and FP64"));
  HALO_REQUIRE_INPUT(
      !gpu || job.precision() != proto::FP64,
      str("job ", job.name(), ": precision: FP64 is the CPU's; a GPU computes in BF16 and FP32"));
}

void require_inputs(const Config& config, const Architectures& architectures,
                    const proto::Job& job) {
  const Inputs inputs(architectures, job);
  const proto::Train& train = job.train();
  inputs.files(train.data().tokens());
  inputs.files(train.validation().tokens());
  inputs.weights(train.student_weights());
  inputs.model(train.teacher());
  inputs.model(train.student());
  inputs.architecture(train.model());
  inputs.files(job.select().tasks());
  if (referenced_job(job.select().scores()).empty()) inputs.file(job.select().scores());
  inputs.files(job.evaluate().tokens());
  inputs.files(job.evaluate().tasks());
  for (const std::string& model : job.evaluate().models()) inputs.model(model);
  inputs.model(job.export_().from());
  inputs.file(job.report().gzip_text());
  named(config, job, [&] {
    require_own_export(config, job);
    require_tasks(job);
    if (job.has_evaluate()) require_objective(config, job);
    require_held_out(job.evaluate());
  });
}

void require_architecture(const Config& config, const proto::Job& job) {
  named(config, job, [&] {
    if (job.has_train()) {
      const Architectures architectures(config);
      const model::ModelConfig student = architectures.student(job.train());
      require_teacher(architectures, job, student);
      require_layout(job, student);
    }
    if (job.has_select()) require_selection(config, job.select());
  });
}

void require_outputs_apart(const Config& config, const std::vector<int>& order) {
  std::vector<std::pair<std::string, std::string>> read;  // path and job
  for (const int i : order) {
    const proto::Job& job = config.job(i);
    for (const std::string& model : models_read(job))
      if (referenced_job(model).empty()) read.emplace_back(model, job.name());
    if (!job.has_export_()) continue;
    const std::string& to = job.export_().to();
    for (const auto& [path, reader] : read) {
      HALO_REQUIRE_INPUT(!is_same_file(to, path),
                         str("job ", job.name(), ": export.to is ", to, ", which job ", reader,
                             " reads: it would be overwritten; name another folder"));
    }
  }
}

void refuse_changes(const Config& resolved, int job) {
  const JobFolder folder(resolved.output(), resolved.job(job).name());
  const Config now = job_config(resolved, job);
  if (!fs::exists(folder.config())) return;
  const auto changes = changes_that_forbid_resume(read_config(folder.config().string()), now);
  if (changes.empty()) return;
  std::string text = str("job ", folder.name(), " began with another config than this one:");
  for (const FieldChange& change : changes) {
    text += str("\n  ", change.path, ": ", change.stored.empty() ? "(unset)" : change.stored,
                " -> ", change.now.empty() ? "(unset)" : change.now);
  }
  throw InputError(
      text + str("\nGive the old values, another output, or remove ", folder.path().string()));
}

std::vector<std::string> run_complaints(const Config& resolved) {
  std::vector<std::string> complaints;
  const auto collect = [&](const std::function<void()>& check) {
    try {
      check();
    } catch (const InputError& error) {
      complaints.emplace_back(error.what());
    }
  };
  const Architectures architectures(resolved);
  for (int i = 0; i < resolved.job_size(); ++i) {
    const proto::Job& job = resolved.job(i);
    collect([&] { require_this_build(resolved, job); });
    collect([&] { refuse_changes(resolved, i); });
    if (!has_ended(resolved, job)) collect([&] { require_inputs(resolved, architectures, job); });
  }
  collect([&] { require_outputs_apart(resolved, job_order(resolved)); });
  return complaints;
}

}  // namespace halo::launch
