#include "launch/bench/checkpoint_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/checkpoint_saver.h"
#include "checkpoints/descriptor.h"
#include "checkpoints/output_file.h"
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "launch/bench/median.h"
#include "parallel/comm/local_communicator.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kColumns = 1024, kRows = 4096;  // of a tensor, like a model's

/// One rank's rows of some tensors with their moments.
class RankState {
 public:
  RankState(const CheckpointBenchOptions& options, comm::Communicator& ranks) {
    const double bytes_of_one = 3.0 * sizeof(float) * kColumns * kRows;
    const auto tensors =
        static_cast<int>(std::max(1.0, options.gib * static_cast<double>(1 << 30) / bytes_of_one));
    const std::int64_t begin = kRows * ranks.rank() / ranks.size();
    const std::int64_t end = kRows * (ranks.rank() + 1) / ranks.size();
    const Shape shape{end - begin, kColumns};
    values_.resize(static_cast<std::size_t>(3 * tensors * shape.elements()));
    const CounterRng rng(1, "state");
    for (std::size_t i = 0; i < values_.size(); ++i)
      values_[i] = static_cast<float>(rng.normal(i % 65536));
    float* next = values_.data();
    const auto take = [&] {
      float* const begin_of_it = next;
      next += shape.elements();
      return view(begin_of_it, shape);
    };
    for (int i = 0; i < tensors; ++i) {
      checkpoints::CheckpointPiece piece{
          str("tensor.", i), {kRows, kColumns}, {{begin, 0}, shape}, {}, {}, {}};
      for (TensorView* values : {&piece.master, &piece.m, &piece.v}) *values = take();
      pieces_.push_back(piece);
    }
  }
  [[nodiscard]] const std::vector<checkpoints::CheckpointPiece>& pieces() const { return pieces_; }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return std::as_bytes(std::span(values_));
  }
  /// Reads everything back over itself.
  void load(checkpoints::CheckpointReader& reader) {
    for (const auto& p : pieces_) {
      reader.read(p.name, checkpoints::Which::kMaster, p.region, p.master);
      reader.read(p.name, checkpoints::Which::kM, p.region, p.m);
      reader.read(p.name, checkpoints::Which::kV, p.region, p.v);
    }
  }

 private:
  std::vector<float> values_;
  std::vector<checkpoints::CheckpointPiece> pieces_;
};

void write_plainly(const fs::path& path, std::span<const std::byte> bytes) {
  checkpoints::OutputFile file(path);
  while (!bytes.empty()) {
    const std::size_t n = std::min<std::size_t>(bytes.size(), 1 << 20);
    file.write(bytes.first(n));
    bytes = bytes.subspan(n);
  }
  file.sync();
}

void read_plainly(const fs::path& path) {
  const checkpoints::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> block(1 << 20);
  ssize_t n = 0;
  do {
    n = ::read(file.get(), block.data(), block.size());
  } while (n > 0);
  HALO_REQUIRE(n == 0, str(path.string(), ": ", std::strerror(errno)));
}

/// Lets the system forget what it keeps of synced files, so that they are read from the disk.
void forget(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const checkpoints::Descriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (file) std::ignore = ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}

/// A folder that is removed with all it holds.
class ScratchFolder {
 public:
  explicit ScratchFolder(const fs::path& in) : path_(in / str(".halo_bench_", ::getpid())) {
    fs::create_directories(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;  // nothing is lost but space
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Seconds of each turn, as rank 0 sees them.
struct Seconds {
  std::vector<double> plain_write, save, save_beside, stalled, plain_read, load;
};

/// One rank's part in all turns.
class BenchRank {
 public:
  BenchRank(const CheckpointBenchOptions& options, fs::path folder, comm::Communicator& ranks)
      : folder_(std::move(folder)),
        ranks_(ranks),
        state_(options, ranks),
        saver_(root(), {.keep_last = 1}, ranks) {}

  void turn(Seconds& seconds) {
    seconds.plain_write.push_back(timed([&] { write_plainly(plain(), state_.bytes()); }));
    seconds.save.push_back(
        timed([&] { require_saved(saver_.save(next(), state_.pieces(), stream_)); }));
    double stalled = 0;
    seconds.save_beside.push_back(timed([&] {
      const double begin = steady_seconds();
      const auto failed = saver_.start(next(), state_.pieces(), stream_);
      stalled = steady_seconds() - begin;
      require_saved(failed ? *failed : saver_.wait().value());
    }));
    seconds.stalled.push_back(stalled);
    forget_all();
    seconds.plain_read.push_back(timed([&] { read_plainly(plain()); }));
    forget_all();
    seconds.load.push_back(timed([&] {
      const auto load = [&](checkpoints::CheckpointReader& reader) { state_.load(reader); };
      std::ignore = checkpoints::latest_good(root(), nullptr, ranks_, {{}, load});
    }));
  }
  [[nodiscard]] double bytes() const { return static_cast<double>(state_.bytes().size()); }

 private:
  [[nodiscard]] fs::path root() const { return folder_ / "checkpoints"; }
  [[nodiscard]] fs::path plain() const { return folder_ / str("plain_", ranks_.rank()); }
  [[nodiscard]] checkpoints::CheckpointInfo next() {
    checkpoints::CheckpointInfo info;
    info.step = ++step_;
    return info;
  }
  static void require_saved(const checkpoints::SaveResult& result) {
    HALO_REQUIRE(result.saved, str(result.folder.string(), ": ", result.reason));
  }
  void forget_all() {
    if (ranks_.rank() == 0) forget(folder_);
  }
  /// From when all ranks begin until all have ended.
  template <class Work>
  double timed(Work&& work) {
    ranks_.barrier().wait();
    const double begin = steady_seconds();
    work();
    ranks_.barrier().wait();
    return steady_seconds() - begin;
  }

  fs::path folder_;
  comm::Communicator& ranks_;
  Stream stream_{1};
  RankState state_;
  checkpoints::CheckpointSaver saver_;
  std::int64_t step_ = 0;
};

}  // namespace

CheckpointMeasurement measure_checkpoint(const CheckpointBenchOptions& options) {
  const ScratchFolder scratch(options.folder);
  Seconds seconds;
  CheckpointMeasurement m;
  comm::run_ranks(options.ranks, [&](comm::Communicator& ranks) {
    BenchRank rank(options, scratch.path(), ranks);
    double bytes = rank.bytes();
    ranks.all_reduce(view(&bytes, {1}), comm::ReduceOp::kSum).wait();
    Seconds own;
    for (int i = 0; i < options.turns; ++i) rank.turn(own);
    if (ranks.rank() != 0) return;
    seconds = own;
    m.bytes = bytes;
  });
  m.plain_write = m.bytes / median(seconds.plain_write);
  m.save = m.bytes / median(seconds.save);
  m.save_beside = m.bytes / median(seconds.save_beside);
  m.stalled = median(seconds.stalled);
  m.plain_read = m.bytes / median(seconds.plain_read);
  m.load = m.bytes / median(seconds.load);
  return m;
}

}  // namespace halo::launch
