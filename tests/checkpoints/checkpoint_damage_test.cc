#include <gtest/gtest.h>

#include <fstream>

#include "checkpoints/checkpoint_reader.h"
#include "core/base/file.h"
#include "parallel/comm/local_communicator.h"
#include "tests/checkpoints/expect_input_error.h"
#include "tests/checkpoints/sample_state.h"
#include "tests/temporary_folder.h"

namespace halo::checkpoints {
namespace {

class CheckpointDamageTest : public testing::Test {
 protected:
  CheckpointDamageTest() {
    comm::run_ranks(2, [&](comm::Communicator& ranks) {
      save_sample(folder_.path(), 1, DType::kFloat32, Cut::kLastAxis, ranks, 1);
      save_sample(folder_.path(), 2, DType::kFloat32, Cut::kRows, ranks, 2);
    });
  }
  static void write(const std::filesystem::path& path, std::string_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  /// That the newest is passed over with a warning that names `file`, and the one before is used.
  void expect_previous_is_used(const std::string& file, const std::string& reason) {
    std::string warning;
    const auto reader =
        latest_good(folder_.path(), [&](const std::string& text) { warning += text; });
    ASSERT_NE(reader, nullptr);
    ASSERT_EQ(reader->info().step, 1) << file << ": " << reason;
    EXPECT_NE(warning.find((newest_ / file).string()), std::string::npos) << warning;
    EXPECT_NE(warning.find(reason), std::string::npos) << warning;
  }

  test::TemporaryFolder folder_;
  std::filesystem::path newest_ = folder_.path() / "step_00000002";
};

TEST_F(CheckpointDamageTest, AnyFlippedByteOfAnyFileIsFound) {
  for (const std::string& file : names_in(newest_)) {
    const std::string bytes = read_file(newest_ / file);
    // A CRC finds any change of up to 32 bits in a row wherever it stands, so a sample of places and bits will do: 97
    // is prime and comes by every kind of structure in these files.
    constexpr std::size_t stride = 97;
    for (std::size_t i = 0; i < bytes.size(); i += stride) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
      write(newest_ / file, damaged);
      expect_previous_is_used(file, "");
      if (HasFailure()) return;
    }
    write(newest_ / file, bytes);
  }
  EXPECT_EQ(latest_good(folder_.path(), nullptr)->info().step, 2);
}

TEST_F(CheckpointDamageTest, TruncatedLongerAndMissingFilesAreFound) {
  for (const std::string& file : names_in(newest_)) {
    const std::string bytes = read_file(newest_ / file);
    const bool manifest = file == kManifestName;
    for (const std::size_t n :
         {std::size_t{0}, std::size_t{7}, bytes.size() / 2, bytes.size() - 1}) {
      write(newest_ / file, bytes.substr(0, n));
      expect_previous_is_used(file, manifest ? "checksum" : "bytes, the manifest says");
    }
    write(newest_ / file, bytes + "x");
    expect_previous_is_used(file, manifest ? "checksum" : "bytes, the manifest says");
    std::filesystem::remove(newest_ / file);
    expect_previous_is_used(file, "No such file or directory");
    write(newest_ / file, bytes);
  }
}

TEST_F(CheckpointDamageTest, FilesOfAnotherCheckpointAreFound) {
  std::filesystem::copy_file(folder_.path() / "step_00000001" / "rank_00001.h5",
                             newest_ / "rank_00001.h5",
                             std::filesystem::copy_options::overwrite_existing);
  expect_previous_is_used("rank_00001.h5", "manifest says");
}

TEST_F(CheckpointDamageTest, ADamagedFileIsNeverOpened) {
  const std::filesystem::path file = newest_ / "rank_00000.h5";
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write(file, bytes);
  CheckpointReader reader(newest_);  // the manifest and the sizes are right
  std::vector<float> out(78);
  expect_input_error(
      [&] {
        reader.read("model.embed_tokens.weight", Which::kMaster, parallel::whole({13, 6}),
                    view(out.data(), {13, 6}));
      },
      "rank_00000.h5: is damaged: its CRC-32C is");
}

/// A file that matches its checksum but not its manifest, as a faulty writer would leave: found by the values' own sums.
TEST_F(CheckpointDamageTest, ValuesThatDoNotMatchTheirOwnChecksumAreFound) {
  Manifest manifest = CheckpointReader(newest_).manifest();
  manifest.files[1].slices[0].crc[2] ^= 1u;
  write(newest_ / kManifestName, to_text(manifest));
  CheckpointReader reader(newest_);
  EXPECT_NO_THROW(reader.verify_files());
  expect_input_error([&] { reader.verify_values(); }, "rank_00001.h5: v of '");
  // Whoever reads the whole rectangle finds it, and the checkpoint before is loaded in its place.
  const std::string name = manifest.tensors[manifest.files[1].slices[0].tensor].name;
  std::vector<std::int64_t> loaded;
  std::string warning;
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    std::vector<float> values(1000);
    const auto load = [&](CheckpointReader& from) {
      const Shape shape = from.tensor(name).shape;
      from.read(name, Which::kM, parallel::whole(shape), view(values.data(), shape));
      if (ranks.rank() == 0) loaded.push_back(from.info().step);
      if (ranks.rank() == 1)
        from.read(name, Which::kV, parallel::whole(shape), view(values.data(), shape));
    };
    const auto warn = [&](const std::string& text) { warning += text; };
    const auto used = latest_good(folder_.path(), warn, ranks, {{}, load});
    EXPECT_EQ(used->info().step, 1);
  });
  EXPECT_EQ(loaded, (std::vector<std::int64_t>{2, 1}));
  EXPECT_NE(warning.find("rank 1: " + (newest_ / "rank_00001.h5").string()), std::string::npos)
      << warning;
}

TEST_F(CheckpointDamageTest, ACheckpointThatIsRefusedIsNotPassedOver) {
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    const auto refuse = [](const CheckpointReader& from) {
      throw InputError(str("step ", from.info().step, " is another run's"));
    };
    expect_input_error(
        [&] {
          std::ignore = latest_good(folder_.path(), nullptr, ranks, {refuse, {}});
        },
        "step 2 is another run's");
  });
}

/// A manifest that promises what the HDF5 file does not hold is an error, whichever way.
TEST_F(CheckpointDamageTest, AManifestThatDisagreesWithItsFilesIsFound) {
  const Manifest manifest = CheckpointReader(newest_).manifest();
  const auto refused = [&](const Manifest& wrong, const std::string& message) {
    write(newest_ / kManifestName, to_text(wrong));
    CheckpointReader reader(newest_);
    expect_input_error([&] { reader.verify_values(); }, message);
  };
  Manifest wrong = manifest;
  wrong.tensors.back().name = "another";
  refused(wrong, "another/0/master: cannot be opened");
  wrong = manifest;
  wrong.info.dtype = DType::kFloat64;
  refused(wrong, "is not of float64");
  wrong = manifest;
  for (RankFileEntry& file : wrong.files) {
    for (StoredSlice& slice : file.slices) {
      if (wrong.tensors[slice.tensor].name != "model.embed_tokens.weight") continue;
      std::swap(slice.region.offset[0], slice.region.offset[1]);
      std::swap(slice.region.shape[0], slice.region.shape[1]);
    }
  }
  for (CheckpointTensor& tensor : wrong.tensors) {
    if (tensor.name == "model.embed_tokens.weight") tensor.shape = {6, 13};
  }
  refused(wrong, "is not of shape");
}

TEST_F(CheckpointDamageTest, WhenNoneIsGoodItSaysSoInsteadOfStartingAnew) {
  for (const auto& folder : find_checkpoints(folder_.path())) {
    std::filesystem::remove(folder / "rank_00000.h5");
  }
  expect_input_error([&] { static_cast<void>(latest_good(folder_.path(), nullptr)); },
                     "none of its 2 checkpoints is whole; of the newest: ");
}

}  // namespace
}  // namespace halo::checkpoints
