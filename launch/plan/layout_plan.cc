#include "launch/plan/layout_plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <iomanip>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "core/base/text.h"
#include "launch/jobs/batches.h"
#include "parallel/placement.h"

namespace halo::launch {
namespace {

/// Which on the tensor axis may be the fullest: the last one, which has the largest share of what does not divide, and where
/// heads are cut unevenly those that hold the most.
std::set<int> fullest_tensor_ranks(const model::ModelConfig& c, int ranks) {
  std::set<int> fullest{ranks - 1};
  const auto add_most = [&](std::int64_t heads, std::int64_t keys) {
    if (heads <= 0 || keys <= 0) return;
    const auto held = [&](int rank) {
      return parallel::key_heads_of(heads, keys, rank, ranks).size() +
             parallel::even_share(heads, rank, ranks).size();
    };
    int most = ranks - 1;
    for (int rank = ranks - 1; rank >= 0; --rank)
      if (held(rank) > held(most)) most = rank;
    fullest.insert(most);
  };
  add_most(c.num_attention_heads, c.num_key_value_heads);
  add_most(c.lightning_nh, c.lightning_nkv);
  return fullest;
}

/// Micro-batches after which a pipeline of this shape has no more to keep.
int enough_micro_batches(const proto::Layout& layout) {
  return layout.pipeline() * (layout.chunks() + 1) + 6;
}

proto::Job with_layout(const proto::Job& job, const parallel::Layout& layout, int chunks) {
  constexpr std::int64_t kManyTokens = 8192;  // keep a device busy by themselves
  proto::Job changed = job;
  const bool one = layout.pipeline > 1 || job.train().data().sequence_length() >= kManyTokens;
  if (one && job.train().batch().micro_sequences() == 0)
    changed.mutable_train()->mutable_batch()->set_micro_sequences(1);
  changed.mutable_layout()->set_pipeline(layout.pipeline);
  changed.mutable_layout()->set_context(layout.context);
  changed.mutable_layout()->set_tensor(layout.tensor);
  changed.mutable_layout()->set_chunks(chunks);
  return changed;
}

struct Candidate {
  proto::Job job;  // with its layout
  LayoutPlan plan;
  std::string complaint;  // why it is not possible
};

/// Every layout of `ranks` ranks that is worth a look, beside the config's own: powers of two, tensor ranks share a node, no more data ranks than sequences, and
/// no fragments of a sequence shorter than what a kernel works on at once.
std::vector<proto::Job> candidates(const proto::Job& job, int ranks,
                                   const proto::Machine& machine) {
  constexpr std::int64_t kShortestFragment = 128, kMostContext = 256;
  const auto most_context = static_cast<int>(std::clamp<std::int64_t>(
      job.train().data().sequence_length() / (2 * kShortestFragment), 1, kMostContext));
  std::vector<proto::Job> all;
  for (int tensor = 1; tensor <= std::min(ranks, machine.ranks_per_node()); tensor *= 2) {
    for (int pipeline = 1; pipeline * tensor <= ranks && pipeline <= 64; pipeline *= 2) {
      for (int context = 1; context * pipeline * tensor <= ranks && context <= most_context;
           context *= 2) {
        if (ranks % (context * pipeline * tensor) != 0) continue;
        const int data = ranks / (context * pipeline * tensor);
        if (data > job.train().batch().sequences()) continue;
        for (const int chunks : {1, 2}) {
          if (chunks > 1 && pipeline == 1) continue;
          all.push_back(with_layout(job, {pipeline, data, context, tensor}, chunks));
        }
      }
    }
  }
  const proto::Layout& own = job.layout();
  const int model = own.pipeline() * own.context() * own.tensor();
  if (model <= 0 || ranks % model != 0) return all;
  const bool more_than_sequences = ranks / model > job.train().batch().sequences();
  if (more_than_sequences && model == 1 && !all.empty()) return all;
  proto::Job as_configured =
      with_layout(job, {own.pipeline(), ranks / model, own.context(), own.tensor()}, own.chunks());
  const bool listed = std::ranges::any_of(all, [&](const proto::Job& other) {
    return other.layout().SerializeAsString() == as_configured.layout().SerializeAsString();
  });
  if (!listed) all.push_back(std::move(as_configured));
  return all;
}

/// Every stage with each of the tensor ranks.
std::vector<std::pair<int, int>> places(int stages, const std::set<int>& tensor_ranks) {
  std::vector<std::pair<int, int>> all;
  for (int stage = 0; stage < stages; ++stage)
    for (const int rank : tensor_ranks) all.emplace_back(stage, rank);
  return all;
}

void keep_most(std::map<std::string, train::AxisTraffic>& most,
               const std::map<std::string, train::AxisTraffic>& traffic) {
  for (const auto& [name, t] : traffic) {
    if (t.bytes >= most[name].bytes) most[name] = t;
  }
}

/// With recomputation too, when without it the candidate does not fit.
void plan_candidate(Candidate& c, const Config& config, int ranks, const proto::Machine& machine,
                    Effort effort) {
  c.plan = plan_layout(config, c.job, ranks, machine, effort);
  const bool can = c.job.train().stage() != proto::ALIGN && !c.job.train().recompute();
  if (c.plan.fits(machine) || !can) return;
  c.job.mutable_train()->set_recompute(true);
  c.plan = plan_layout(config, c.job, ranks, machine, effort);
}

/// Says why the config's own layout is not among those to choose from.
void tell_of_own_layout(const proto::Job& job, int ranks, const std::vector<Candidate>& all) {
  const proto::Layout& own = job.layout();
  const auto is_own = [&](const Candidate& c) {
    const proto::Layout& other = c.job.layout();
    return other.pipeline() == own.pipeline() && other.context() == own.context() &&
           other.tensor() == own.tensor() && other.chunks() == own.chunks();
  };
  std::string reason;
  try {
    std::ignore = parallel::fill_data({own.pipeline(), 1, own.context(), own.tensor()}, ranks);
    const auto found = std::ranges::find_if(all, is_own);
    if (found != all.end()) reason = found->complaint;
  } catch (const InputError& error) {
    reason = error.what();
  }
  if (!reason.empty()) LOG(WARNING) << "the config's own layout is not possible here: " << reason;
}

std::string step_seconds(double seconds) {
  return formatted(seconds < 100 ? "%.3g s" : "%.0f s", seconds);
}

}  // namespace

bool LayoutPlan::fits(const proto::Machine& machine) const {
  return fullest.peak <= machine.memory_gib() * (1 << 30);
}

LayoutPlan plan_layout(const Config& config, const proto::Job& job, int ranks,
                       const proto::Machine& machine, Effort effort) {
  LayoutPlan plan;
  plan.layout.pipeline = job.layout().pipeline();
  plan.layout.context = job.layout().context();
  plan.layout.tensor = job.layout().tensor();
  plan.layout = parallel::fill_data(plan.layout, ranks);
  plan.chunks = job.layout().chunks();
  plan.micro_sequences = micro_sequences(job.train().batch(), plan.layout.data);
  plan.recompute = job.train().recompute();
  const auto layer_chunks = static_cast<std::size_t>(plan.layout.pipeline * plan.chunks);
  parallel::PipelineCosts costs;
  for (auto* list : {&costs.teacher, &costs.forward, &costs.backward}) list->resize(layer_chunks);
  double update = 0;
  std::map<std::string, std::optional<RankPlan>> alike;
  const std::set<int> tensor_ranks =
      fullest_tensor_ranks(Architectures(config).student(job.train()), plan.layout.tensor);
  for (const auto& [stage, tensor_rank] : places(plan.layout.pipeline, tensor_ranks)) {
    const bool outer = stage < 2 || stage >= plan.layout.pipeline - 2;
    const bool whole = effort == Effort::kAllStages || (effort == Effort::kOuterStages && outer);
    const int most = whole ? enough_micro_batches(job.layout()) : 1;
    const int number =
        stage * plan.layout.data * plan.layout.context * plan.layout.tensor + tensor_rank;
    const auto run = [&] {
      return plan_rank(config, job, number, plan.layout, machine, {most, false});
    };
    RankPlan rank;
    if (whole) {
      rank = run();
    } else {  // its neighbours are often alike
      auto& known = alike[str(tensor_rank, ' ', layers_of_rank(config, job, number, plan.layout))];
      if (!known) known = run();
      rank = *known;
    }
    for (std::size_t i = 0; i < rank.chunks.forward.size(); ++i) {
      const std::size_t at =
          i * static_cast<std::size_t>(plan.layout.pipeline) + static_cast<std::size_t>(stage);
      const auto keep_slowest = [&](std::vector<double>& all, double seconds) {
        all[at] = std::max(all[at], seconds);
      };
      keep_slowest(costs.teacher, rank.chunks.teacher[i]);
      keep_slowest(costs.forward, rank.chunks.forward[i]);
      keep_slowest(costs.backward, rank.chunks.backward[i]);
    }
    update = std::max(update, rank.update);
    keep_most(plan.traffic, rank.traffic);
    if (rank.peak >= plan.fullest.peak) plan.fullest = std::move(rank);
  }
  const parallel::PipelineShape& shape = plan.fullest.pipeline;
  const parallel::PipelineReport report =
      parallel::check_pipeline(shape, parallel::pipeline_schedule(shape), &costs);
  plan.seconds = report.time + update;
  plan.bubble = report.bubble_fraction();
  return plan;
}

std::vector<LayoutPlan> plan_layouts(const Config& config, const proto::Job& job, int ranks,
                                     const proto::Machine& machine, std::size_t most) {
  std::ignore = Architectures(config).student(job.train());  // its own errors first
  std::vector<Candidate> all;
  for (proto::Job& with_layout : candidates(job, ranks, machine))
    all.push_back({std::move(with_layout), {}, {}});
  Stream stream(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  stream.parallel_each(std::ssize(all), [&](std::int64_t i) {
    Candidate& c = all[static_cast<std::size_t>(i)];
    try {
      plan_candidate(c, config, ranks, machine, Effort::kTimes);
    } catch (const InputError& error) {  // not enough heads or layers for it
      c.complaint = error.what();
    }
  });
  const std::string first = all.empty() ? "" : all.front().complaint;
  tell_of_own_layout(job, ranks, all);
  std::erase_if(all, [](const Candidate& c) { return !c.complaint.empty(); });
  HALO_REQUIRE_INPUT(
      !all.empty(),
      first.empty()
          ? str("job ", job.name(),
                ": no layout of powers of two on pipeline, context and tensor "
                "shares ",
                ranks, " ranks among its ", job.train().batch().sequences(),
                " sequences a step; --set layout.pipeline=N and the like show one of your own")
          : str("job ", job.name(), ": no layout of ", ranks, " ranks: ", first));
  std::ranges::stable_sort(all, {}, [&](const Candidate& c) {
    return std::pair(!c.plan.fits(machine), c.plan.seconds);
  });
  std::vector<LayoutPlan> fitting, others;  // each by time
  // Recomputation makes some slower than they promised, so that the next ones may overtake them.
  const auto enough = [&](const LayoutPlan& next) {
    if (!next.fits(machine)) return fitting.size() + others.size() >= most;
    return fitting.size() >= most && fitting[most - 1].seconds <= next.seconds;
  };
  for (Candidate& c : all) {
    if (enough(c.plan)) break;
    plan_candidate(c, config, ranks, machine, Effort::kOuterStages);
    std::vector<LayoutPlan>& plans = c.plan.fits(machine) ? fitting : others;
    const auto at = std::ranges::upper_bound(plans, c.plan.seconds, {}, &LayoutPlan::seconds);
    plans.insert(at, std::move(c.plan));
  }
  fitting.insert(fitting.end(), others.begin(), others.end());
  fitting.resize(std::min(fitting.size(), most));
  return fitting;
}

std::string to_table(const std::vector<LayoutPlan>& plans, const proto::Machine& machine) {
  std::ostringstream out;
  out << "pipeline chunks context tensor data micro recompute       step  bubble  memory a rank   "
         "sent a step and rank: tensor    context   pipeline   gradient\n";
  const auto sent = [&](const LayoutPlan& plan, std::string_view axis) {
    double bytes = 0;
    for (const auto& [name, t] : plan.traffic)
      if (name.starts_with(axis) || (axis == "pipeline" && name == "ends")) bytes += t.bytes;
    return bytes == 0 ? std::string("-") : human_bytes(bytes);
  };
  for (const LayoutPlan& p : plans) {
    out << std::right << std::setw(8) << p.layout.pipeline << std::setw(7) << p.chunks
        << std::setw(8) << p.layout.context << std::setw(7) << p.layout.tensor << std::setw(5)
        << p.layout.data << std::setw(6) << p.micro_sequences << std::setw(10)
        << (p.recompute ? "yes" : "no") << std::setw(11) << step_seconds(p.seconds) << std::setw(8)
        << formatted("%.1f%%", 100 * p.bubble) << std::setw(15) << human_bytes(p.fullest.peak)
        << (p.fits(machine) ? "  " : " !") << std::setw(29) << sent(p, "tensor") << std::setw(11)
        << sent(p, "context") << std::setw(11) << sent(p, "pipeline") << std::setw(11)
        << sent(p, "gradient") << '\n';
  }
  if (std::ranges::any_of(plans, [&](const LayoutPlan& p) { return !p.fits(machine); }))
    out << "! does not fit into the " << human_bytes(machine.memory_gib() * (1 << 30))
        << " of a rank\n";
  return out.str();
}

}  // namespace halo::launch
