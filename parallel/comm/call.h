#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halo::comm {

/// The communicator over which the ranks of a run hear what to do. Every rank always waits for the next word, so its calls are
/// neither recorded nor observed.
inline constexpr std::string_view kControlCommunicator = "control";

/// What a call belongs to, for the flight recorder: shown when a rank hangs or dies.
struct CallContext {
  std::int64_t step = -1;
  int micro_batch = -1;
  [[nodiscard]] bool operator==(const CallContext&) const = default;
};

/// One call of one rank.
struct Call {
  std::string_view op;  // a literal: "all_reduce", "exchange", ...
  std::string communicator;
  int ranks = 1;              // of the communicator
  std::size_t bytes = 0;      // of the whole buffer, of an exchange both ways
  std::size_t sent = 0;       // of an exchange
  std::vector<int> to, from;  // peers of an exchange, in the order of its messages
  CallContext context;
  [[nodiscard]] bool operator==(const Call&) const = default;
};
[[nodiscard]] std::string to_string(
    const Call& call);  // "all_reduce data 4096 bytes step 3 micro-batch 1"

/// Bytes that a rank sends in a call: of an all-reduce 2 (P - 1) / P of the buffer, of a gather or scatter (P - 1) / P, of
/// an exchange what it holds for others.
[[nodiscard]] double bytes_sent(const Call& call);

/// A call that has ended. Times are seconds of the process's steady clock, or of whoever simulates one.
struct CallSpan {
  Call call;
  double begin = 0;
  double end = 0;
  double waited = 0;  // of it, while the rank did nothing else
};

/// Sees every call of a rank that involves others, as it ends.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void on_call(const CallSpan& span) = 0;
};

}  // namespace halo::comm
