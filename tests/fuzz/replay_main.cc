// Feeds each file of a folder to a fuzz target: the tests of what fuzzing once found.
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>

#include "core/base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2 || !std::filesystem::is_directory(argv[1])) {
    std::cerr << "usage: " << argv[0] << " FOLDER (which must hold the seeds of this target)\n";
    return 2;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const std::string bytes = halo::read_file(entry.path());
    std::cout << entry.path().filename().string()
              << std::endl;  // the last one named is the one that crashed
    try {
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    } catch (const std::exception& error) {
      std::cerr << entry.path().string() << ": " << error.what() << '\n';
      return 1;
    }
    ++files;
  }
  std::cout << files << " inputs\n";
  return files > 0 ? 0 : 1;
}
