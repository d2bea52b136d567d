#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/monitor/status_text.h"

namespace halo::launch {
namespace {

constexpr int kMostRanks = 256;

using Labels = std::initializer_list<std::pair<const char*, std::string>>;

std::string escaped(const std::string& label) {
  std::string text;
  for (const char c : label) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') text += '\\';
    text += c;
  }
  return text;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return formatted("%.17g", value);
}

/// Families of samples, each with its help once and all its samples together, as the format wants them.
class Exposition {
 public:
  void family(const char* name, const char* help) {
    name_ = name;
    text_ += str("# HELP ", name, ' ', help, "\n# TYPE ", name, " gauge\n");
  }
  void sample(const Labels& labels, double value) {
    text_ += name_;
    const char* before = "{";
    for (const auto& [label, text] : labels) {
      text_ += str(before, label, "=\"", escaped(text), '"');
      before = ",";
    }
    text_ += str(labels.size() > 0 ? "} " : " ", number(value), '\n');
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
  const char* name_ = "";
};

struct StepFamily {
  const char* name;
  const char* help;
  double (*value)(const StepMetrics& metrics);
};

constexpr StepFamily kStepFamilies[] = {
    {"halo_loss", "Loss of the last step.", [](const StepMetrics& m) { return m.loss; }},
    {"halo_grad_norm", "Gradient norm of the last step, before clipping.",
     [](const StepMetrics& m) { return m.grad_norm; }},
    {"halo_learning_rate", "Learning rate of the last step.",
     [](const StepMetrics& m) { return m.lr; }},
    {"halo_tokens_per_second", "Tokens per second of the last step, all ranks together.",
     [](const StepMetrics& m) { return m.tokens_per_s; }},
    {"halo_mfu", "Model FLOP/s over the hardware's peak, a fraction.",
     [](const StepMetrics& m) { return m.mfu; }},
    {"halo_step_seconds", "Duration of the last step.",
     [](const StepMetrics& m) { return m.step_ms / 1000; }},
    {"halo_memory_bytes", "Peak memory of the job's first rank.",
     [](const StepMetrics& m) { return m.memory_gib * (1 << 30); }}};

void add_run(Exposition& out, const RunStatus& status, double now) {
  out.family("halo_run_info", "What runs; always 1.");
  out.sample({{"name", status.name}, {"output", status.output}, {"version", status.version}}, 1);
  out.family("halo_run_start_time_seconds", "When the program began, in seconds since 1970.");
  out.sample({}, status.begun_at);
  out.family("halo_ranks", "Ranks of the run.");
  out.sample({}, status.ranks);
  out.family("halo_healthy", "1 while the run gets on, as /healthz says.");
  out.sample({}, health_of(status, now).ok ? 1 : 0);
}

void add_jobs(Exposition& out, const RunStatus& status) {
  out.family("halo_job_state", "1 for the state that a job is in, 0 for the others.");
  for (const MonitoredJob& job : status.jobs) {
    const std::string own = state_of(status, job);
    for (const char* state : kJobStates)
      out.sample({{"job", job.name}, {"state", state}}, own == state ? 1 : 0);
  }
  out.family("halo_step", "Steps that a training job has done.");
  for (const MonitoredJob& job : status.jobs)
    if (job.steps > 0) out.sample({{"job", job.name}}, static_cast<double>(job.progress.step()));
  out.family("halo_steps", "Steps that a training job is to do.");
  for (const MonitoredJob& job : status.jobs)
    if (job.steps > 0) out.sample({{"job", job.name}}, static_cast<double>(job.steps));
  for (const StepFamily& family : kStepFamilies) {
    out.family(family.name, family.help);
    for (const MonitoredJob& job : status.jobs)
      if (job.progress.last) out.sample({{"job", job.name}}, family.value(*job.progress.last));
  }
  out.family("halo_validation_loss", "Newest validation loss.");
  for (const MonitoredJob& job : status.jobs) {
    if (job.progress.last_validation)
      out.sample({{"job", job.name}}, *job.progress.last_validation->validation_loss);
  }
  out.family("halo_seconds_left", "Until a running training job ends, at the last steps' pace.");
  for (const MonitoredJob& job : status.jobs) {
    const auto left = job.progress.seconds_left(job.steps);
    if (left && job.state == JobState::kRunning && !status.ended)
      out.sample({{"job", job.name}}, *left);
  }
}

struct RankFamily {
  const char* name;
  const char* help;
  double (*value)(const MonitoredRank& rank, double now);
};

constexpr RankFamily kRankFamilies[] = {
    {"halo_rank_well", "1 unless a rank is slow, silent, gone or has failed.",
     [](const MonitoredRank& rank, double now) {
       const RankState state = state_of(rank, now);
       return state == RankState::kWell || state == RankState::kEnded ? 1.0 : 0.0;
     }},
    {"halo_rank_seconds_since_heard", "Since a rank's last heartbeat.",
     [](const MonitoredRank& rank, double now) { return now - rank.heard; }},
    {"halo_rank_seconds_since_progress", "Since a heartbeat of a rank told of something new.",
     [](const MonitoredRank& rank, double now) { return now - rank.got_on; }},
    {"halo_rank_step", "Step that a rank works on, from 0; -1: none.",
     [](const MonitoredRank& rank, double) { return static_cast<double>(rank.beat.step()); }},
    {"halo_rank_own_seconds", "Of a rank's last step without waiting for others; -1: not known.",
     [](const MonitoredRank& rank, double) { return rank.beat.own_seconds(); }}};

/// The counts are of all ranks; series of their own have the first kMostRanks, so that a large run has no more of them than
/// a server of metrics likes.
void add_ranks(Exposition& out, const RunStatus& status, double now) {
  out.family("halo_ranks_in_state", "How many ranks are in a state; unheard: no heartbeat yet.");
  for (const RankState state : kRankStates) {
    const auto count = std::ranges::count_if(
        status.heard, [&](const MonitoredRank& rank) { return state_of(rank, now) == state; });
    out.sample({{"state", to_string(state)}}, static_cast<double>(count));
  }
  out.sample({{"state", "unheard"}},
             static_cast<double>(status.ranks) - static_cast<double>(status.heard.size()));
  for (const RankFamily& family : kRankFamilies) {
    out.family(family.name, family.help);
    for (const MonitoredRank& rank : status.heard)
      if (rank.beat.rank() < kMostRanks)
        out.sample({{"rank", str(rank.beat.rank())}, {"host", rank.beat.host()}},
                   family.value(rank, now));
  }
}

}  // namespace

std::string prometheus_text(const RunStatus& status, double now) {
  Exposition out;
  add_run(out, status, now);
  add_jobs(out, status);
  add_ranks(out, status, now);
  return out.take();
}

}  // namespace halo::launch
