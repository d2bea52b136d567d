#include "core/base/json.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 128;

/// "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without what only a programmer reads.
std::string plain_reason(std::string_view what) {
  if (const auto end = what.find("] "); end != std::string_view::npos) what.remove_prefix(end + 2);
  constexpr std::string_view kPrefix = "parse error at ";
  if (what.substr(0, kPrefix.size()) == kPrefix) what.remove_prefix(kPrefix.size());
  return std::string(what);
}

/// Refuses deep nesting before the parser builds it. Brackets inside strings do not count.
void check_depth(std::string_view text, std::string_view name) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      HALO_REQUIRE_INPUT(++depth <= kMaxDepth,
                         str(name, ": byte ", i, ": nested deeper than ", kMaxDepth, " levels"));
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

}  // namespace

json parse_json(std::string_view text, std::string_view name) {
  check_depth(text, name);
  try {
    return json::parse(text.begin(), text.end());
  } catch (const json::exception& error) {
    throw InputError(str(name, ": ", plain_reason(error.what())));
  }
}

void JsonValue::fail(std::string_view reason) const { throw InputError(str(place_, ": ", reason)); }

void JsonValue::fail_type(std::string_view expected) const {
  std::string shown = value_->dump(-1, ' ', false, json::error_handler_t::replace);
  if (shown.size() > 40) shown = shown.substr(0, 40) + "...";
  fail(str("expected ", expected, ", found ", value_->type_name(), ' ', shown));
}

JsonValue JsonValue::at(std::string_view key) const {
  require_object();
  const auto found = value_->find(key);
  if (found == value_->end()) fail(str("has no \"", key, '"'));
  return {*found, str(place_, ": ", key)};
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  require_object();
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::nullopt;
  return JsonValue(*found, str(place_, ": ", key));
}

void JsonValue::allow_only(std::initializer_list<std::string_view> keys) const {
  require_object();
  const std::vector<std::string> known(keys.begin(), keys.end());
  for (const auto& [key, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_name(key, known);
    fail(str("unknown \"", key, '"', near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
}

std::size_t JsonValue::size() const {
  require_array();
  return value_->size();
}

JsonValue JsonValue::operator[](std::size_t i) const {
  if (i >= size()) fail(str("has ", size(), " entries, entry ", i, " is asked for"));
  return {(*value_)[i], str(place_, '[', i, ']')};
}

const std::string& JsonValue::string() const {
  if (!value_->is_string()) fail_type("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonValue::boolean() const {
  if (!value_->is_boolean()) fail_type("true or false");
  return value_->get<bool>();
}

double JsonValue::number() const {
  if (!value_->is_number()) fail_type("a number");
  return value_->get<double>();
}

std::int64_t JsonValue::integer(std::int64_t minimum, std::int64_t maximum) const {
  if (!value_->is_number_integer()) fail_type("a whole number");
  const bool huge = value_->is_number_unsigned() &&
                    value_->get<std::uint64_t>() >
                        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const std::int64_t number = huge ? maximum : value_->get<std::int64_t>();
  if (huge || number < minimum || number > maximum) {
    fail(str(value_->dump(), " is not in [", minimum, ", ", maximum, ']'));
  }
  return number;
}

void JsonValue::require_object() const {
  if (!value_->is_object()) fail_type("an object");
}

void JsonValue::require_array() const {
  if (!value_->is_array()) fail_type("an array");
}

}  // namespace halo
