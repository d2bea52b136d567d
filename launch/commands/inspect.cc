#include <glog/logging.h>

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "checkpoints/checkpoint_reader.h"
#include "checkpoints/regions.h"
#include "checkpoints/weight_files.h"
#include "core/base/text.h"
#include "data/token_file_check.h"
#include "launch/commands/commands.h"
#include "launch/commands/path_kind.h"

namespace halo::launch {
namespace {

using checkpoints::printable;

struct Options {
  std::string path;
  bool config = false;
};

struct Row {
  std::string name;
  std::string dtype;
  Shape shape;
  double bytes = 0;
  std::string remark;
};

std::string counted(std::size_t n, std::string_view what) {
  return str(n, ' ', what, n == 1 ? "" : "s");
}

void print_rows(const std::vector<Row>& rows) {
  std::size_t width = 6;
  for (const Row& row : rows) width = std::max(width, row.name.size());
  double parameters = 0;
  double bytes = 0;
  std::cout << '\n' << std::left;
  for (const Row& row : rows) {
    std::cout << std::setw(static_cast<int>(width)) << row.name << "  " << std::setw(8) << row.dtype
              << "  " << std::setw(20) << to_string(row.shape) << "  ";
    if (row.remark.empty()) {
      std::cout << human_bytes(row.bytes) << '\n';
    } else {
      std::cout << std::setw(11) << human_bytes(row.bytes) << row.remark << '\n';
    }
    parameters += static_cast<double>(row.shape.elements());
    bytes += row.bytes;
  }
  std::cout << "\ntotal: " << counted(rows.size(), "tensor") << ", " << human_count(parameters)
            << " parameters, " << human_bytes(bytes) << '\n';
}

void inspect_weights(const Options& options) {
  const checkpoints::WeightFiles weights(options.path);
  std::cout << options.path << ": safetensors, " << counted(weights.files().size(), "file") << '\n';
  for (const auto& file : weights.files()) {
    std::cout << "  " << printable(file->name()) << ": "
              << counted(file->tensors().size(), "tensor");
    for (const auto& [key, value] : file->metadata()) {
      std::cout << ", " << printable(key) << "=" << printable(value);
    }
    std::cout << '\n';
  }
  std::vector<Row> rows;
  for (const std::string& name : weights.names()) {
    const checkpoints::StoredTensor& tensor = weights.info(name);
    rows.push_back({printable(name),
                    std::string(dtype_name(tensor.dtype)),
                    tensor.shape,
                    static_cast<double>(tensor.end - tensor.begin),
                    {}});
  }
  print_rows(rows);
}

void print_info(const checkpoints::CheckpointReader& reader) {
  const checkpoints::CheckpointInfo& info = reader.info();
  std::cout << reader.folder().string() << ": checkpoint of step " << info.step << '\n'
            << "  stage " << printable(info.stage) << ", " << dtype_name(info.dtype)
            << ", AdamW updates " << info.adam_steps << '\n';
  for (const auto& [begin, end] : info.skipped) {
    std::cout << "  skipped steps " << begin << " to " << end - 1 << '\n';
  }
  for (const auto& [key, value] : info.notes) {
    std::cout << "  " << printable(key) << ": " << printable(value) << '\n';
  }
  for (const checkpoints::RankFileEntry& file : reader.manifest().files) {
    std::cout << "  " << printable(file.name) << ": "
              << human_bytes(static_cast<double>(file.bytes)) << ", "
              << counted(file.slices.size(), "slice") << ", written on "
              << printable(file.processor) << '\n';
  }
}

void inspect_checkpoint(const Options& options) {
  const auto reader = checkpoints::open_checkpoint(
      options.path, [](const std::string& warning) { LOG(WARNING) << warning; });
  if (options.config) {
    std::cout << reader->info().config_text;
    return;
  }
  print_info(*reader);
  std::vector<Row> rows;
  const DType dtype = reader->info().dtype;
  for (const checkpoints::CheckpointTensor& tensor : reader->tensors()) {
    const double copies = tensor.moments ? 3 : 1;
    rows.push_back({printable(tensor.name), std::string(dtype_name(dtype)), tensor.shape,
                    copies * static_cast<double>(tensor.shape.elements()) *
                        static_cast<double>(dtype_size(dtype)),
                    tensor.moments ? "master, m, v" : "master"});
  }
  print_rows(rows);
}

void inspect_token_file(const Options& options) {
  data::TokenCheckOptions check;
  check.token_limit = 0;
  const auto file = data::open_token_file(options.path, check);
  const data::TokenFileInfo& info = file->info();
  std::cout << options.path << ": token file\n"
            << "  tokens        " << file->tokens() << " ("
            << human_count(static_cast<double>(file->tokens())) << ")\n"
            << "  documents     " << file->documents() << '\n'
            << "  vocabulary    " << info.vocab_size << '\n'
            << "  end of text   "
            << (info.eos_token_id < 0 ? "none" : std::to_string(info.eos_token_id)) << '\n'
            << "  tokenizer     "
            << (info.tokenizer_sha256.empty() ? "unknown"
                                              : "sha256 " + printable(info.tokenizer_sha256))
            << '\n';
}

void run(const Options& options) {
  switch (kind_of(options.path)) {
    case PathKind::kCheckpoint:
      return inspect_checkpoint(options);
    case PathKind::kWeights:
      return inspect_weights(options);
    case PathKind::kTokenFile:
      return inspect_token_file(options);
  }
}

}  // namespace

void add_inspect(Command& program) {
  const auto options = std::make_shared<Options>();
  Command command = program.command(
      "inspect", "Show what weights, a checkpoint or a token file hold, without checking values");
  command
      .option("path", options->path,
              "A safetensors file, a model's folder, a checkpoint, a job's folder (its newest "
              "checkpoint) or a token file (.h5)")
      .required()
      .takes("PATH");
  command.flag("--config", options->config,
               "Print the config that a checkpoint was trained with, nothing else");
  command.does([options] { run(*options); });
}

}  // namespace halo::launch
