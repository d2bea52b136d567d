#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "launch/config.h"
#include "launch/config_text.h"

namespace halo::launch {
namespace {

namespace pb = google::protobuf;

constexpr std::size_t kMaxConfigBytes = 4 << 20;
constexpr std::size_t kMaxMessage = 1000;  // of what the parser says, which quotes the text

std::string quoted_hint(const std::string& nearest) {
  return nearest.empty() ? "" : str("; did you mean \"", nearest, "\"?");
}

std::vector<std::string> field_names(const pb::Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

/// Calls visit for a message type and all that it is made of, each once.
template <class Visit>
void for_each_type(const pb::Descriptor& root, std::set<const pb::Descriptor*>& seen,
                   const Visit& visit) {
  if (!seen.insert(&root).second) return;
  visit(root);
  for (int i = 0; i < root.field_count(); ++i) {
    if (root.field(i)->message_type() != nullptr) {
      for_each_type(*root.field(i)->message_type(), seen, visit);
    }
  }
}

std::string unknown_field(const pb::Descriptor& message, const std::string& field) {
  const std::vector<std::string> names = field_names(message);
  std::string hint = quoted_hint(nearest_name(field, names));
  if (hint.empty()) {
    std::set<const pb::Descriptor*> seen;
    for_each_type(*Config::descriptor(), seen, [&](const pb::Descriptor& other) {
      if (hint.empty() && other.FindFieldByName(field) != nullptr) {
        hint = str("; it belongs into ", other.name());
      }
    });
  }
  return str(message.name(), " has no field \"", field, '"', hint);
}

std::string unknown_value(const std::string& value, const std::string& field) {
  std::set<std::string> known;
  std::set<const pb::Descriptor*> seen;
  for_each_type(*Config::descriptor(), seen, [&](const pb::Descriptor& message) {
    const pb::FieldDescriptor* candidate = message.FindFieldByName(field);
    if (candidate == nullptr || candidate->enum_type() == nullptr) return;
    for (int i = 0; i < candidate->enum_type()->value_count(); ++i) {
      known.insert(candidate->enum_type()->value(i)->name());
    }
  });
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  const std::vector<std::string> names(known.begin(), known.end());
  return str("\"", value, "\" is no value of ", field, quoted_hint(nearest_name(value, names)),
             " (", list, ')');
}

/// The two texts X and Y of a message "<before>X<between>Y<after>"; nothing for other messages.
std::optional<std::pair<std::string, std::string>> two_words(std::string_view message,
                                                             std::string_view before,
                                                             std::string_view between,
                                                             std::string_view after) {
  if (!message.starts_with(before)) return std::nullopt;
  message.remove_prefix(before.size());
  const std::size_t middle = message.find(between);
  if (middle == std::string_view::npos) return std::nullopt;
  std::string_view second = message.substr(middle + between.size());
  if (!second.ends_with(after)) return std::nullopt;
  second.remove_suffix(after.size());
  return std::pair(std::string(message.substr(0, middle)), std::string(second));
}

/// The parser's message in this project's words.
std::string explain(const std::string& message) {
  if (const auto words = two_words(message, "Message type \"", "\" has no field named \"", "\".")) {
    std::string found;
    std::set<const pb::Descriptor*> seen;
    for_each_type(*Config::descriptor(), seen, [&](const pb::Descriptor& type) {
      if (type.full_name() == words->first) found = unknown_field(type, words->second);
    });
    if (!found.empty()) return found;
  }
  if (const auto words =
          two_words(message, "Unknown enumeration value of \"", "\" for field \"", "\".")) {
    return unknown_value(words->first, words->second);
  }
  if (message.starts_with("Expected string")) return message + " (texts stand in quotes)";
  return message;
}

/// Keeps the first error: what follows it is a consequence.
class FirstError final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    if (!error_) error_ = {line, column, message};
  }
  void AddWarning(int, pb::io::ColumnNumber, const std::string&) override {}

  struct Where {
    int line;  // from 0; -1 when unknown
    int column;
    std::string message;
  };
  [[nodiscard]] const std::optional<Where>& error() const { return error_; }

 private:
  std::optional<Where> error_;
};

// --- overrides ---

struct Segment {
  std::string name;
  std::string index;  // between brackets; empty without
};

/// "name" or "name[index]".
Segment parse_segment(std::string_view part) {
  const auto is_word = [](std::string_view text, std::string_view more) {
    return !text.empty() && std::ranges::all_of(text, [&](unsigned char c) {
      return c < 0x80 &&
             (std::isalnum(c) != 0 || more.find(static_cast<char>(c)) != std::string_view::npos);
    });
  };
  const std::size_t bracket = std::min(part.find('['), part.size());
  Segment segment{std::string(part.substr(0, bracket)), ""};
  bool ok = is_word(segment.name, "_");
  if (bracket < part.size()) {
    segment.index = part.substr(bracket + 1);
    ok = ok && segment.index.ends_with(']');
    if (ok) segment.index.pop_back();
    ok = ok && is_word(segment.index, "_-");
  }
  HALO_REQUIRE_INPUT(ok, str('"', part, "\" is no field, field[index] or job[name]"));
  return segment;
}

std::vector<Segment> split_path(std::string_view path) {
  std::vector<Segment> segments;
  std::size_t begin = 0;
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    segments.push_back(parse_segment(path.substr(begin, end - begin)));
    begin = end + 1;
  }
  return segments;
}

std::optional<int> position(const std::string& index) {
  int value = 0;
  const char* end = index.data() + index.size();
  const auto [rest, error] = std::from_chars(index.data(), end, value);
  if (error != std::errc() || rest != end || value < 0) return std::nullopt;
  return value;
}

int find_element(const pb::Message& parent, const pb::FieldDescriptor& field,
                 const std::string& index) {
  const int size = parent.GetReflection()->FieldSize(parent, &field);
  if (const std::optional<int> at = position(index); at && *at < size) return *at;
  std::string names;
  if (field.message_type() == proto::Job::descriptor()) {
    const auto& config = static_cast<const Config&>(parent);
    for (int i = 0; i < config.job_size(); ++i) {
      if (config.job(i).name() == index) return i;
      names += (i == 0 ? ": " : ", ") + config.job(i).name();
    }
  }
  throw InputError(str("no ", field.name(), '[', index, "]; there are ", size, names));
}

void set_one(pb::Message& message, const pb::FieldDescriptor& field, std::string value) {
  const bool is_text = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING;
  if (is_text && (value.empty() || (value.front() != '"' && value.front() != '\''))) {
    if (field.is_repeated()) {
      message.GetReflection()->AddString(&message, &field, std::move(value));
    } else {
      message.GetReflection()->SetString(&message, &field, std::move(value));
    }
    return;
  }
  if (field.name() == kAutoField && value == "AUTO") value = "-1";
  FirstError errors;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  const bool ok = parser.ParseFieldValueFromString(value, &field, &message);
  HALO_REQUIRE_INPUT(
      ok && !errors.error(),
      str('"', value.substr(0, 200), "\" does not fit ", field.name(),
          errors.error() ? ": " + explain(errors.error()->message.substr(0, kMaxMessage)) : ""));
}

void set_list(pb::Message& message, const pb::FieldDescriptor& field, std::string_view value) {
  message.GetReflection()->ClearField(&message, &field);
  if (value.size() < 2 || value.front() != '[' || value.back() != ']') {
    return set_one(message, field, std::string(value));
  }
  value = value.substr(1, value.size() - 2);
  const auto trimmed = [](std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return std::string(text);
  };
  if (trimmed(value).empty()) return;
  while (true) {
    const std::size_t comma = value.find(',');
    set_one(message, field, trimmed(value.substr(0, comma)));
    if (comma == std::string_view::npos) break;
    value.remove_prefix(comma + 1);
  }
}

void set_path(pb::Message& message, std::span<const Segment> path, std::string_view value) {
  const Segment& segment = path.front();
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(segment.name);
  HALO_REQUIRE_INPUT(field != nullptr, unknown_field(*message.GetDescriptor(), segment.name));
  const pb::Reflection& reflection = *message.GetReflection();
  const pb::OneofDescriptor* choice = field->containing_oneof();
  const pb::FieldDescriptor* chosen =
      choice != nullptr ? reflection.GetOneofFieldDescriptor(message, choice) : nullptr;
  HALO_REQUIRE_INPUT(chosen == nullptr || chosen == field,
                     str(segment.name, ": it has ", chosen == nullptr ? "" : chosen->name(),
                         " and only one of them can be"));
  if (path.size() > 1) {
    HALO_REQUIRE_INPUT(field->message_type() != nullptr, str(segment.name, " has no fields"));
    HALO_REQUIRE_INPUT(
        field->is_repeated() == !segment.index.empty(),
        str(segment.name,
            field->is_repeated() ? " needs an index or a name: " : " takes no index: ",
            segment.name, field->is_repeated() ? "[0]" : ""));
    pb::Message* child = field->is_repeated()
                             ? reflection.MutableRepeatedMessage(
                                   &message, field, find_element(message, *field, segment.index))
                             : reflection.MutableMessage(&message, field);
    return set_path(*child, path.subspan(1), value);
  }
  HALO_REQUIRE_INPUT(segment.index.empty(), str("an element of ", segment.name,
                                                " cannot be set alone: give the whole list"));
  HALO_REQUIRE_INPUT(!field->is_repeated() || field->message_type() == nullptr,
                     str(segment.name, " cannot be set whole: name a field of one"));
  if (field->is_repeated()) return set_list(message, *field, value);
  set_one(message, *field, std::string(value));
}

/// "train.steps": the path in each job whose work it is. False when the path starts otherwise.
bool set_in_every_job(Config& config, std::span<const Segment> path, std::string_view value) {
  const pb::OneofDescriptor& work = *proto::Job::descriptor()->oneof_decl(0);
  const pb::FieldDescriptor* field = proto::Job::descriptor()->FindFieldByName(path.front().name);
  if (field == nullptr || field->containing_oneof() != &work) return false;
  int count = 0;
  for (proto::Job& job : *config.mutable_job()) {
    if (!job.GetReflection()->HasField(job, field)) continue;
    set_path(job, path, value);
    ++count;
  }
  HALO_REQUIRE_INPUT(count > 0, str("the config has no ", field->name(), " job"));
  return true;
}

}  // namespace

Config parse_config(std::string_view text, std::string_view name) {
  HALO_REQUIRE_INPUT(
      text.size() <= kMaxConfigBytes,
      str(name, ": ", text.size(), " bytes are no config (at most ", kMaxConfigBytes, ')'));
  FirstError errors;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.SetRecursionLimit(32);
  Config config;
  const bool ok = parser.ParseFromString(to_text_format(text), &config);
  if (ok && !errors.error()) return config;
  if (!errors.error()) throw InputError(str(name, ": no config in text format"));
  const FirstError::Where& where = *errors.error();
  const std::string place = where.line < 0 ? "" : str(':', where.line + 1, ':', where.column + 1);
  throw InputError(str(name, place, ": ", explain(where.message.substr(0, kMaxMessage))));
}

Config read_config(const std::string& path) { return parse_config(read_file(path), path); }

void assign(Config& config, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  HALO_REQUIRE_INPUT(equals != std::string_view::npos, "expected path=value");
  const std::vector<Segment> path = split_path(assignment.substr(0, equals));
  const std::string_view value = assignment.substr(equals + 1);
  if (!set_in_every_job(config, path, value)) set_path(config, path, value);
}

bool takes_whole_numbers(std::string_view path) {
  const std::vector<Segment> segments = split_path(path);
  const pb::Descriptor* type = proto::Job::descriptor();
  const pb::FieldDescriptor* field = type->FindFieldByName(segments.front().name);
  if (field == nullptr || field->containing_oneof() == nullptr) type = Config::descriptor();
  for (const Segment& segment : segments) {
    HALO_REQUIRE_INPUT(type != nullptr, str(field->name(), " has no fields"));
    field = type->FindFieldByName(segment.name);
    HALO_REQUIRE_INPUT(field != nullptr, unknown_field(*type, segment.name));
    type = field->message_type();
  }
  return field->cpp_type() == pb::FieldDescriptor::CPPTYPE_INT32 ||
         field->cpp_type() == pb::FieldDescriptor::CPPTYPE_INT64;
}

void apply_override(Config& config, std::string_view assignment) {
  try {
    assign(config, assignment);
  } catch (const InputError& error) {
    throw InputError(str("--set ", assignment.substr(0, 200), ": ", error.what()));
  }
}

}  // namespace halo::launch
