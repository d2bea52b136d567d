#include "launch/jobs/sweep_shards.h"

#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <span>

#include "core/base/crc32c.h"
#include "core/base/file.h"
#include "core/base/sha256.h"
#include "launch/config_check.h"
#include "launch/jobs/model_reference.h"
#include "launch/sweep_shard.pb.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;
using method::SweepResult;
using method::SweepShard;

constexpr std::string_view kHead =
    "halo sweep shard 1 ";  // then the checksum in hexadecimal and a line end
constexpr std::string_view kEnding = ".scores";
constexpr int kMostShards = 1000;
constexpr int kShardsOfRank = 4;  // so that ranks that are free earlier, or later, find some

/// "3-of-32".
std::string to_text(const SweepShard& shard) { return str(shard.index, "-of-", shard.count); }

std::optional<SweepShard> parse_shard(std::string_view text) {
  SweepShard shard;
  const char *at = text.data(), *const end = text.data() + text.size();
  const auto [middle, bad_index] = std::from_chars(at, end, shard.index);
  constexpr std::string_view kOf = "-of-";
  if (bad_index != std::errc() || !std::string_view(middle, end).starts_with(kOf)) return {};
  const auto [stop, bad_count] = std::from_chars(middle + kOf.size(), end, shard.count);
  const bool good = bad_count == std::errc() && stop == end && shard.index >= 0 &&
                    shard.index < shard.count && to_text(shard) == text;
  return good ? std::optional(shard) : std::nullopt;
}

fs::path path_of(const JobFolder& folder, const SweepShard& shard) {
  return shards_folder(folder) / (to_text(shard) + std::string(kEnding));
}

std::string checksum_text(std::string_view bytes) {
  const std::uint32_t sum = crc32c(std::as_bytes(std::span(bytes.data(), bytes.size())));
  std::string text(8, '0');
  for (std::size_t i = 0; i < 8; ++i) text[7 - i] = "0123456789abcdef"[sum >> (4 * i) & 15];
  return text;
}

proto::TaskScores to_proto(const std::vector<std::vector<infer::SequenceScore>>& scores) {
  proto::TaskScores task;
  for (std::size_t i = 0; i < scores.front().size(); ++i)
    if (scores.front()[i].tokens > 0) task.add_sequence(static_cast<std::int64_t>(i));
  for (const auto& of_model : scores) {
    proto::ModelScores& model = *task.add_model();
    for (const std::int64_t i : task.sequence()) {
      const infer::SequenceScore& score = of_model[static_cast<std::size_t>(i)];
      model.add_log_likelihood(score.log_likelihood);
      model.add_tokens(score.tokens);
      model.add_greedy_matches(score.greedy_matches);
    }
  }
  return task;
}

/// False where the file is of other tasks or models.
bool from_proto(std::vector<std::vector<infer::SequenceScore>>& scores,
                const proto::TaskScores& task) {
  if (task.model_size() != static_cast<int>(scores.size())) return false;
  for (int m = 0; m < task.model_size(); ++m) {
    auto& of_model = scores[static_cast<std::size_t>(m)];
    const proto::ModelScores& model = task.model(m);
    const int n = task.sequence_size();
    if (model.log_likelihood_size() != n || model.tokens_size() != n ||
        model.greedy_matches_size() != n)
      return false;
    for (int i = 0; i < n; ++i) {
      const std::int64_t sequence = task.sequence(i);
      if (sequence < 0 || sequence >= std::ssize(of_model)) return false;
      of_model[static_cast<std::size_t>(sequence)] = {model.log_likelihood(i), model.tokens(i),
                                                      model.greedy_matches(i)};
    }
  }
  return true;
}

/// The message of a whole file that was made from these inputs.
std::optional<proto::SweepShardResult> read_whole(const JobFolder& folder,
                                                  const std::string& inputs,
                                                  const SweepShard& shard) {
  const fs::path path = path_of(folder, shard);
  if (!fs::exists(path)) return std::nullopt;
  const std::string text = read_file(path);
  std::string_view rest = text;
  const std::size_t head = kHead.size() + 9;
  proto::SweepShardResult result;
  const bool whole =
      rest.starts_with(kHead) && rest.size() >= head && rest[head - 1] == '\n' &&
      rest.substr(kHead.size(), 8) == checksum_text(rest.substr(head)) &&
      result.ParseFromArray(rest.data() + head, static_cast<int>(rest.size() - head));
  if (!whole) {
    LOG(WARNING) << path.string() << ": is damaged; this shard is measured again";
    return std::nullopt;
  }
  const bool fits =
      result.inputs() == inputs && result.index() == shard.index && result.count() == shard.count;
  return fits ? std::optional(result) : std::nullopt;
}

/// Whether all jobs that `job` needs, directly or through others, have ended.
bool needs_ended(const Config& config, const proto::Job& job, const std::set<std::string>& ended) {
  return std::ranges::all_of(job.needs(), [&](const std::string& need) {
    const auto other = std::ranges::find(config.job(), need, &proto::Job::name);
    return ended.contains(need) && other != config.job().end() &&
           needs_ended(config, *other, ended);
  });
}

int default_shards(const proto::Job& job, int ranks) {
  if (job.select().shards() > 0) return job.select().shards();
  std::int64_t examples = 0;
  for (const infer::Task& task : selection_tasks(job.select()))
    examples += std::ssize(task.examples);
  const std::int64_t shards = kShardsOfRank * (job.ranks() > 0 ? job.ranks() : ranks);
  return static_cast<int>(std::clamp<std::int64_t>(std::min(shards, examples), 1, kMostShards));
}

/// The shards that have files, by the count of all.
std::map<int, std::set<int>> shards_with_files(const JobFolder& folder) {
  std::map<int, std::set<int>> found;
  if (!fs::exists(shards_folder(folder))) return found;
  for (const auto& entry : fs::directory_iterator(shards_folder(folder))) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(kEnding)) continue;
    const auto shard = parse_shard(std::string_view(name).substr(0, name.size() - kEnding.size()));
    if (shard && shard->count <= kMostShards) found[shard->count].insert(shard->index);
  }
  return found;
}

/// The shards that are done, of the count of which most are. What cannot be compared is not gone on with.
std::optional<ShardPlan> begun_shards(const Config& config, const proto::Job& job) {
  const JobFolder folder(config.output(), job.name());
  std::string inputs;
  try {
    inputs = sweep_inputs(config, job);
  } catch (const InputError&) {
    return std::nullopt;  // the job will say so
  }
  std::map<int, std::set<int>> done = shards_with_files(folder);
  for (auto& [count, indices] : done)
    std::erase_if(indices, [&](int index) { return !read_whole(folder, inputs, {index, count}); });
  std::erase_if(done, [](const auto& d) { return d.second.empty(); });
  if (done.empty()) return std::nullopt;
  const auto most = std::ranges::max_element(
      done, {}, [](const auto& d) { return static_cast<double>(d.second.size()) / d.first; });
  return ShardPlan{most->first, most->second};
}

}  // namespace

bool measures_layers(const proto::Job& job) {
  return job.has_select() && is_measured(job.select().strategy()) && job.select().scores().empty();
}

std::string to_string(const ScheduledName& name) {
  return name.shard ? name.job + '.' + to_text(*name.shard) : name.job;
}

ScheduledName parse_scheduled_name(const std::string& text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string::npos) return {text, {}};
  const auto shard = parse_shard(std::string_view(text).substr(dot + 1));
  HALO_REQUIRE(shard, str(text, " is the name of no job"));
  return {text.substr(0, dot), shard};
}

fs::path shards_folder(const JobFolder& folder) { return folder.path() / "shards"; }

std::vector<infer::Task> selection_tasks(const proto::Select& select) {
  return infer::read_tasks({select.tasks().begin(), select.tasks().end()}, select.max_examples());
}

SweptModels swept_models(const Config& config, const proto::Job& job) {
  const std::string& mixers = job.select().mixers();
  for (const proto::Job& other : config.job()) {
    if (other.name() == referenced_job(mixers) && other.has_train() &&
        other.train().stage() == proto::ALIGN)
      return {other.train().teacher(), mixers};
  }
  throw InputError(str(mixers, " is no ALIGN job of this config"));
}

std::string sweep_inputs(const Config& config, const proto::Job& job) {
  const SweptModels models = swept_models(config, job);
  Sha256 hash;
  const auto add = [&](std::string_view text) { hash.update(str(text.size(), ' ', text)); };
  add(proto::Precision_Name(job.precision()));
  for (const infer::Task& task : selection_tasks(job.select())) {
    add(str(task.name, ' ', static_cast<int>(task.type), ' ', task.examples.size()));
    for (const infer::TaskExample& example : task.examples) {
      add(str(example.correct, ' ', example.context));
      for (const std::string& answer : example.answers) add(answer);
    }
  }
  for (const std::string& reference : {models.teacher, models.mixers})
    add(fingerprint(open_model(reference, config.output())));
  add(read_file(tokenizer_of(models.teacher, config.output()) / "tokenizer.json"));
  return hash.hex_digest();
}

void write_shard(const JobFolder& folder, const std::string& inputs, const SweepShard& shard,
                 const SweepResult& result) {
  proto::SweepShardResult message;
  message.set_inputs(inputs);
  message.set_index(shard.index);
  message.set_count(shard.count);
  message.mutable_passes()->set_batches(result.passes.batches);
  message.mutable_passes()->set_teacher(result.passes.teacher);
  message.mutable_passes()->set_branches(result.passes.branches);
  message.mutable_passes()->set_decoding(result.passes.decoding);
  for (const auto& scores : result.scores) *message.add_task() = to_proto(scores);
  const std::string bytes = message.SerializeAsString();
  fs::create_directories(shards_folder(folder));
  write_file_atomically(path_of(folder, shard),
                        std::string(kHead) + checksum_text(bytes) + '\n' + bytes);
}

std::optional<SweepResult> read_shard(const JobFolder& folder, const std::string& inputs,
                                      const SweepShard& shard, const SweepResult& nothing) {
  const auto message = read_whole(folder, inputs, shard);
  if (!message || message->task_size() != static_cast<int>(nothing.scores.size()))
    return std::nullopt;
  SweepResult result = nothing;
  result.passes = {message->passes().batches(), message->passes().teacher(),
                   message->passes().branches(), message->passes().decoding()};
  for (int t = 0; t < message->task_size(); ++t)
    if (!from_proto(result.scores[static_cast<std::size_t>(t)], message->task(t)))
      return std::nullopt;
  return result;
}

SweepResult sum_of_shards(const JobFolder& folder, const std::string& inputs,
                          const SweepResult& nothing) {
  for (const auto& [count, indices] : shards_with_files(folder)) {
    SweepResult sum = nothing;
    bool whole = std::ssize(indices) == count;
    for (int i = 0; whole && i < count; ++i) {
      const auto shard = read_shard(folder, inputs, {i, count}, nothing);
      if (shard) method::LayerSweep::add(sum, *shard);
      whole = shard.has_value();
    }
    if (whole) return sum;
  }
  throw Error(str(shards_folder(folder).string(), ": does not hold the scores of all shards"));
}

std::map<std::string, ShardPlan> plan_shards(const Config& config,
                                             const std::set<std::string>& ended, int ranks) {
  std::map<std::string, ShardPlan> plans;
  for (const proto::Job& job : config.job()) {
    if (!measures_layers(job) || ended.contains(job.name())) continue;
    const fs::path folder = shards_folder(JobFolder(config.output(), job.name()));
    std::optional<ShardPlan> plan;
    if (fs::exists(folder)) {
      if (needs_ended(config, job, ended)) plan = begun_shards(config, job);
      if (!plan) fs::remove_all(folder);
    }
    plans[job.name()] = plan ? *plan : ShardPlan{default_shards(job, ranks), {}};
  }
  return plans;
}

}  // namespace halo::launch
