#include "kernels/matmul_choice.h"

#include "kernels/on_device.h"

namespace halo::kernels {

void choose_matmuls(Stream& stream, MatmulChoice choice) {
  if (stream.device() != Device::kCuda) return;
  HALO_ON_DEVICE(stream, static_cast<void>(0), cuda::choose_matmuls(stream, choice));
}

std::string matmul_table(Stream& stream) {
  if (stream.device() != Device::kCuda) return {};
  return HALO_ON_DEVICE(stream, std::string(), cuda::matmul_table(stream));
}

bool load_matmul_table(Stream& stream, std::string_view table) {
  if (stream.device() != Device::kCuda) return false;
  return HALO_ON_DEVICE(stream, false, cuda::load_matmul_table(stream, table));
}

}  // namespace halo::kernels
