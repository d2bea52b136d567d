#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/checkpoint_saver.h"
#include "core/train/optimizer.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {

/// A training job's checkpoints: when they are due, what is in them, and what a person is told of them. All ranks make the
/// same calls.
class JobCheckpoints {
 public:
  struct Options {
    std::string stage;                             // its name
    std::map<std::string, std::string> notes;      // for every manifest
    std::function<void(const std::string&)> tell;  // a line for a person, on rank 0
    /// Makes durable what belongs to the steps before a checkpoint; on rank 0, from any thread.
    std::function<void()> sync;
    std::function<void(checkpoints::CheckpointInfo&)> add;  // to what a manifest says
    std::function<bool()> keeps_all;                        // whether none goes when one is saved
  };
  /// `context` and `optimizer` must outlive it.
  JobCheckpoints(const JobContext& context, train::ShardedAdamW& optimizer, Options options);

  /// Whether one is due by its number, beside those that a job's end asks for.
  [[nodiscard]] bool due(std::int64_t steps_done) const;
  /// What this rank gives to the sums of a step, and what goes on by them after it.
  [[nodiscard]] checkpoints::CheckpointSaver::Votes votes() const { return saver_.votes(); }
  void advance(const checkpoints::CheckpointSaver::Votes& sums);
  /// Saves the state after `steps_done` steps. With `must_save` it is on disk when the call returns, and Error is thrown
  /// when it cannot be; otherwise it may still be under way, and a failure is told. Waits for the one before it.
  void save(std::int64_t steps_done, std::optional<double> validation, bool must_save);
  /// Waits for the one that is under way, if there is one.
  void wait();

  /// Reads the state of the newest good checkpoint up to `newest_step`, unless `accept` refuses it by throwing; returns it,
  /// null without one. Waits for one that is under way.
  std::unique_ptr<checkpoints::CheckpointReader> resume(
      const std::function<void(const checkpoints::CheckpointReader&)>& accept,
      std::int64_t newest_step);

 private:
  void set_retention();
  [[nodiscard]] checkpoints::CheckpointInfo info(std::int64_t steps_done,
                                                 std::optional<double> validation) const;
  void load(checkpoints::CheckpointReader& reader);
  void tell(const checkpoints::SaveResult& result) const;

  const JobContext& context_;
  const proto::Checkpoint& config_;
  train::ShardedAdamW& optimizer_;
  Options options_;
  checkpoints::CheckpointSaver saver_;
};

}  // namespace halo::launch
