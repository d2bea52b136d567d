#include "data/loader.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <utility>

#include "core/base/error.h"

namespace halo::data {

void BatchPlan::check() const {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  HALO_REQUIRE_INPUT(sequences >= 1 && sequences < kMost,
                     str("a batch of ", sequences, " sequences"));
  HALO_REQUIRE_INPUT(micro_sequences >= 1 && micro_sequences < kMost,
                     str("micro-batches of ", micro_sequences, " sequences"));
  HALO_REQUIRE_INPUT(length >= 1 && length < kMost, str("sequences of ", length, " tokens"));
  HALO_REQUIRE(data_ranks >= 1 && data_rank >= 0 && data_rank < data_ranks,
               str("data rank ", data_rank, " of ", data_ranks));
}

int BatchPlan::micro_batches() const {
  const std::int64_t together = micro_sequences * data_ranks;
  return static_cast<int>((sequences + together - 1) / together);
}

std::int64_t BatchPlan::first_slot(int micro_batch) const {
  return (std::int64_t{micro_batch} * data_ranks + data_rank) * micro_sequences;
}

std::int64_t BatchPlan::lanes(int micro_batch) const {
  return std::clamp<std::int64_t>(sequences - first_slot(micro_batch), 0, micro_sequences);
}

BatchReader::BatchReader(std::vector<std::shared_ptr<const TokenSource>> sources, Sampler sampler,
                         LoaderOptions options)
    : sources_(std::move(sources)), sampler_(std::move(sampler)), options_(options) {
  options_.plan.check();
  HALO_REQUIRE_INPUT(
      sampler_.length() == options_.plan.length,
      str("samples of ", sampler_.length(), " tokens for sequences of ", options_.plan.length));
  HALO_REQUIRE_INPUT(options_.first_sample >= 0, str("first_sample ", options_.first_sample));
}

bool BatchReader::repeats(std::int64_t step) const {
  const std::int64_t end = options_.first_sample + (step + 1) * options_.plan.sequences;
  return end > sampler_.distinct_samples();
}

std::vector<MicroBatch> BatchReader::read_step(std::int64_t step) const {
  HALO_REQUIRE(step >= 0, str("step ", step));
  std::vector<MicroBatch> batches;
  for (int i = 0; i < options_.plan.micro_batches(); ++i) batches.push_back(read(step, i));
  return batches;
}

MicroBatch BatchReader::read(std::int64_t step, int index) const {
  const BatchPlan& plan = options_.plan;
  MicroBatch batch{step, index, plan.length, plan.lanes(index), {}, {}};
  batch.tokens.resize(static_cast<std::size_t>(batch.T * batch.B));
  if (options_.document_masks) batch.document_start.resize(batch.tokens.size());
  const std::int64_t first = options_.first_sample + step * plan.sequences + plan.first_slot(index);
  std::vector<std::int32_t> sequence(static_cast<std::size_t>(plan.length));
  for (std::int64_t lane = 0; lane < batch.B; ++lane) {
    const TokenRange range = sampler_(first + lane);
    sources_.at(static_cast<std::size_t>(range.source))->read(range.begin, sequence);
    auto to = static_cast<std::size_t>(lane);
    for (const std::int32_t token : sequence) {
      batch.tokens[to] = token;
      to += static_cast<std::size_t>(batch.B);
    }
    if (options_.document_masks) mark_documents(range, lane, batch);
  }
  return batch;
}

void BatchReader::mark_documents(const TokenRange& range, std::int64_t lane,
                                 MicroBatch& batch) const {
  const auto starts =
      sources_.at(static_cast<std::size_t>(range.source))->document_starts(range.begin, range.end);
  auto next = starts.begin();
  std::int64_t start = 0;
  for (std::int64_t t = 0; t < batch.T; ++t) {
    for (; next != starts.end() && *next == range.begin + t; ++next) start = t;
    batch.document_start[static_cast<std::size_t>(t * batch.B + lane)] =
        static_cast<std::int32_t>(start);
  }
}

struct Loader::Impl {
  Impl(BatchReader batches, std::int64_t first, std::int64_t past, int ahead)
      : reader(std::move(batches)),
        step(first),
        end(past),
        limit(static_cast<std::size_t>(std::max(1, ahead))),
        thread([this](const std::stop_token& stop) { run(stop); }) {}

  void run(const std::stop_token& stop) {
    for (std::int64_t s = step; s < end; ++s) {
      std::exception_ptr problem;
      std::vector<MicroBatch> batches;
      try {
        batches = reader.read_step(s);
      } catch (...) {
        problem = std::current_exception();
      }
      std::unique_lock lock(mutex);
      if (problem) {
        failure = problem;
      } else {
        queue.push_back(std::move(batches));
      }
      changed.notify_all();
      if (problem) return;
      changed.wait(lock, stop, [&] { return queue.size() < limit; });
      if (stop.stop_requested()) return;
    }
  }

  std::vector<MicroBatch> next() {
    HALO_REQUIRE(step < end, str("the loader's steps end before step ", step));
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !queue.empty() || failure; });
    if (queue.empty()) std::rethrow_exception(failure);
    std::vector<MicroBatch> batches = std::move(queue.front());
    queue.pop_front();
    changed.notify_all();
    lock.unlock();
    repeated = repeated || reader.repeats(step);
    ++step;
    return batches;
  }

  BatchReader reader;
  std::int64_t step;  // that next() gives; the thread reads it before anyone can call next()
  std::int64_t end;
  std::size_t limit;
  bool repeated = false;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<std::vector<MicroBatch>> queue;
  std::exception_ptr failure;
  std::jthread thread;  // last, so that it ends first
};

Loader::Loader(BatchReader reader, std::int64_t first_step, std::int64_t end_step, int ahead)
    : impl_(std::make_unique<Impl>(std::move(reader), first_step, end_step, ahead)) {}
Loader::~Loader() = default;

std::vector<MicroBatch> Loader::next() { return impl_->next(); }
bool Loader::repeated() const { return impl_->repeated; }

}  // namespace halo::data
