#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace halo::data {

struct SamplerOptions {
  std::int64_t length = 0;  // tokens a sample
  bool shuffle = false;
  std::uint64_t seed = 0;
  /// One a source: its share of the samples, on any scale. Empty: the sources are read one after the other, or, when
  /// shuffling, as one.
  std::vector<double> weights;
};

/// Tokens [begin, end) of a source.
struct TokenRange {
  std::int32_t source = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Which tokens make up sample i: a function of the options and i alone, so that any layout of ranks, and any restart,
/// reads the same. Each source is cut into whole samples from its first token on; what is left over at its end is never
/// read. After its last sample a source starts again, when shuffling in another order.
class Sampler {
 public:
  /// `source_tokens`: how many tokens each source holds. Throws InputError for a source shorter than one sample, for
  /// weights that are not positive and finite or not one a source.
  Sampler(std::span<const std::int64_t> source_tokens, SamplerOptions options);

  /// Sample i >= 0.
  [[nodiscard]] TokenRange operator()(std::int64_t i) const;

  [[nodiscard]] std::int64_t length() const { return options_.length; }
  /// Samples [0, n) are all different; sample n is the first that was read before.
  [[nodiscard]] std::int64_t distinct_samples() const { return distinct_samples_; }

 private:
  void build_turns();
  [[nodiscard]] std::int64_t find_distinct_with_weights() const;
  [[nodiscard]] TokenRange pick(std::int64_t source, std::int64_t index) const;
  [[nodiscard]] std::int64_t shuffled(std::int64_t index, std::int64_t samples,
                                      std::uint64_t stream) const;

  SamplerOptions options_;
  std::vector<std::int64_t> samples_;  // of each source
  std::vector<std::int64_t> ends_;     // without weights: running sums of samples_
  // With weights: turn t of a round belongs to source turns_[t], whose earlier turns in the round are before_[t].
  std::vector<std::int32_t> turns_;
  std::vector<std::int32_t> before_;
  std::vector<std::int32_t> quotas_;  // turns a round of each source
  std::int64_t distinct_samples_ = 0;
};

/// How many of `turns` each weight gets: proportional, at least one, `turns` in all. Exact when the weights are whole
/// multiples of their sum over `turns`.
[[nodiscard]] std::vector<std::int32_t> share_turns(std::span<const double> weights,
                                                    std::int32_t turns);

}  // namespace halo::data
