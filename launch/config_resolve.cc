#include <google/protobuf/text_format.h>
#include <google/protobuf/util/field_mask_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/base/error.h"
#include "launch/config.h"
#include "launch/config_check.h"

namespace halo::launch {
namespace {

namespace pb = google::protobuf;

void set_default(pb::Message& message, const pb::FieldDescriptor& field) {
  const pb::Reflection& to = *message.GetReflection();
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return to.SetInt32(&message, &field, field.default_value_int32());
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return to.SetInt64(&message, &field, field.default_value_int64());
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return to.SetDouble(&message, &field, field.default_value_double());
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return to.SetBool(&message, &field, field.default_value_bool());
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return to.SetString(&message, &field, field.default_value_string());
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return to.SetEnum(&message, &field, field.default_value_enum());
    default:
      throw Error(str(field.full_name(), " has a default of a kind that is not provided for"));
  }
}

/// Writes out the schema's explicit defaults wherever a message stands.
void fill_defaults(pb::Message& message) {
  const pb::Descriptor& type = *message.GetDescriptor();
  const pb::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const pb::FieldDescriptor& field = *type.field(i);
    if (field.message_type() == nullptr) {
      if (field.has_default_value() && !reflection.HasField(message, &field)) {
        set_default(message, field);
      }
    } else if (field.is_repeated()) {
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        fill_defaults(*reflection.MutableRepeatedMessage(&message, &field, k));
      }
    } else if (reflection.HasField(message, &field)) {
      fill_defaults(*reflection.MutableMessage(&message, &field));
    }
  }
}

void fill_stage_defaults(proto::Train& train) {
  if (!train.has_stage()) return;  // the check says so
  proto::Train filled = proto::Stage_descriptor()
                            ->FindValueByNumber(train.stage())
                            ->options()
                            .GetExtension(proto::stage_defaults);
  filled.mutable_checkpoint();
  filled.mutable_guard();
  filled.MergeFrom(train);
  train = std::move(filled);
}

/// The one job among `job`'s needs that `matches`; empty when there is none or several.
template <class Matches>
std::string only_need(const Config& config, const proto::Job& job, const Matches& matches) {
  std::string found;
  for (const std::string& need : job.needs()) {
    for (const proto::Job& other : config.job()) {
      if (other.name() != need || !matches(other)) continue;
      if (!found.empty()) return "";
      found = "job:" + need;
    }
  }
  return found;
}

void complete_references(const Config& config, proto::Job& job) {
  if (job.has_select() && job.select().mixers().empty() && job.select().scores().empty()) {
    job.mutable_select()->set_mixers(only_need(config, job, [](const proto::Job& other) {
      return other.has_train() && other.train().stage() == proto::ALIGN;
    }));
  }
  if (job.has_export_() && job.export_().from().empty()) {
    job.mutable_export_()->set_from(
        only_need(config, job, [](const proto::Job& other) { return other.has_train(); }));
  }
}

/// Tokens that earlier jobs may have read, from the first on, of each file that they read by a known share of their
/// samples, and of each list of files that they read as one.
struct TokensRead {
  std::map<std::string, double> of_file;
  std::map<std::vector<std::string>, double> of_list;
};

/// One spelling for each file.
std::string spelt(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::vector<std::string> files_of(const proto::Data& data) {
  std::vector<std::string> files;
  for (const std::string& path : data.tokens()) files.push_back(spelt(path));
  return files;
}

/// Several files without weights are read one after the other, by shares that only their lengths tell.
bool reads_as_one(const proto::Data& data) {
  return data.tokens_size() > 1 && data.weight_size() == 0;
}

double share(const proto::Data& data, int file) {
  if (data.weight_size() == 0) return 1;
  double sum = 0;
  for (const double weight : data.weight()) sum += weight;
  return data.weight(file) / sum;
}

/// Throws InputError when a file of `data` was read in a way that does not tell how much of it is left.
void require_comparable(const proto::Data& data, const TokensRead& read) {
  const auto refuse = [](const std::string& file) {
    throw InputError(
        str("data.first_sample: an earlier job reads ", file,
            " in another list of files without weights, so where it ends is not known; give "
            "weights, or the sample to begin with"));
  };
  const std::vector<std::string> files = files_of(data);
  for (const std::string& given : data.tokens()) {
    const std::string file = spelt(given);
    if (reads_as_one(data) && read.of_file.count(file) > 0) refuse(given);
    for (const auto& [list, tokens] : read.of_list) {
      const bool holds = std::find(list.begin(), list.end(), file) != list.end();
      if (holds && !(reads_as_one(data) && list == files)) refuse(given);
    }
  }
}

std::int64_t first_free_sample(const proto::Data& data, const TokensRead& read) {
  require_comparable(data, read);
  double first = 0;
  const auto begin_after = [&](double tokens, double part) {
    const double samples = tokens / static_cast<double>(data.sequence_length());
    first = std::max(first, std::ceil(samples) / part);
  };
  for (int i = 0; i < data.tokens_size(); ++i) {
    const auto found = read.of_file.find(spelt(data.tokens(i)));
    if (found != read.of_file.end()) begin_after(found->second, share(data, i));
  }
  const auto list = read.of_list.find(files_of(data));
  if (list != read.of_list.end()) begin_after(list->second, 1);
  HALO_REQUIRE_INPUT(first < 1e18, str("data.first_sample would be ", first, ": too large"));
  // One more sample where files are mixed: a file's samples before a point differ from its share by less than one.
  // One more a file where files follow each other, since each leaves less than a sample over at its end.
  const int margin = first == 0 || data.tokens_size() == 1 ? 0
                     : reads_as_one(data)                  ? data.tokens_size()
                                                           : 1;
  return static_cast<std::int64_t>(std::ceil(first)) + margin;
}

void add_tokens_read(const proto::Train& train, TokensRead& read) {
  const proto::Data& data = train.data();
  const auto length = static_cast<double>(data.sequence_length());
  const double samples =
      static_cast<double>(data.first_sample()) +
      static_cast<double>(train.steps()) * static_cast<double>(train.batch().sequences());
  if (reads_as_one(data)) {
    double& tokens = read.of_list[files_of(data)];
    tokens = std::max(tokens, (samples + data.tokens_size()) * length);
    return;
  }
  for (int i = 0; i < data.tokens_size(); ++i) {
    const double mine = data.tokens_size() == 1 ? samples : std::ceil(samples * share(data, i)) + 1;
    double& tokens = read.of_file[spelt(data.tokens(i))];
    tokens = std::max(tokens, mine * length);
  }
}

void resolve_first_samples(Config& config, const std::map<std::string, Config>& stored) {
  TokensRead read;
  for (proto::Job& job : *config.mutable_job()) {
    if (!job.has_train()) continue;
    proto::Data& data = *job.mutable_train()->mutable_data();
    if (data.first_sample() < 0) {
      const auto before = stored.find(job.name());
      const bool known = before != stored.end() && before->second.job_size() == 1 &&
                         before->second.job(0).train().data().has_first_sample();
      data.set_first_sample(known ? before->second.job(0).train().data().first_sample()
                                  : first_free_sample(data, read));
    }
    add_tokens_read(job.train(), read);
  }
}

/// Fields that decide how, where or how long a job runs and not what it computes.
constexpr std::string_view kMayChange[] = {"Config.output",
                                           "Config.device",
                                           "Config.threads",
                                           "Config.comm_backend",
                                           "Config.deterministic",
                                           "Config.cuda_graphs",
                                           "Config.memory_gib",
                                           "Config.layout",
                                           "Config.precision",
                                           "Config.monitor",
                                           "Job.layout",
                                           "Job.precision",
                                           "Job.ranks",
                                           "Job.priority",
                                           "Job.retries",
                                           "Job.needs",
                                           "Job.seed",  // the config's says it
                                           "Job.report",
                                           "Select.shards",
                                           "Train.steps",
                                           "Train.checkpoint",
                                           "Train.guard",
                                           "Train.validation",
                                           "Train.recompute",
                                           "Train.dump_gradients_at",
                                           "Batch.micro_sequences"};

class Changes final : public pb::util::MessageDifferencer::Reporter {
 public:
  using Path = std::vector<pb::util::MessageDifferencer::SpecificField>;
  Changes(const Config& now, std::vector<FieldChange>& changes) : now_(now), changes_(changes) {}

  void ReportAdded(const pb::Message&, const pb::Message& now, const Path& path) override {
    changes_.push_back({name(path), "", value(now, path.back(), path.back().new_index)});
  }
  void ReportDeleted(const pb::Message& stored, const pb::Message&, const Path& path) override {
    changes_.push_back({name(path), value(stored, path.back(), path.back().index), ""});
  }
  void ReportModified(const pb::Message& stored, const pb::Message& now,
                      const Path& path) override {
    if (path.back().field->message_type() != nullptr) return;  // its fields are reported
    changes_.push_back({name(path), value(stored, path.back(), path.back().index),
                        value(now, path.back(), path.back().new_index)});
  }

 private:
  std::string name(const Path& path) const {
    std::string text;
    for (const auto& part : path) {
      text += (text.empty() ? "" : ".") + part.field->name();
      if (!part.field->is_repeated()) continue;
      const int index = std::max(part.index, part.new_index);
      const bool named = part.field->message_type() == proto::Job::descriptor() &&
                         index < now_.job_size() && !now_.job(index).name().empty();
      text += named ? str('[', now_.job(index).name(), ']') : str('[', index, ']');
    }
    return text;
  }
  static std::string value(const pb::Message& parent,
                           const pb::util::MessageDifferencer::SpecificField& part, int index) {
    std::string text;
    pb::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    printer.PrintFieldValueToString(parent, part.field, part.field->is_repeated() ? index : -1,
                                    &text);
    return text;
  }

  const Config& now_;
  std::vector<FieldChange>& changes_;
};

const pb::FieldDescriptor* find_field(std::string_view path) {
  return Config::descriptor()->file()->pool()->FindFieldByName(str("halo.launch.proto.", path));
}

/// What a config says beside its jobs and its sweep. Of hundreds of jobs none is copied.
Config without_jobs(const Config& config) {
  std::vector<const pb::FieldDescriptor*> given;
  config.GetReflection()->ListFields(config, &given);
  pb::FieldMask others;
  for (const pb::FieldDescriptor* field : given)
    if (field->name() != "job" && field->name() != "sweep" && field->name() != "trial")
      others.add_paths(field->name());
  Config rest;
  pb::util::FieldMaskUtil::MergeMessageTo(config, others, {}, &rest);
  return rest;
}

}  // namespace

Config resolve(const Config& config, std::string_view name,
               const std::map<std::string, Config>& stored) {
  try {
    Config resolved = config;
    (void)job_order(resolved);
    resolved.mutable_layout();
    resolved.mutable_monitor();
    for (proto::Job& job : *resolved.mutable_job()) {
      if (job.has_train()) fill_stage_defaults(*job.mutable_train());
    }
    fill_defaults(*resolved.mutable_layout());
    if (!resolved.has_precision()) resolved.set_precision(resolved.precision());
    for (proto::Job& job : *resolved.mutable_job()) {
      if (!job.has_layout()) *job.mutable_layout() = resolved.layout();
      if (!job.has_precision()) job.set_precision(resolved.precision());
      if (!job.has_seed()) job.set_seed(resolved.seed());
      complete_references(resolved, job);
    }
    fill_defaults(resolved);
    check_resolved(resolved);
    resolve_first_samples(resolved, stored);
    return resolved;
  } catch (const InputError& error) {
    throw InputError(str(name, ": ", error.what()));
  }
}

Config job_config(const Config& resolved, int job) {
  HALO_REQUIRE(job >= 0 && job < resolved.job_size(),
               str("job ", job, " of ", resolved.job_size(), " jobs"));
  Config one = without_jobs(resolved);
  *one.add_job() = resolved.job(job);
  *one.mutable_layout() = resolved.job(job).layout();
  one.set_precision(resolved.job(job).precision());
  one.set_seed(resolved.job(job).seed());
  return one;
}

std::string to_text(const Config& config) {
  pb::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  HALO_REQUIRE(printer.PrintToString(config, &text), "the config has no text form");
  return text;
}

std::vector<FieldChange> changes_of(const Config& before, const Config& now) {
  std::vector<FieldChange> changes;
  Changes reporter(now, changes);
  pb::util::MessageDifferencer differencer;
  differencer.ReportDifferencesTo(&reporter);
  (void)differencer.Compare(before, now);
  return changes;
}

std::vector<std::string> fields_that_may_change() {
  return {std::begin(kMayChange), std::end(kMayChange)};
}

std::vector<FieldChange> changes_that_forbid_resume(const Config& stored, const Config& now) {
  std::vector<FieldChange> changes;
  Changes reporter(now, changes);
  pb::util::MessageDifferencer differencer;
  differencer.ReportDifferencesTo(&reporter);
  for (const std::string_view path : kMayChange) {
    const pb::FieldDescriptor* field = find_field(path);
    HALO_REQUIRE(field != nullptr, str("the schema has no field ", path));
    differencer.IgnoreField(field);
  }
  (void)differencer.Compare(stored, now);
  return changes;
}

}  // namespace halo::launch
