#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/rng.h"
#include "core/base/stream.h"
#include "parallel/comm/communicator.h"
#include "parallel/sequence_cut.h"

namespace halo::parallel {

/// Values of a tensor (T, ...) in the order of the whole sequence, and a rank's part of them.
using Values = std::vector<double>;

inline Values random_sequence(std::int64_t elements, const std::string& name) {
  const CounterRng rng(7, name);
  Values values(static_cast<std::size_t>(elements));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = rng.normal(i);
  return values;
}

/// What `rank` holds of a sequence with `row` elements a token.
template <class T>
std::vector<T> local_part(const std::vector<T>& whole, std::int64_t row, const SequenceCut& cut,
                          int rank) {
  std::vector<T> part;
  for (const Fragment& f : cut.of_rank(rank))
    part.insert(part.end(), whole.begin() + f.begin * row, whole.begin() + f.end * row);
  return part;
}

/// Puts a rank's part back into the whole. Ranks write to different places.
inline void put_back(Values& whole, const Values& part, std::int64_t row, const SequenceCut& cut,
                     int rank) {
  for (const Fragment& f : cut.of_rank(rank))
    std::copy_n(part.begin() + f.local_begin * row, f.length() * row,
                whole.begin() + f.begin * row);
}

/// The largest difference over the largest value.
inline double relative_difference(const Values& a, const Values& b) {
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = std::max(difference, std::isfinite(a[i]) ? std::fabs(a[i] - b[i]) : INFINITY);
    largest = std::max(largest, std::fabs(b[i]));
  }
  return difference == 0 ? 0 : difference / largest;  // all may be 0
}

/// Document starts (T, B) of documents that begin at the given tokens; element b's are shifted by 3 b.
inline std::vector<std::int32_t> document_starts(std::int64_t T, std::int64_t B,
                                                 const std::vector<std::int64_t>& begins) {
  std::vector<std::int32_t> starts(static_cast<std::size_t>(T * B), 0);
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t b = 0; b < B; ++b) {
      for (const std::int64_t begin : begins)
        if (begin + 3 * b <= t)
          starts[static_cast<std::size_t>(t * B + b)] = static_cast<std::int32_t>(begin + 3 * b);
    }
  }
  return starts;
}

}  // namespace halo::parallel
