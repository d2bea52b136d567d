#pragma once
#include <string>

#include "core/base/error.h"

namespace halo::data {

/// The message of the InputError that `call` throws; any other outcome reads "no complaint".
inline std::string complaint(const auto& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no complaint";
}

inline bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace halo::data
