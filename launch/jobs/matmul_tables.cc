#include "launch/jobs/matmul_tables.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "core/base/file.h"
#include "kernels/matmul_choice.h"

namespace halo::launch {
namespace {

namespace fs = std::filesystem;

fs::path from_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

std::vector<fs::path> tables_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, none))
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

void write(const fs::path& file, const std::string& text) {
  try {
    fs::create_directories(file.parent_path());
    write_file_atomically(file, text);
  } catch (const std::exception& error) {
    LOG(WARNING) << file.string() << " was not written: " << error.what();
  }
}

}  // namespace

MatmulTables::MatmulTables(const fs::path& run, int rank, Stream& stream)
    : finds_fastest_(stream.sum_order() == SumOrder::kAny), stream_(stream) {
  if (stream.device() != Device::kCuda) return;
  const fs::path folder = run / "products";
  own_ = folder / str("rank_", rank, ".txt");
  load(own_);
  for (const fs::path& file : tables_in(folder)) load(file);
  load(user_file());
  kernels::choose_matmuls(
      stream, finds_fastest_ ? kernels::MatmulChoice::kFastest : kernels::MatmulChoice::kKnown);
}

MatmulTables::MatmulTables(Stream& stream) : finds_fastest_(true), stream_(stream) {
  load(user_file());
  kernels::choose_matmuls(stream, kernels::MatmulChoice::kFastest);
}

void MatmulTables::load(const fs::path& file) {
  if (file.empty() || !fs::exists(file)) return;
  try {
    kernels::load_matmul_table(stream_, read_file(file));
  } catch (const std::exception& error) {
    LOG(WARNING) << file.string() << " is passed over: " << error.what();
  }
}

void MatmulTables::save() {
  if (stream_.device() != Device::kCuda) return;
  const std::string table = kernels::matmul_table(stream_);
  if (table == saved_) return;
  saved_ = table;
  if (!own_.empty()) write(own_, table);
  if (finds_fastest_ && !user_file().empty()) write(user_file(), table);
}

fs::path MatmulTables::user_file() {
  fs::path folder = from_environment("HALO_CACHE");
  if (folder.empty() && !from_environment("XDG_CACHE_HOME").empty())
    folder = from_environment("XDG_CACHE_HOME") / "halo";
  if (folder.empty() && !from_environment("HOME").empty())
    folder = from_environment("HOME") / ".cache" / "halo";
  return folder.empty() ? folder : folder / "products.txt";
}

}  // namespace halo::launch
