// Any bytes are either a safetensors file whose tensors lie within them or refused with InputError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoints/safetensors.h"
#include "core/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace halo::checkpoints;
  try {
    const SafetensorsHeader header =
        parse_safetensors_header(std::as_bytes(std::span(data, size)), "fuzz");
    for (const StoredTensor& tensor : header.tensors) {
      const auto bytes =
          static_cast<std::size_t>(tensor.shape.elements()) * halo::dtype_size(tensor.dtype);
      if (tensor.begin > tensor.end || tensor.end > size || tensor.end - tensor.begin != bytes) {
        std::abort();
      }
    }
  } catch (const halo::InputError&) {
  }
  return 0;
}
