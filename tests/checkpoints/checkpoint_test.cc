#include "checkpoints/checkpoint.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <chrono>
#include <thread>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/file.h"
#include "core/base/hdf5_lock.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

using comm::Communicator;
using comm::run_ranks;
using parallel::whole;

class CheckpointRanksTest : public testing::TestWithParam<int> {
 protected:
  test::TemporaryFolder folder_;
};

TEST_P(CheckpointRanksTest, Float32IsReadBackUnderAnyCut) {
  run_ranks(GetParam(), [&](Communicator& ranks) {
    expect_round_trips(folder_.path(), DType::kFloat32, ranks);
  });
}

TEST_P(CheckpointRanksTest, Float64IsReadBackUnderAnyCut) {
  run_ranks(GetParam(), [&](Communicator& ranks) {
    expect_round_trips(folder_.path(), DType::kFloat64, ranks);
  });
}

TEST_P(CheckpointRanksTest, FailureOfOneRankDropsItEverywhere) {
  run_ranks(GetParam(), [&](Communicator& ranks) {
    expect_failure_of_one_rank_drops_it_everywhere(folder_.path(), ranks);
  });
}

TEST_P(CheckpointRanksTest, RanksAgreeOnTheLatestGood) {
  run_ranks(GetParam(), [&](Communicator& ranks) {
    expect_ranks_agree_on_the_latest_good(folder_.path(), ranks);
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, CheckpointRanksTest, testing::Values(1, 2, 3, 4));

class CheckpointTest : public testing::Test {
 protected:
  void save(std::int64_t step, DType dtype, Cut cut = Cut::kRows, int version = 0) {
    run_ranks(2, [&](Communicator& ranks) {
      save_sample(folder_.path(), step, dtype, cut, ranks, version);
    });
  }
  [[nodiscard]] std::filesystem::path step(std::string_view name) const {
    return folder_.path() / name;
  }
  test::TemporaryFolder folder_;
};

TEST_F(CheckpointTest, TheFolderHoldsOneFileARankAndTheManifest) {
  save(1000, DType::kFloat32);
  EXPECT_EQ(names_in(folder_.path()), (std::vector<std::string>{"step_00001000"}));
  EXPECT_EQ(names_in(step("step_00001000")),
            (std::vector<std::string>{"manifest.textproto", "rank_00000.h5", "rank_00001.h5"}));
}

TEST_F(CheckpointTest, EverythingOfTheInfoComesBack) {
  save(7, DType::kFloat64);
  const CheckpointReader reader(step("step_00000007"));
  const CheckpointInfo expected = sample_info(7, DType::kFloat64);
  EXPECT_EQ(reader.info().step, 7);
  EXPECT_EQ(reader.info().adam_steps, 6);
  EXPECT_EQ(reader.info().config_text, expected.config_text);
  EXPECT_EQ(reader.info().stage, "DISTILL");
  EXPECT_EQ(reader.info().dtype, DType::kFloat64);
  EXPECT_EQ(reader.info().skipped, expected.skipped);
  EXPECT_EQ(reader.info().notes, expected.notes);
}

TEST_F(CheckpointTest, TheSameStateGivesTheSameFiles) {
  save(1, DType::kFloat32, Cut::kTwoPieces);
  const std::filesystem::path file = step("step_00000001") / "rank_00001.h5";
  const std::string first = read_file(file);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // formats keep times in seconds
  save(1, DType::kFloat32, Cut::kTwoPieces);
  EXPECT_EQ(read_file(file), first);
}

/// Any HDF5 program reads the files: by name, with offset and whole shape as attributes.
TEST_F(CheckpointTest, ValuesAreOrdinaryHdf5Datasets) {
  save(1, DType::kFloat32);
  const SampleState state(DType::kFloat32, Cut::kRows, 1, 2);
  const CheckpointPiece& piece = state.pieces().front();
  const std::scoped_lock lock(hdf5_mutex());
  const hid_t file =
      H5Fopen((step("step_00000001") / "rank_00001.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  const hid_t dataset = H5Dopen2(file, (piece.name + "/0/m").c_str(), H5P_DEFAULT);
  ASSERT_GE(dataset, 0);
  std::vector<float> values(static_cast<std::size_t>(piece.m.size()));
  ASSERT_GE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  EXPECT_TRUE(std::equal(values.begin(), values.end(), piece.m.as<float>()));
  const hid_t attribute = H5Aopen(dataset, "offset", H5P_DEFAULT);
  std::int64_t offset[2] = {-1, -1};
  ASSERT_GE(H5Aread(attribute, H5T_NATIVE_INT64, offset), 0);
  EXPECT_EQ(offset[0], piece.region.offset[0]);
  EXPECT_GT(offset[0], 0);
  EXPECT_EQ(offset[1], 0);
  H5Aclose(attribute);
  H5Dclose(dataset);
  H5Fclose(file);
}

TEST_F(CheckpointTest, ReadsConvertAndFillStridedViews) {
  save(1, DType::kFloat64);
  CheckpointReader reader(step("step_00000001"));
  const SampleState state(DType::kFloat64, Cut::kRoundRobin, 0, 1);
  const CheckpointPiece& piece = state.pieces().front();  // (13, 6)
  std::vector<float> out(15 * 10, -9.0f);
  reader.read(piece.name, Which::kV, {{1, 2}, {12, 3}},
              view(out.data(), {15, 10}).slice(0, 3, 15).slice(1, 4, 7));
  for (std::size_t i = 0; i < 15; ++i) {
    for (std::size_t j = 0; j < 10; ++j) {
      const bool inside = i >= 3 && j >= 4 && j < 7;
      const double value = inside ? piece.v.as<double>()[(i - 2) * 6 + j - 2] : -9.0;
      EXPECT_EQ(out[i * 10 + j], static_cast<float>(value));
    }
  }
}

TEST_F(CheckpointTest, ReadsWhatItCannotAsAnErrorWithNumbers) {
  save(1, DType::kFloat32);
  CheckpointReader reader(step("step_00000001"));
  std::vector<float> out(200);
  expect_input_error(
      [&] {
        reader.read("mode.embed_tokens.weight", Which::kMaster, whole({13, 6}),
                    view(out.data(), {13, 6}));
      },
      "did you mean 'model.embed_tokens.weight'?");
  expect_input_error(
      [&] {
        reader.read("cube", Which::kMaster, {{0, 0, 3}, {3, 1, 2}}, view(out.data(), {3, 1, 2}));
      },
      "has shape (3, 1, 4), wanted (3, 1, 2) at (0, 0, 3)");
  expect_input_error(
      [&] {
        reader.read("model.layers.0.self_attn.q_proj.weight", Which::kM, whole({5, 9}),
                    view(out.data(), {5, 9}));
      },
      "was saved without m and v");
}

TEST_F(CheckpointTest, PiecesThatDoNotFitTogetherAreRefused) {
  const auto refused = [&](const auto& spoil, const std::string& message) {
    run_ranks(2, [&](Communicator& ranks) {
      SampleState state(DType::kFloat32, Cut::kRows, ranks.rank(), 2);
      if (ranks.rank() == 1) spoil(state.pieces());
      const SaveResult result =
          save_checkpoint(folder_.path(), sample_info(1, DType::kFloat32), state.pieces(), ranks);
      EXPECT_FALSE(result.saved);
      EXPECT_NE(result.reason.find(message), std::string::npos) << result.reason;
    });
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  };
  using Pieces = std::vector<CheckpointPiece>;
  refused([](Pieces& pieces) { pieces.erase(pieces.begin()); },
          "tensor 'model.embed_tokens.weight': its slices hold 18 of 78 elements");
  refused([](Pieces& pieces) { --pieces[0].region.offset[0]; }, "overlap");
  refused([](Pieces& pieces) { pieces.push_back(pieces[0]); }, "overlap");
  refused([](Pieces& pieces) { ++pieces[0].region.offset[0]; }, "is no part of it");
  refused([](Pieces& pieces) { ++pieces[0].global_shape[0]; }, "ranks disagree about");
  refused([](Pieces& pieces) { pieces[0].m = {}; }, "one of m and v is missing");
  refused([](Pieces& pieces) { pieces[0].m = pieces[0].v = {}; }, "with moments and without");
  refused([](Pieces& pieces) { pieces[0].name = "a/b"; }, "unfit for a file");
  refused([](Pieces& pieces) { pieces[0].name = ""; }, "unfit for a file");
  refused([](Pieces& pieces) { pieces[0].master.strides[0] += 1; }, "wanted contiguous float32");
}

}  // namespace
}  // namespace halo::checkpoints
