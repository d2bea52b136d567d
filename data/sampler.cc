#include "data/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "data/permutation.h"

namespace halo::data {
namespace {

constexpr std::int32_t kMaxTurns = 1 << 14;

/// The shortest round in which every weight gets a whole number of turns, or kMaxTurns when there is none.
std::int32_t round_length(std::span<const double> weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::int32_t turns = 1; turns < kMaxTurns; ++turns) {
    const bool whole = std::all_of(weights.begin(), weights.end(), [&](double weight) {
      const double share = weight / sum * turns;
      return std::round(share) >= 1 && std::fabs(share - std::round(share)) <= 1e-9 * share;
    });
    if (whole) return turns;
  }
  return kMaxTurns;
}

void check_weights(std::span<const double> weights, std::size_t sources) {
  HALO_REQUIRE_INPUT(weights.size() == sources,
                     str(weights.size(), " weights for ", sources, " token files"));
  for (const double weight : weights) {
    HALO_REQUIRE_INPUT(std::isfinite(weight) && weight > 0,
                       str("weight ", weight, " of a token file is not positive"));
  }
}

}  // namespace

std::vector<std::int32_t> share_turns(std::span<const double> weights, std::int32_t turns) {
  HALO_REQUIRE(std::cmp_less_equal(weights.size(), turns),
               str(turns, " turns for ", weights.size(), " sources"));
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::int32_t> quotas;
  for (const double weight : weights) {
    quotas.push_back(std::max(1, static_cast<std::int32_t>(weight / sum * turns)));
  }
  // One turn at a time to whoever is furthest below its share, or from whoever is furthest above.
  const auto lack = [&](std::size_t i) { return weights[i] / sum * turns - quotas[i]; };
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (auto given = std::accumulate(quotas.begin(), quotas.end(), 0); given != turns;) {
    const int step = given < turns ? 1 : -1;
    const auto chosen = *std::max_element(order.begin(), order.end(), [&](auto a, auto b) {
      if (step < 0 && (quotas[a] == 1) != (quotas[b] == 1)) return quotas[a] == 1;
      return step * lack(a) < step * lack(b);
    });
    quotas[chosen] += step;
    given += step;
  }
  return quotas;
}

Sampler::Sampler(std::span<const std::int64_t> source_tokens, SamplerOptions options)
    : options_(std::move(options)) {
  HALO_REQUIRE(options_.length >= 1, str("samples of ", options_.length, " tokens"));
  HALO_REQUIRE_INPUT(!source_tokens.empty(), "no token file is given");
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < source_tokens.size(); ++i) {
    samples_.push_back(source_tokens[i] / options_.length);
    HALO_REQUIRE_INPUT(samples_.back() >= 1,
                       str("token file ", i, " holds ", source_tokens[i],
                           " tokens, fewer than one sample of ", options_.length));
    sum += samples_.back();
    ends_.push_back(sum);
  }
  distinct_samples_ = sum;
  if (options_.weights.empty()) return;
  check_weights(options_.weights, samples_.size());
  build_turns();
  distinct_samples_ = find_distinct_with_weights();
}

/// Turns are spread evenly: each goes to the source that is furthest behind its share.
void Sampler::build_turns() {
  const auto sources = static_cast<std::int32_t>(samples_.size());
  HALO_REQUIRE_INPUT(sources <= kMaxTurns / 4,
                     str(sources, " token files with weights, at most ", kMaxTurns / 4));
  const std::int32_t turns = round_length(options_.weights);
  quotas_ = share_turns(options_.weights, turns);
  std::vector<std::int64_t> credit(samples_.size());
  std::vector<std::int32_t> taken(samples_.size());
  for (std::int32_t turn = 0; turn < turns; ++turn) {
    for (std::size_t i = 0; i < credit.size(); ++i) credit[i] += quotas_[i];
    const auto next = std::max_element(credit.begin(), credit.end()) - credit.begin();
    const auto source = static_cast<std::size_t>(next);
    credit[source] -= turns;
    turns_.push_back(static_cast<std::int32_t>(source));
    before_.push_back(taken[source]++);
  }
}

std::int64_t Sampler::find_distinct_with_weights() const {
  const auto round = static_cast<std::int64_t>(turns_.size());
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t turn = 0; turn < round; ++turn) {
    const auto t = static_cast<std::size_t>(turn);
    const auto source = static_cast<std::size_t>(turns_[t]);
    // This turn reads the source's sample r * quota + before in round r; the first that is not below samples_.
    const std::int64_t quota = quotas_[source];
    const std::int64_t missing = std::max<std::int64_t>(0, samples_[source] - before_[t]);
    const std::int64_t rounds = (missing + quota - 1) / quota;
    if (rounds > (std::numeric_limits<std::int64_t>::max() - turn) / round) continue;
    first = std::min(first, rounds * round + turn);
  }
  return first;
}

std::int64_t Sampler::shuffled(std::int64_t index, std::int64_t samples,
                               std::uint64_t stream) const {
  const std::int64_t epoch = index / samples;
  const CounterRng rng(options_.seed, str("data.shuffle.", stream));
  return Permutation(samples, rng.bits(static_cast<std::uint64_t>(epoch)))(index % samples);
}

TokenRange Sampler::pick(std::int64_t source, std::int64_t index) const {
  return {static_cast<std::int32_t>(source), index * options_.length,
          (index + 1) * options_.length};
}

TokenRange Sampler::operator()(std::int64_t i) const {
  HALO_REQUIRE(i >= 0, str("sample ", i));
  if (turns_.empty()) {
    const std::int64_t all = ends_.back();
    const std::int64_t index = options_.shuffle ? shuffled(i, all, 0) : i % all;
    const auto source = std::upper_bound(ends_.begin(), ends_.end(), index) - ends_.begin();
    const std::int64_t begin = source == 0 ? 0 : ends_[static_cast<std::size_t>(source) - 1];
    return pick(source, index - begin);
  }
  const auto round = static_cast<std::int64_t>(turns_.size());
  const auto turn = static_cast<std::size_t>(i % round);
  const auto source = static_cast<std::size_t>(turns_[turn]);
  const std::int64_t index = i / round * quotas_[source] + before_[turn];
  const std::int64_t samples = samples_[source];
  return pick(static_cast<std::int64_t>(source),
              options_.shuffle ? shuffled(index, samples, source + 1) : index % samples);
}

}  // namespace halo::data
