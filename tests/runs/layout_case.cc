#include "tests/runs/layout_case.h"

#include <array>
#include <ostream>

namespace halo::test {

void PrintTo(const LayoutCase& c, std::ostream* out) {
  *out << "pipeline " << c.layout.pipeline << " context " << c.layout.context << " tensor "
       << c.layout.tensor << " data " << c.layout.data << " chunks " << c.chunks << ' '
       << c.context_attention << ' ' << c.context_state << (c.recompute ? " recompute" : "")
       << (c.overlap ? "" : " apart") << " buckets of " << c.bucket_elements;
}

std::vector<LayoutCase> layout_cases(int max_ranks, int layers, int heads) {
  // Attention, state, recomputation, chunks, overlap and buckets in 8 rows, of which any two columns hold every pair.
  constexpr std::array<std::array<int, 6>, 8> kRows{{{0, 0, 0, 0, 0, 0},
                                                     {1, 1, 1, 1, 0, 0},
                                                     {0, 1, 1, 0, 1, 1},
                                                     {1, 0, 0, 1, 1, 1},
                                                     {0, 1, 0, 1, 1, 0},
                                                     {1, 0, 1, 0, 1, 0},
                                                     {0, 0, 1, 1, 0, 1},
                                                     {1, 1, 0, 0, 0, 1}}};
  std::vector<LayoutCase> cases;
  for (int pipeline = 1; pipeline <= std::min(max_ranks, layers); ++pipeline) {
    for (int context = 1; pipeline * context <= max_ranks; ++context) {
      for (int tensor = 1; tensor <= heads && pipeline * context * tensor <= max_ranks; ++tensor) {
        for (int data = 1; pipeline * context * tensor * data <= max_ranks; ++data) {
          const auto& row = kRows[cases.size() % kRows.size()];
          LayoutCase c;
          c.layout = {pipeline, data, context, tensor};
          c.context_attention = row[0] == 0 ? "RING" : "ALL_GATHER";
          c.context_state = row[1] == 0 ? "RING" : "SCAN";
          c.recompute = row[2] == 1;
          c.chunks = row[3] == 1 && 2 * pipeline <= layers ? 2 : 1;
          c.overlap = row[4] == 0;
          if (row[5] == 1) c.bucket_elements = 1 << 20;
          cases.push_back(c);
        }
      }
    }
  }
  return cases;
}

std::vector<LayoutCase> every(std::size_t step, const std::vector<LayoutCase>& cases) {
  std::vector<LayoutCase> some;
  for (std::size_t i = 0; i < cases.size(); i += step) some.push_back(cases[i]);
  return some;
}

std::vector<std::string> layout_settings(const LayoutCase& c) {
  return {str("layout.pipeline=", c.layout.pipeline),
          str("layout.context=", c.layout.context),
          str("layout.tensor=", c.layout.tensor),
          str("layout.chunks=", c.chunks),
          str("layout.context_attention=", c.context_attention),
          str("layout.context_state=", c.context_state),
          str("layout.overlap=", c.overlap ? "true" : "false"),
          str("layout.bucket_elements=", c.bucket_elements),
          str("train.recompute=", c.recompute ? "true" : "false")};
}

}  // namespace halo::test
