#pragma once
#include <initializer_list>
#include <string_view>

#include "core/base/stream.h"
#include "core/base/tensor_view.h"

namespace halo::kernels {

// What the front doors check. Each throws Error that names the op, the operand and the numbers.

/// Whether an op ends here: on the meta device, once its work was reported. Throws Error when this build has no bodies
/// for the device.
[[nodiscard]] bool only_counted(std::string_view op, KernelWork::Kind kind, double flops,
                                std::initializer_list<TensorView> operands, Stream& stream);
/// The same of an op whose time is that of moving its operands.
[[nodiscard]] bool only_counted(std::string_view op, std::initializer_list<TensorView> operands,
                                Stream& stream);

/// Whether the body for the CPU, which takes temporaries, is to run on the meta device too: its loops do nothing there,
/// but the memory is counted. The CPU has no bfloat16.
[[nodiscard]] inline bool counts_temporaries(DType dtype) { return dtype != DType::kBFloat16; }

/// `view` is dense, lies on `device` and has this shape and dtype.
void require_operand(std::string_view op, std::string_view name, const TensorView& view,
                     const Shape& shape, DType dtype, Device device);

/// As require_operand, but only the last axis must be dense: the others may be strided.
void require_strided_operand(std::string_view op, std::string_view name, const TensorView& view,
                             const Shape& shape, DType dtype, Device device);

/// `output` shares no memory with `input`.
void require_disjoint(std::string_view op, std::string_view name, const TensorView& output,
                      std::string_view input_name, const TensorView& input);

/// `output` is `input` itself, or shares no memory with it. Both dense.
void require_same_or_disjoint(std::string_view op, std::string_view name, const TensorView& output,
                              std::string_view input_name, const TensorView& input);

/// Whether all begin at multiples of 16 bytes, which a GPU reads at once.
[[nodiscard]] bool begin_at_packs(std::initializer_list<TensorView> views);

}  // namespace halo::kernels
