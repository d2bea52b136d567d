#pragma once
#include <array>
#include <string>
#include <string_view>

#include "launch/config.h"

namespace halo::launch {

/// Fields of a job that decide how and where it runs and how often it is saved, and not what it computes.
inline constexpr std::array<std::string_view, 9> kHowFields{"layout",
                                                            "ranks",
                                                            "priority",
                                                            "retries",
                                                            "select.shards",
                                                            "train.checkpoint",
                                                            "train.recompute",
                                                            "train.dump_gradients_at",
                                                            "train.batch.micro_sequences"};

/// A field's value as text; empty in a job that has not the message that it is of.
[[nodiscard]] std::string field_text(const proto::Job& job, std::string_view path);
void clear_field(proto::Job& job, std::string_view path);

}  // namespace halo::launch
