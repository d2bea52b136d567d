#include <cstdint>
#include <filesystem>
#include <iostream>
#include <limits>
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

namespace fs = std::filesystem;

void verify_weights(const fs::path& path) {
  const checkpoints::WeightFiles weights(path);
  weights.require_finite();
  std::cout << path.string() << ": good: " << weights.names().size()
            << (weights.names().size() == 1 ? " tensor, " : " tensors, ")
            << human_bytes(static_cast<double>(weights.bytes())) << ", all values finite\n";
}

void require_finite(checkpoints::CheckpointReader& reader) {
  for (const checkpoints::CheckpointTensor& tensor : reader.tensors()) {
    const int stored = tensor.moments ? 3 : 1;
    for (int k = 0; k < stored; ++k) {
      const auto which = static_cast<checkpoints::Which>(k);
      const std::int64_t bad = reader.count_nonfinite(tensor.name, which);
      HALO_REQUIRE_INPUT(
          bad == 0, str(reader.folder().string(), ": ", checkpoints::which_name(which), " of '",
                        checkpoints::printable(tensor.name), "': ", bad, " of ",
                        tensor.shape.elements(), " values are NaN or infinite"));
    }
  }
}

void verify_checkpoint(const fs::path& folder) {
  checkpoints::CheckpointReader reader(folder);
  reader.verify_files();
  reader.verify_values();
  require_finite(reader);
  std::cout << folder.string() << ": good: step " << reader.info().step << ", "
            << reader.manifest().files.size() << " files, " << reader.tensors().size()
            << " tensors, all checksums match, all values finite\n";
}

/// One checkpoint, or each of a folder of them; the good ones are told too before the bad ones fail the command.
void verify_checkpoints(const fs::path& path) {
  const fs::path inner = path / "checkpoints";
  std::error_code missing;
  std::vector<fs::path> folders =
      checkpoints::find_checkpoints(fs::is_directory(inner, missing) ? inner : path);
  if (fs::exists(path / checkpoints::kManifestName, missing)) folders = {path};
  std::string bad;
  for (const fs::path& folder : folders) {
    try {
      verify_checkpoint(folder);
    } catch (const InputError& error) {
      bad += (bad.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  HALO_REQUIRE_INPUT(bad.empty(), bad);
}

void verify_token_file(const fs::path& path) {
  data::TokenCheckOptions options;
  options.token_limit = std::numeric_limits<std::int64_t>::max();
  const auto file = data::open_token_file(path, options);
  std::cout << path.string() << ": good: " << file->tokens() << " tokens in " << file->documents()
            << " documents, all ids below " << file->vocab_size() << '\n';
}

void run(const fs::path& path) {
  switch (kind_of(path)) {
    case PathKind::kCheckpoint:
      return verify_checkpoints(path);
    case PathKind::kWeights:
      return verify_weights(path);
    case PathKind::kTokenFile:
      return verify_token_file(path);
  }
}

}  // namespace

void add_verify(Command& program) {
  const auto path = std::make_shared<std::string>();
  Command command = program.command(
      "verify", "Check all of weights, checkpoints or a token file: form, checksums, values");
  command
      .option("path", *path,
              "A safetensors file, a model's folder, a checkpoint, a job's folder (all of its "
              "checkpoints) or a token file (.h5)")
      .required()
      .takes("PATH");
  command.footer("Exit code 0 when all is good, 2 with the reason when something is not.");
  command.does([path] { run(*path); });
}

}  // namespace halo::launch
