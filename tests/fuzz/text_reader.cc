// Any bytes, plain or taken as gzip or zstd, are read to their end or refused with InputError. The first byte chooses
// the format and the compression.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "data/text_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::data;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  TextReaderOptions options;
  options.max_document_bytes = 1 << 16;
  try {
    std::unique_ptr<ByteSource> source = read_from(bytes);
    if ((*data & 12) == 4) source = gunzip(std::move(source), "fuzz");
    if ((*data & 12) == 8) source = unzstd(std::move(source), "fuzz");
    TextReader reader(std::move(source), "fuzz", static_cast<TextFormat>(*data % 3), options);
    std::string document;
    while (reader.next(document)) {
      if (document.empty() || document.size() > options.max_document_bytes) std::abort();
    }
  } catch (const halo::InputError&) {
  }
  return 0;
}
