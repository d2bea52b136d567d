#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/halo/select.h"
#include "launch/commands/commands.h"

namespace halo::launch {
namespace {

struct Options {
  std::string scores;
  int keep = 0;
};

void print_table(const method::Sweep& sweep, const std::vector<double>& importance,
                 const std::vector<int>& kept) {
  std::cout << (sweep.model.empty() ? "" : sweep.model + ": ") << sweep.layers.size() << " layers, "
            << kept.size() << " kept as attention\n\n"
            << "layer   recall %      CSR %   importance\n";
  for (std::size_t i = 0; i < sweep.layers.size(); ++i) {
    const bool keeps = std::ranges::binary_search(kept, static_cast<int>(i));
    char line[128];
    std::snprintf(line, sizeof(line), "%5zu %10.2f %10.2f %12.4f%s\n", i,
                  100 * sweep.layers[i].recall, 100 * sweep.layers[i].csr, importance[i],
                  keeps ? "  kept" : "");
    std::cout << line;
  }
  std::cout << '\n';
}

void run(const Options& options) {
  const method::Sweep sweep = method::parse_sweep(read_file(options.scores), options.scores);
  const std::vector<double> importance = method::importance(sweep.layers);
  int keep = options.keep;
  if (keep == 0) keep = sweep.keep;
  if (keep == 0) keep = method::default_keep(static_cast<int>(sweep.layers.size()));
  const std::vector<int> kept = method::select_layers(importance, keep);
  print_table(sweep, importance, kept);
  for (std::size_t i = 0; i < kept.size(); ++i) std::cout << (i == 0 ? "" : ",") << kept[i];
  std::cout << '\n';
}

}  // namespace

void add_select(Command& program) {
  Command command = program.command(
      "select", "Choose the layers that stay softmax attention, from the scores of a layer sweep");
  const auto options = std::make_shared<Options>();
  command
      .option("--scores", options->scores,
              "JSON with the recall and the commonsense accuracy (csr) of the teacher with each "
              "layer alone replaced")
      .required()
      .takes("FILE");
  command
      .option("--keep", options->keep,
              "Layers to keep; without it what the file says, else a quarter of the layers")
      .in_range(1, 1 << 20)
      .takes("N");
  command.footer("The last line of the output is the kept layers, ascending, separated by commas.");
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
