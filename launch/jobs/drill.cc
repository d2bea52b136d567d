#include "launch/jobs/drill.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/base/error.h"

namespace halo::launch {

Drill Drill::parse(const std::string& text) {
  Drill drill;
  char kind[8] = {};
  int end = 0;
  long long step = -1;
  const bool read =
      std::sscanf(text.c_str(), "%d:%lld:%7[a-z]%n", &drill.rank, &step, kind, &end) == 3 &&
      text.size() == static_cast<std::size_t>(end);
  const std::string name = kind;
  HALO_REQUIRE_INPUT(
      read && drill.rank >= 0 && step >= 0 &&
          (name == "throw" || name == "abort" || name == "hang"),
      str("HALO_DRILL=", text, ": expected RANK:STEP:KIND, KIND one of throw, abort, hang"));
  drill.step = step;
  drill.kind = name == "throw" ? Kind::kThrow : name == "abort" ? Kind::kAbort : Kind::kHang;
  return drill;
}

std::optional<Drill> Drill::from_environment(int ranks) {
  const char* const text = std::getenv("HALO_DRILL");
  if (text == nullptr) return std::nullopt;
  Drill drill = parse(text);
  HALO_REQUIRE_INPUT(drill.rank < ranks,
                     str("HALO_DRILL=", text, ": there are ", ranks, " ranks, counted from 0"));
  return drill;
}

void Drill::before_step(int own_rank, std::int64_t own_step) const {
  if (own_rank != rank || own_step != step) return;
  if (kind == Kind::kAbort) {
    std::fprintf(stderr, "a drill: HALO_DRILL lets rank %d abort before step %lld\n", rank,
                 static_cast<long long>(step));
    std::abort();
  }
  if (kind == Kind::kThrow)
    throw Error(str("a drill: HALO_DRILL asks rank ", rank, " to fail before step ", step));
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace halo::launch
