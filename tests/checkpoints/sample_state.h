#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "checkpoints/checkpoint.h"
#include "checkpoints/checkpoint_reader.h"
#include "parallel/comm/communicator.h"

namespace halo::checkpoints {

/// How the sample tensors are cut among ranks.
enum class Cut {
  kRows,        // along the first axis, in uneven shares
  kLastAxis,    // along the last axis
  kRoundRobin,  // whole tensors
  kTwoPieces,   // two far pieces of the first axis a rank
  kLastRank,    // everything on the last rank, so that the others write no values
};
inline constexpr std::array<Cut, 5> kCuts = {Cut::kRows, Cut::kLastAxis, Cut::kRoundRobin,
                                             Cut::kTwoPieces, Cut::kLastRank};

/// A small model's training state as one rank holds it: tensors of 1 to 5 axes, with a frozen one that has no moments.
/// Every value depends on tensor, place and `version` alone.
class SampleState {
 public:
  SampleState(DType dtype, Cut cut, int rank, int ranks, int version = 0);

  [[nodiscard]] const std::vector<CheckpointPiece>& pieces() const { return pieces_; }
  [[nodiscard]] std::vector<CheckpointPiece>& pieces() { return pieces_; }

  /// That the reader gives every value of these pieces, bit by bit, into views of the same dtype.
  void expect_equal(CheckpointReader& reader) const;

 private:
  TensorView make_values(const CheckpointPiece& piece, Which which, DType dtype, int version);

  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<CheckpointPiece> pieces_;
};

[[nodiscard]] CheckpointInfo sample_info(std::int64_t step, DType dtype);

/// Saves version `version` of the state as `step` on all ranks and expects success.
void save_sample(const std::filesystem::path& root, std::int64_t step, DType dtype, Cut cut,
                 comm::Communicator& ranks, int version = 0, int keep_last = 0);

/// The names in a folder, sorted.
[[nodiscard]] std::vector<std::string> names_in(const std::filesystem::path& folder);

/// What holds on any body of Communicator: collective over `ranks`, in an empty folder that all ranks see.
void expect_round_trips(const std::filesystem::path& root, DType dtype, comm::Communicator& ranks);
void expect_failure_of_one_rank_drops_it_everywhere(const std::filesystem::path& root,
                                                    comm::Communicator& ranks);
void expect_ranks_agree_on_the_latest_good(const std::filesystem::path& root,
                                           comm::Communicator& ranks);

}  // namespace halo::checkpoints
