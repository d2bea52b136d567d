#include "tests/checkpoints/sample_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "checkpoints/regions.h"
#include "core/base/rng.h"

namespace halo::checkpoints {
namespace {

using parallel::Region;

struct SampleTensor {
  std::string name;
  Shape shape;
  bool moments = true;
};

std::vector<SampleTensor> sample_tensors() {
  return {{"model.embed_tokens.weight", {13, 6}},
          {"model.layers.0.input_layernorm.weight", {7}},
          {"model.layers.0.self_attn.q_proj.weight", {5, 9}, false},
          {"one", {1}},
          {"cube", {3, 1, 4}},
          {"five", {2, 3, 1, 2, 3}},
          {"empty", {0, 4}}};
}

/// [begin, end) of share `i` of `n`; the shares' sizes differ.
Region share(const Shape& shape, int axis, int i, int n) {
  Region region = parallel::whole(shape);
  const auto edge = [&](int k) { return shape[axis] * k * k / (std::int64_t{n} * n); };
  region.offset[axis] = edge(i);
  region.shape[axis] = edge(i + 1) - edge(i);
  return region;
}

std::vector<Region> regions_of(const Shape& shape, std::size_t tensor, Cut cut, int rank,
                               int ranks) {
  switch (cut) {
    case Cut::kRows:
      return {share(shape, 0, rank, ranks)};
    case Cut::kLastAxis:
      return {share(shape, shape.rank() - 1, rank, ranks)};
    case Cut::kRoundRobin:
      if (static_cast<int>(tensor) % ranks != rank) return {};
      return {parallel::whole(shape)};
    case Cut::kTwoPieces:
      return {share(shape, 0, rank, 2 * ranks), share(shape, 0, ranks + rank, 2 * ranks)};
    case Cut::kLastRank:
      if (rank != ranks - 1) return {};
      return {parallel::whole(shape)};
  }
  return {};
}

/// The values of a region of a tensor; the whole tensor's flat index counts.
template <class T>
void fill(T* out, const CheckpointPiece& piece, Which which, int version) {
  const CounterRng rng(static_cast<std::uint64_t>(version),
                       str(piece.name, '/', which_name(which)));
  const Region& region = piece.region;
  for (std::int64_t i = 0; i < region.shape.elements(); ++i) {
    std::int64_t rest = i, flat = 0, stride = 1;
    for (int axis = region.shape.rank() - 1; axis >= 0; --axis) {
      flat += (region.offset[axis] + rest % region.shape[axis]) * stride;
      rest /= region.shape[axis];
      stride *= piece.global_shape[axis];
    }
    out[i] = static_cast<T>(rng.normal(static_cast<std::uint64_t>(flat)));
  }
}

}  // namespace

SampleState::SampleState(DType dtype, Cut cut, int rank, int ranks, int version) {
  const std::vector<SampleTensor> tensors = sample_tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    for (const Region& region : regions_of(tensors[i].shape, i, cut, rank, ranks)) {
      CheckpointPiece piece{tensors[i].name, tensors[i].shape, region, {}, {}, {}};
      piece.master = make_values(piece, Which::kMaster, dtype, version);
      if (tensors[i].moments) {
        piece.m = make_values(piece, Which::kM, dtype, version);
        piece.v = make_values(piece, Which::kV, dtype, version);
      }
      pieces_.push_back(piece);
    }
  }
}

TensorView SampleState::make_values(const CheckpointPiece& piece, Which which, DType dtype,
                                    int version) {
  const auto elements = static_cast<std::size_t>(piece.region.shape.elements());
  memory_.push_back(std::make_unique<std::byte[]>(elements * 8 + 8));
  const TensorView values(memory_.back().get(), dtype, piece.region.shape);
  dispatch_cpu_float(dtype,
                     [&](auto zero) { fill(values.as<decltype(zero)>(), piece, which, version); });
  return values;
}

void SampleState::expect_equal(CheckpointReader& reader) const {
  for (const CheckpointPiece& piece : pieces_) {
    if (piece.region.shape.elements() == 0 && !reader.contains(piece.name)) continue;
    const std::array<TensorView, 3> values = {piece.master, piece.m, piece.v};
    for (std::size_t k = 0; k < 3; ++k) {
      if (values[k].empty()) continue;
      std::vector<std::byte> got(values[k].bytes(), std::byte{0xaa});
      reader.read(piece.name, static_cast<Which>(k), piece.region,
                  {got.data(), values[k].dtype, piece.region.shape});
      EXPECT_TRUE(std::equal(got.begin(), got.end(), static_cast<std::byte*>(values[k].data)))
          << piece.name << ' ' << to_string(piece.region) << " which " << k;
    }
  }
}

CheckpointInfo sample_info(std::int64_t step, DType dtype) {
  CheckpointInfo info;
  info.step = step;
  info.adam_steps = step - 1;
  info.config_text = "output: \"runs/tiny\"\njob { name: \"na\\303\\257ve\" }\n";
  info.stage = "DISTILL";
  info.dtype = dtype;
  info.skipped = {{3, 5}, {8, 9}};
  info.notes = {{"teacher", "models/qwen3-tiny"}, {"teacher_sha256", "00ff"}};
  return info;
}

void save_sample(const std::filesystem::path& root, std::int64_t step, DType dtype, Cut cut,
                 comm::Communicator& ranks, int version, int keep_last) {
  const SampleState state(dtype, cut, ranks.rank(), ranks.size(), version);
  const SaveResult result = save_checkpoint(root, sample_info(step, dtype), state.pieces(), ranks,
                                            {.keep_last = keep_last});
  EXPECT_TRUE(result.saved) << result.reason;
  EXPECT_EQ(result.reason, "");
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void expect_round_trips(const std::filesystem::path& root, DType dtype, comm::Communicator& ranks) {
  std::int64_t step = 0;
  for (const Cut saved : kCuts) {
    ++step;
    save_sample(root, step, dtype, saved, ranks, static_cast<int>(step));
    const auto reader = latest_good(root, nullptr, ranks);
    ASSERT_NE(reader, nullptr);
    EXPECT_EQ(reader->info().step, step);
    for (const Cut cut : kCuts) {
      for (const int parts : {1, 2, 3, 5}) {
        for (int part = 0; part < parts; ++part) {
          SampleState(dtype, cut, part, parts, static_cast<int>(step)).expect_equal(*reader);
        }
      }
    }
  }
}

void expect_failure_of_one_rank_drops_it_everywhere(const std::filesystem::path& root,
                                                    comm::Communicator& ranks) {
  const DType dtype = DType::kFloat32;
  save_sample(root, 1, dtype, Cut::kRows, ranks);
  SampleState state(dtype, Cut::kRows, ranks.rank(), ranks.size());
  const int culprit = ranks.size() - 1;
  if (ranks.rank() == culprit) state.pieces().front().master.dtype = DType::kFloat64;
  const SaveResult result = save_checkpoint(root, sample_info(2, dtype), state.pieces(), ranks);
  EXPECT_FALSE(result.saved);
  const std::string expected = str("rank ", culprit, ": the piece ");
  EXPECT_EQ(result.reason.substr(0, expected.size()), expected) << result.reason;
  EXPECT_EQ(names_in(root), (std::vector<std::string>{"step_00000001"}));
  ranks.barrier().wait();
  save_sample(root, 2, dtype, Cut::kRows, ranks);
}

void expect_ranks_agree_on_the_latest_good(const std::filesystem::path& root,
                                           comm::Communicator& ranks) {
  EXPECT_EQ(latest_good(root, nullptr, ranks), nullptr) << "an empty folder has none";
  for (const std::int64_t step : {10, 20, 30}) {
    save_sample(root, step, DType::kFloat64, Cut::kRows, ranks, static_cast<int>(step));
  }
  // The last rank's file of the newest, which one rank alone looks at, and the manifest of the one before.
  if (ranks.rank() == 0) {
    const std::string last_file = names_in(root / "step_00000030").back();
    std::ofstream(root / "step_00000030" / last_file, std::ios::app) << 'x';
    std::filesystem::remove(root / "step_00000020" / kManifestName);
  }
  ranks.barrier().wait();
  int warnings = 0;
  const auto reader = latest_good(
      root, [&](const std::string&) { ++warnings; }, ranks);
  ASSERT_NE(reader, nullptr);
  EXPECT_EQ(reader->info().step, 10);
  EXPECT_EQ(warnings, ranks.rank() == 0 ? 2 : 0);
  SampleState(DType::kFloat64, Cut::kLastAxis, ranks.rank(), ranks.size(), 10)
      .expect_equal(*reader);
}

}  // namespace halo::checkpoints
