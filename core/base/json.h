#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace halo {

/// The JSON document `text`. Throws InputError "name: line 3, column 7: ..." for what is no JSON, for text that is not
/// UTF-8 and for nesting deeper than 128.
[[nodiscard]] nlohmann::json parse_json(std::string_view text, std::string_view name);

/// A value of a parsed document that knows where it stands ("tokenizer.json: model.vocab"), so that every complaint
/// names file, place and reason. A view: the document must outlive it. All methods throw InputError.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& value, std::string place)
      : value_(&value), place_(std::move(place)) {}

  [[nodiscard]] const nlohmann::json& raw() const { return *value_; }
  [[nodiscard]] const std::string& place() const { return place_; }
  /// Throws InputError "place: reason".
  [[noreturn]] void fail(std::string_view reason) const;

  /// The member `key` of an object: at() must find it, find() answers nothing when it is absent or null.
  [[nodiscard]] JsonValue at(std::string_view key) const;
  [[nodiscard]] std::optional<JsonValue> find(std::string_view key) const;
  /// Refuses members of other names, naming the nearest known one.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  /// Of an array.
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] JsonValue operator[](std::size_t i) const;

  [[nodiscard]] const std::string& string() const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] double number() const;
  /// A whole number in [minimum, maximum].
  [[nodiscard]] std::int64_t integer(std::int64_t minimum, std::int64_t maximum) const;
  void require_object() const;
  void require_array() const;

 private:
  [[noreturn]] void fail_type(std::string_view expected) const;

  const nlohmann::json* value_;
  std::string place_;
};

}  // namespace halo
