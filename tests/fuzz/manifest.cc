// Any text is either the manifest of a whole checkpoint or refused with InputError. The checksum of its last line would
// keep nearly every input out, so each is read with the right one.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "checkpoints/manifest.h"
#include "core/base/crc32c.h"
#include "core/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::checkpoints;
  std::string text(reinterpret_cast<const char*>(data), size);
  char line[32];
  std::snprintf(line, sizeof line, "# crc32c %08x\n",
                halo::crc32c(std::as_bytes(std::span(data, size))));
  for (const std::string& input : {text, text + line}) {
    try {
      const Manifest manifest = parse_manifest(input, "fuzz");
      if (to_text(parse_manifest(to_text(manifest), "again")) != to_text(manifest)) std::abort();
    } catch (const halo::InputError&) {
    }
  }
  return 0;
}
