#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/error.h"

namespace halo::checkpoints {

/// What a JSON text of one fixed form may hold: a subclass overrides the events that form has, every other is refused.
/// A text is read without building a tree, so that neither its depth nor its size costs memory.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return refuse("a null"); }
  bool boolean(bool) override { return refuse("true or false"); }
  bool number_integer(std::int64_t) override { return refuse("a negative number"); }
  bool number_unsigned(std::uint64_t) override { return refuse("a number"); }
  bool number_float(double, const std::string&) override {
    return refuse("a number that is no whole one");
  }
  bool string(std::string&) override { return refuse("a string"); }
  bool binary(nlohmann::json::binary_t&) override { return refuse("binary data"); }
  bool start_array(std::size_t) override { return refuse("an array"); }
  bool end_array() override { return refuse("an array"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    return reject(str("no JSON at byte ", position, " (", error.what(), ")"));
  }

  [[nodiscard]] const std::string& reason() const { return reason_; }

 protected:
  virtual bool refuse(std::string_view what) { return reject(str("holds ", what)); }
  /// Ends the parse with this reason.
  bool reject(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    return false;
  }

 private:
  std::string reason_;
};

/// Throws InputError "name: reason" when the text is no JSON or the events refuse it.
inline void parse_json_events(std::string_view text, JsonEvents& events, const std::string& name) {
  const bool ok = nlohmann::json::sax_parse(text, &events);
  HALO_REQUIRE_INPUT(ok && events.reason().empty(), str(name, ": ", events.reason()));
}

}  // namespace halo::checkpoints
