#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "launch/health/rank_table.h"

namespace halo::launch {

/// Which ranks are steadily slower than the others of their job: ten steps in a row, as beats show them, whose own work took
/// 1.5 times the job's median and 20 ms more.
class SlowRanks {
 public:
  /// Looks at the last beats; to be called about as often as a rank sends one.
  void look(const RankTable& table);
  /// The slow ranks, and how many times their job's median their own work takes.
  [[nodiscard]] const std::map<int, double>& slow() const { return slow_; }

 private:
  struct Seen {
    std::string job;
    std::int64_t step = -1;
    int times = 0;  // in a row
  };
  std::map<int, Seen> seen_;
  std::map<int, double> slow_;
};

}  // namespace halo::launch
