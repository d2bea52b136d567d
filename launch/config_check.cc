#include "launch/config_check.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <tuple>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/model_config.h"

namespace halo::launch {
namespace {

constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;

/// Fields of one message, checked under the path of that message.
class Fields {
 public:
  explicit Fields(std::string path) : path_(std::move(path)) {}

  template <class... Args>
  void require(bool ok, const Args&... reason) const {
    HALO_REQUIRE_INPUT(ok, str(path_, reason...));
  }
  void in_range(const char* field, std::int64_t value, std::int64_t low,
                std::int64_t high = kMaxCount) const {
    require(value >= low && value <= high, '.', field, " is ", value, ": it must be ", low, " to ",
            high);
  }
  /// low <= value < high, and finite.
  void number_in_range(const char* field, double value, double low, double high) const {
    require(std::isfinite(value) && value >= low && value < high, '.', field, " is ", value,
            ": it must be at least ", low,
            std::isfinite(high) ? str(" and below ", high) : std::string());
  }
  void given(const char* field, bool is_given) const {
    require(is_given, '.', field, " is missing");
  }
  [[nodiscard]] Fields in(const char* field) const { return Fields(path_ + '.' + field); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// What jobs give and take: every reference names a job of the right kind that has ended before.
class References {
 public:
  References(const Config& config, const proto::Job& job, const Fields& at)
      : config_(config), job_(job), at_(at) {}

  /// Paths pass; of "job:NAME" the job must be one of `kind`.
  template <class Kind>
  void check(const char* field, std::string_view reference, const char* kind_name,
             const Kind& kind) const {
    if (!reference.starts_with("job:")) return;
    const std::string_view name = referenced_job(reference);
    const int job = find_job(config_, name);
    if (job < 0) at_.require(false, '.', field, ": there is no job \"", name, '"', near(name));
    at_.require(ended_before(job), '.', field, ": job ", name,
                " may not have ended by then: add needs: \"", name, '"');
    at_.require(kind(config_.job(job)), '.', field, ": job ", name, " is no ", kind_name);
  }

 private:
  /// Whether the job is needed, directly or through others.
  bool ended_before(int wanted) const {
    std::vector<const proto::Job*> pending = {&job_};
    std::set<int> seen;
    while (!pending.empty()) {
      const proto::Job& job = *pending.back();
      pending.pop_back();
      for (const std::string& need : job.needs()) {
        const int needed = find_job(config_, need);
        if (needed == wanted) return true;
        if (seen.insert(needed).second) pending.push_back(&config_.job(needed));
      }
    }
    return false;
  }
  std::string near(std::string_view name) const {
    std::vector<std::string> names;
    for (const proto::Job& job : config_.job()) names.push_back(job.name());
    const std::string nearest = nearest_name(name, names);
    return nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?");
  }

  const Config& config_;
  const proto::Job& job_;
  const Fields& at_;
};

bool is_train(const proto::Job& job) { return job.has_train(); }
bool is_select(const proto::Job& job) { return job.has_select(); }
bool measures(const proto::Job& job) {
  return job.has_select() && is_measured(job.select().strategy());
}
bool is_align(const proto::Job& job) {
  return job.has_train() && job.train().stage() == proto::ALIGN;
}
bool gives_model(const proto::Job& job) {
  return job.has_train() && job.train().stage() != proto::ALIGN;
}

void check_layout(const proto::Layout& layout, const Fields& at) {
  constexpr std::int64_t kMaxRanks = 1 << 20;
  at.in_range("pipeline", layout.pipeline(), 1, kMaxRanks);
  at.in_range("context", layout.context(), 1, kMaxRanks);
  at.in_range("tensor", layout.tensor(), 1, kMaxRanks);
  at.in_range("chunks", layout.chunks(), 1, 1 << 10);
  at.in_range("bucket_elements", layout.bucket_elements(), 1);
}

void check_data(const proto::Data& data, std::int64_t shortest, const Fields& at) {
  at.given("tokens", data.tokens_size() > 0);
  for (const std::string& file : data.tokens()) at.require(!file.empty(), ".tokens: an empty name");
  at.require(data.weight_size() == 0 || data.weight_size() == data.tokens_size(), ".weight has ",
             data.weight_size(), " values for ", data.tokens_size(), " token files");
  for (const double weight : data.weight()) {
    at.require(std::isfinite(weight) && weight > 0, ".weight is ", weight, ": it must be above 0");
  }
  at.in_range("sequence_length", data.sequence_length(), shortest, std::int64_t{1} << 30);
  at.in_range("first_sample", data.first_sample(), -1);
}

void check_optimizer(const proto::Optimizer& optimizer, const Fields& at) {
  constexpr double kAny = std::numeric_limits<double>::infinity();
  at.number_in_range("lr", optimizer.lr(), 0, kAny);
  at.number_in_range("min_lr", optimizer.min_lr(), 0, kAny);
  at.require(optimizer.schedule() != proto::COSINE || optimizer.min_lr() <= optimizer.lr(),
             ".min_lr is ", optimizer.min_lr(), ", above lr ", optimizer.lr());
  at.in_range("warmup_steps", optimizer.warmup_steps(), 0);
  at.number_in_range("beta1", optimizer.beta1(), 0, 1);
  at.number_in_range("beta2", optimizer.beta2(), 0, 1);
  at.require(std::isfinite(optimizer.eps()) && optimizer.eps() > 0, ".eps is ", optimizer.eps(),
             ": it must be above 0");
  at.number_in_range("weight_decay", optimizer.weight_decay(), 0, kAny);
  at.number_in_range("grad_clip", optimizer.grad_clip(), 0, kAny);
}

void check_guard(const proto::Guard& guard, const Fields& at) {
  const double factor = guard.spike_factor();
  at.require(factor == 0 || (std::isfinite(factor) && factor > 1), ".spike_factor is ", factor,
             ": it must be above 1, or 0 where no loss is a spike");
  at.in_range("spike_window", guard.spike_window(), 1, 10000);
  at.in_range("rollback_after", guard.rollback_after(), 0, 1 << 20);
  at.in_range("max_rollbacks", guard.max_rollbacks(), 0, 1 << 20);
}

void check_keep_attention(const proto::Train& train, const Fields& at) {
  std::set<int> layers;
  for (const int layer : train.keep_attention()) {
    at.in_range("keep_attention", layer, 0, 1 << 20);
    at.require(layers.insert(layer).second, ".keep_attention names layer ", layer, " twice");
  }
  const std::string& from = train.keep_attention_from();
  at.require(layers.empty() || from.empty(),
             ": keep_attention and keep_attention_from exclude each other");
  at.require(from.empty() || !referenced_job(from).empty(), ".keep_attention_from is \"", from,
             "\": it must be \"job:NAME\" of a select job");
  const bool kept = !layers.empty() || !from.empty();
  at.require(!kept || train.stage() != proto::ALIGN,
             ": ALIGN trains a mixer for every layer and keeps none as attention");
}

/// What each stage is made from.
void check_models(const Config& config, const proto::Train& train, const Fields& at) {
  const bool pretrain = train.stage() == proto::PRETRAIN;
  const bool taught = train.stage() == proto::ALIGN || train.stage() == proto::DISTILL;
  if (pretrain) at.given("model", !train.model().empty());
  if (taught) at.given("teacher", !train.teacher().empty());
  if (train.stage() == proto::FINETUNE) at.given("student", !train.student().empty());
  at.require(pretrain || train.model().empty(), ".model is for PRETRAIN alone");
  at.require(taught || train.teacher().empty(), ".teacher is for ALIGN and DISTILL alone");
  at.require(!pretrain || train.student().empty(), ".student: PRETRAIN starts from fresh weights");

  if (train.stage() != proto::DISTILL) return;
  const int from = find_job(config, referenced_job(train.student()));
  const bool whole_model = !train.student().empty() && (from < 0 || !is_align(config.job(from)));
  at.require(whole_model || train.keep_attention_size() > 0 || !train.keep_attention_from().empty(),
             ": say which layers stay attention by keep_attention or keep_attention_from");
}

void check_train(const Config& config, const proto::Train& train, const Fields& at,
                 const References& references) {
  at.given("stage", train.has_stage());
  check_models(config, train, at);
  check_keep_attention(train, at);
  references.check("teacher", train.teacher(), "job that gives a model", gives_model);
  references.check("student", train.student(), "training job", is_train);
  references.check("model", train.model(), "job that gives a model", gives_model);
  references.check("keep_attention_from", train.keep_attention_from(), "select job", is_select);
  at.in_range("dump_gradients_at", train.dump_gradients_at(), -1);
  const bool next_token = train.stage() == proto::PRETRAIN || train.stage() == proto::FINETUNE;
  const std::int64_t shortest = next_token ? 2 : 1;  // a single token has no next one
  check_data(train.data(), shortest, at.in("data"));
  at.in_range("steps", train.steps(), 1);
  at.in("batch").in_range("sequences", train.batch().sequences(), 1, 1 << 30);
  at.in("batch").in_range("micro_sequences", train.batch().micro_sequences(), 0, 1 << 30);
  const double tokens = static_cast<double>(train.steps()) *
                            static_cast<double>(train.batch().sequences()) *
                            static_cast<double>(train.data().sequence_length()) +
                        static_cast<double>(train.data().first_sample());
  at.require(tokens < 1e18, ": ", tokens, " tokens are more than can be counted");
  check_optimizer(train.optimizer(), at.in("optimizer"));
  const Fields checkpoint = at.in("checkpoint");
  checkpoint.in_range("every_steps", train.checkpoint().every_steps(), 0);
  checkpoint.in_range("keep_last", train.checkpoint().keep_last(), 1, 1 << 20);
  checkpoint.in_range("keep_every", train.checkpoint().keep_every(), 0);
  checkpoint.require(!train.checkpoint().keep_best() || train.has_validation(),
                     ".keep_best is true, and there is no validation to say which is the best");
  check_guard(train.guard(), at.in("guard"));
  if (train.has_lightning_nkv()) at.in_range("lightning_nkv", train.lightning_nkv(), 1, 1 << 20);
  if (!train.has_validation()) return;
  const Fields validation = at.in("validation");
  validation.given("tokens", train.validation().tokens_size() > 0);
  validation.in_range("every_steps", train.validation().every_steps(), 1);
  validation.in_range("sequences", train.validation().sequences(), 1, 1 << 30);
  validation.in_range("sequence_length", train.validation().sequence_length(), 0, 1 << 30);
  validation.require(!next_token || train.validation().sequence_length() != 1,
                     ".sequence_length is 1: a single token has no next one");
}

void check_select(const proto::Select& select, const Fields& at, const References& references) {
  at.in_range("keep", select.keep(), 0, 1 << 20);
  at.in_range("max_examples", select.max_examples(), 0);
  at.in_range("shards", select.shards(), 0, 1000);
  references.check("mixers", select.mixers(), "ALIGN job", is_align);
  references.check("scores", select.scores(), "select job that measures", measures);
  if (!is_measured(select.strategy())) {
    at.require(!select.scores().empty() || !select.mixers().empty(),
               ".mixers: name the ALIGN job whose layers are chosen from");
    return;
  }
  at.require((select.tasks_size() > 0) != !select.scores().empty(),
             ": give either tasks to measure or a file of scores");
  at.require(select.tasks_size() == 0 || !select.mixers().empty(),
             ".mixers: name the ALIGN job whose mixers are tried");
}

void check_evaluate(const proto::Evaluate& evaluate, const Fields& at,
                    const References& references) {
  at.given("models", evaluate.models_size() > 0);
  for (const std::string& model : evaluate.models()) {
    at.require(!model.empty(), ".models: an empty name");
    references.check("models", model, "training job", is_train);
  }
  references.check("keep_attention_from", evaluate.keep_attention_from(), "select job", is_select);
  at.require(evaluate.tokens_size() + evaluate.tasks_size() > 0,
             ": give tokens or tasks to evaluate on");
  at.in_range("sequences", evaluate.sequences(), 1, 1 << 30);
  at.in_range("sequence_length", evaluate.sequence_length(), 2, 1 << 30);
  at.in_range("max_examples", evaluate.max_examples(), 0);
  if (evaluate.attn_logits_scaling().empty()) return;
  try {
    std::ignore = model::parse_logits_scaling(evaluate.attn_logits_scaling());
  } catch (const InputError& error) {
    at.require(false, ".attn_logits_scaling: ", error.what());
  }
}

void check_export(const proto::Export& export_job, const Fields& at, const References& references) {
  at.given("to", !export_job.to().empty());
  at.given("from", !export_job.from().empty());
  references.check("from", export_job.from(), "training job", is_train);
  const std::string& scaling = export_job.attn_logits_scaling();
  if (scaling.empty()) return;
  double base = 0;
  const char* end = scaling.data() + scaling.size();
  const bool hype = scaling.starts_with("hype ");
  const auto [rest, error] = std::from_chars(hype ? scaling.data() + 5 : end, end, base);
  at.require(hype && error == std::errc() && rest == end && std::isfinite(base) && base > 1,
             ".attn_logits_scaling is \"", scaling,
             "\": it must be \"hype A\" with a number A above 1, such as \"hype 500\"");
}

}  // namespace

bool is_measured(proto::Strategy strategy) {
  return strategy == proto::IMPORTANCE || strategy == proto::RECALL;
}

void check_resolved(const Config& config) {
  HALO_REQUIRE_INPUT(!config.output().empty(), "output is empty: name a folder");
  HALO_REQUIRE_INPUT(config.threads() >= 0 && config.threads() <= 4096,
                     str("threads is ", config.threads(), ": it must be 0 to 4096"));
  HALO_REQUIRE_INPUT(config.memory_gib() >= 0 && config.memory_gib() <= 1e6,
                     str("memory_gib is ", config.memory_gib(), ": it must be 0 to 1000000"));
  HALO_REQUIRE_INPUT(config.seed() >= 0, str("seed is ", config.seed(), ": it must be at least 0"));
  check_layout(config.layout(), Fields("layout"));
  const double seconds = config.monitor().log_every_seconds();
  HALO_REQUIRE_INPUT(std::isfinite(seconds) && seconds >= 0,
                     str("monitor.log_every_seconds is ", seconds, ": it must be at least 0"));
  for (const proto::Job& job : config.job()) {
    const Fields at(str("job[", job.name(), ']'));
    check_layout(job.layout(), at.in("layout"));
    at.in_range("ranks", job.ranks(), 0, 1 << 20);
    at.in_range("priority", job.priority(), -(1 << 20), 1 << 20);
    at.in_range("retries", job.retries(), 0, 1 << 20);
    at.in_range("seed", job.seed(), 0, std::numeric_limits<std::int64_t>::max());
    const auto under = [&](const char* work, auto check) {
      const Fields fields = at.in(work);
      check(fields, References(config, job, fields));
    };
    switch (job.work_case()) {
      case proto::Job::kTrain:
        under("train", [&](const Fields& f, const References& r) {
          check_train(config, job.train(), f, r);
        });
        break;
      case proto::Job::kSelect:
        under("select",
              [&](const Fields& f, const References& r) { check_select(job.select(), f, r); });
        break;
      case proto::Job::kEvaluate:
        under("evaluate",
              [&](const Fields& f, const References& r) { check_evaluate(job.evaluate(), f, r); });
        break;
      case proto::Job::kExport:
        under("export",
              [&](const Fields& f, const References& r) { check_export(job.export_(), f, r); });
        break;
      case proto::Job::kReport:
        break;
      case proto::Job::WORK_NOT_SET:
        at.require(false, " has no work: give it train, select, evaluate, export or report");
    }
  }
}

}  // namespace halo::launch
