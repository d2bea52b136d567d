#include "launch/jobs/drill.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/health/address.h"

namespace halo::launch {
namespace {

constexpr std::array<std::pair<std::string_view, Drill::Kind>, 8> kKinds{
    {{"throw", Drill::Kind::kThrow},
     {"abort", Drill::Kind::kAbort},
     {"hang", Drill::Kind::kHang},
     {"kill", Drill::Kind::kKill},
     {"stop", Drill::Kind::kStop},
     {"segv", Drill::Kind::kSegv},
     {"exit", Drill::Kind::kExit},
     {"term", Drill::Kind::kTerm}}};
constexpr std::array<std::string_view, 5> kOutside{"starting", "loading", "job", "sweeping",
                                                   "job_ended"};
constexpr std::array<std::string_view, 13> kInside{"step",
                                                   "forward",
                                                   "backward",
                                                   "collective",
                                                   "optimizer",
                                                   "step_done",
                                                   "validating",
                                                   "saving",
                                                   "checkpoint_begun",
                                                   "checkpoint_file",
                                                   "checkpoint_files",
                                                   "checkpoint_manifest",
                                                   "checkpoint_saved"};

bool is_outside(std::string_view place) {
  return std::ranges::find(kOutside, place) != kOutside.end();
}

bool read_number(const std::string& text, std::int64_t& value) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value >= 0;
}

}  // namespace

Drill Drill::parse(const std::string& text) {
  Drill drill;
  const std::vector<std::string> parts = split(text, ':');
  std::int64_t rank = -1;
  const bool numbers = parts.size() >= 3 && parts.size() <= 5 && read_number(parts[0], rank) &&
                       rank < (1 << 30) && read_number(parts[1], drill.step);
  const auto kind =
      std::ranges::find_if(kKinds, [&](const auto& k) { return numbers && k.first == parts[2]; });
  HALO_REQUIRE_INPUT(numbers && kind != kKinds.end() && (parts.size() < 5 || parts[4] == "always"),
                     str("HALO_DRILL=", text,
                         ": expected RANK:STEP:KIND[:PLACE[:always]], KIND one of throw, abort, "
                         "hang, kill, stop, segv, exit, term"));
  drill.rank = static_cast<int>(rank);
  drill.kind = kind->second;
  if (parts.size() > 3) drill.place = parts[3];
  drill.always = parts.size() == 5;
  std::vector<std::string> places(kInside.begin(), kInside.end());
  places.insert(places.end(), kOutside.begin(), kOutside.end());
  HALO_REQUIRE_INPUT(std::ranges::find(places, drill.place) != places.end(),
                     str("HALO_DRILL=", text, ": no place ", drill.place, "; did you mean ",
                         nearest_name(drill.place, places), "?"));
  return drill;
}

/// The drill of this start of the run: the first for the first, the next for the start after that; the last is for all that
/// follow when it says "always".
std::optional<Drill> Drill::from_environment(int ranks) {
  const char* const text = std::getenv("HALO_DRILL");
  if (text == nullptr) return std::nullopt;
  std::vector<Drill> drills;
  for (const std::string& one : split(text, ';')) {
    drills.push_back(parse(one));
    HALO_REQUIRE_INPUT(drills.back().rank < ranks,
                       str("HALO_DRILL=", one, ": there are ", ranks, " ranks, counted from 0"));
  }
  const auto start = static_cast<std::size_t>(restarts_before());
  if (start < drills.size()) return drills[start];
  return drills.back().always ? std::optional(drills.back()) : std::nullopt;
}

bool Drill::is_due(int own_rank, const ProgressPoint& point) {
  if (own_rank != rank || done_) return false;
  if (point.name == "step") step_ = point.step;
  if (point.name == "job" || point.name == "job_ended") step_ = -1;
  if (point.name != place) return false;
  const std::int64_t at = point.step >= 0 ? point.step : step_;
  done_ = is_outside(place) ? passed_++ == step : at == step;
  return done_;
}

void Drill::on_point(int own_rank, const ProgressPoint& point) {
  if (is_due(own_rank, point)) strike();
}

void Drill::strike() const {
  std::fprintf(stderr, "a drill: HALO_DRILL lets rank %d fail in step %lld at %s\n", rank,
               static_cast<long long>(step), place.c_str());
  switch (kind) {
    case Kind::kThrow:
      throw Error(
          str("a drill: HALO_DRILL asks rank ", rank, " to fail in step ", step, " at ", place));
    case Kind::kAbort:
      std::abort();
    case Kind::kKill:
      std::raise(SIGKILL);
      break;
    case Kind::kStop:
      std::raise(SIGSTOP);
      break;
    case Kind::kSegv:
      std::raise(SIGSEGV);
      break;
    case Kind::kExit:
      std::_Exit(3);
    case Kind::kTerm:
      std::raise(SIGTERM);
      break;
    case Kind::kHang:
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

}  // namespace halo::launch
