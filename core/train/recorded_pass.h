#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/base/stream.h"

namespace halo::train {

/// What the kernel calls of a step's passes depend on, beside what lies in memory.
struct PassKey {
  double gradient_scale = 0.0;
  std::vector<std::array<std::int64_t, 3>> batches;  // T, B and whether there are documents
  [[nodiscard]] bool operator==(const PassKey&) const = default;
};

/// Passes that are the same call for call step after step, recorded as a CUDA graph once that has been seen: then the host
/// queues them by one call.
class RecordedPass {
 public:
  /// Calls of a key that are not recorded: algorithms are tried and memory settles.
  static constexpr int kUnrecorded = 2;
  /// After so many recordings keys change too often.
  static constexpr int kMostRecordings = 4;

  /// Of a GPU's stream, which must outlive it.
  explicit RecordedPass(Stream& stream);
  RecordedPass(const RecordedPass&) = delete;
  RecordedPass& operator=(const RecordedPass&) = delete;
  ~RecordedPass();

  /// Queues `pass`, which for an equal `key` queues the same calls on the same memory, but for what it allocates and
  /// releases itself. It runs here or, later on, may not: what it does on the host must not be missed. When it cannot be
  /// recorded it runs after all, from its beginning, and there is a warning.
  void run(const PassKey& key, const std::function<void()>& pass);

 private:
  void record(const std::function<void()>& pass);
  /// Gives the graph's memory to who needs it; whether there was one.
  bool release();

  Stream& stream_;
  std::unique_ptr<DeviceGraph> graph_;
  PassKey key_;
  int calls_ = 0;  // of key_
  int recordings_ = 0;
};

}  // namespace halo::train
