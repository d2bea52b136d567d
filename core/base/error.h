#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace halo {

/// Every failure this project reports. `what()` is one message for a person: what failed, where and why, with the
/// numbers.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A failure of what the user gave: a file, a config, an option. Programs answer it with exit code 2.
class InputError : public Error {
 public:
  using Error::Error;
};

/// All arguments, written one after the other as by operator<<.
template <class... Args>
[[nodiscard]] std::string str(const Args&... args) {
  std::ostringstream text;
  (text << ... << args);
  return text.str();
}

[[noreturn]] inline void fail(const char* file, int line, std::string_view expression,
                              std::string_view reason) {
  throw Error(str(reason, " [", file, ':', line, ": ", expression, ']'));
}

}  // namespace halo

/// Checks what a caller can get wrong (shapes, peers, states); throws Error. On in every build. The reason may be any
/// expression that converts to string_view, such as str("T=", T, " exceeds ", limit).
#define HALO_REQUIRE(ok, reason) \
  ((ok) ? static_cast<void>(0) : ::halo::fail(__FILE__, __LINE__, #ok, (reason)))

/// Checks what a user can get wrong (files, config); throws InputError with just the reason.
#define HALO_REQUIRE_INPUT(ok, reason) \
  ((ok) ? static_cast<void>(0) : throw ::halo::InputError(reason))
