#pragma once
#include <gtest/gtest.h>

#include <string>

#include "core/base/error.h"

namespace halo::checkpoints {

/// That `body` throws InputError with a message that holds `part`.
template <class Body>
void expect_input_error(const Body& body, const std::string& part) {
  try {
    body();
    ADD_FAILURE() << "nothing was thrown, expected: " << part;
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << "said: " << error.what() << "\nexpected: " << part;
  }
}

}  // namespace halo::checkpoints
