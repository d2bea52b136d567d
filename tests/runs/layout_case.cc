#include "tests/runs/layout_case.h"

#include <array>
#include <ostream>

namespace halo::test {

void PrintTo(const LayoutCase& c, std::ostream* out) {
  *out << "pipeline " << c.layout.pipeline << " context " << c.layout.context << " tensor "
       << c.layout.tensor << " data " << c.layout.data << " chunks " << c.chunks << ' '
       << c.context_attention << ' ' << c.context_state << (c.recompute ? " recompute" : "");
}

std::vector<LayoutCase> layout_cases(int max_ranks, int layers, int heads) {
  // Attention, state, recomputation and chunks in 8 rows, of which any two columns hold every pair.
  constexpr std::array<std::array<int, 4>, 8> kRows{{{0, 0, 0, 0},
                                                     {1, 1, 1, 1},
                                                     {0, 1, 1, 0},
                                                     {1, 0, 0, 1},
                                                     {0, 1, 0, 1},
                                                     {1, 0, 1, 0},
                                                     {0, 0, 1, 1},
                                                     {1, 1, 0, 0}}};
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
          cases.push_back(c);
        }
      }
    }
  }
  return cases;
}

std::vector<std::string> layout_arguments(const LayoutCase& c) {
  std::vector<std::string> arguments;
  const auto set = [&](const std::string& field, const auto& value) {
    arguments.insert(arguments.end(), {"--set", str(field, '=', value)});
  };
  set("layout.pipeline", c.layout.pipeline);
  set("layout.context", c.layout.context);
  set("layout.tensor", c.layout.tensor);
  set("layout.chunks", c.chunks);
  set("layout.context_attention", c.context_attention);
  set("layout.context_state", c.context_state);
  set("train.recompute", c.recompute ? "true" : "false");
  return arguments;
}

}  // namespace halo::test
