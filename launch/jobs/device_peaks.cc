#include "launch/jobs/device_peaks.h"

#include <array>

namespace halo::launch {
namespace {

struct Peak {
  std::string_view name;  // a part of the device's; of several that fit the first counts
  double bfloat16, float32;
};

// NVIDIA's data sheets, without sparsity; bfloat16 on tensor cores, float32 off them.
constexpr std::array kPeaks{
    Peak{"H100 PCIe", 756e12, 51e12},   Peak{"H100 NVL", 835.5e12, 60e12},
    Peak{"H100 80GB", 989.4e12, 67e12}, Peak{"H200 NVL", 835.5e12, 60e12},
    Peak{"H200", 989.4e12, 67e12},      Peak{"GH200", 989.4e12, 67e12},
    Peak{"A100", 312e12, 19.5e12},      Peak{"A800", 312e12, 19.5e12},
};

}  // namespace

double datasheet_flops(std::string_view gpu, DType dtype) {
  if (gpu.find(" MIG ") != std::string_view::npos) return 0;  // a slice of one
  for (const Peak& peak : kPeaks) {
    if (gpu.find(peak.name) == std::string_view::npos) continue;
    return dtype == DType::kBFloat16 ? peak.bfloat16 : dtype == DType::kFloat32 ? peak.float32 : 0;
  }
  return 0;
}

}  // namespace halo::launch
