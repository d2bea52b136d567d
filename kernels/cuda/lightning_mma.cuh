#pragma once
#include <cuda_bf16.h>

#include <cstdint>

namespace halo::kernels::cuda {

// What a warp's tensor cores and the copies past the registers need of PTX.

/// threadIdx.x, read anew: what is made of it is made where it is used, and not kept in registers along a whole kernel.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

__device__ __forceinline__ unsigned shared_address(const void* memory) {
  return static_cast<unsigned>(__cvta_generic_to_shared(memory));
}

/// Four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8, and gets in part[m] the elements 2 (l % 4)
/// and the next of row l / 4 of matrix m, or of its transpose.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(std::uint32_t (&part)[4], const __nv_bfloat16* row) {
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
                 : "r"(shared_address(row))
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(part[0]), "=r"(part[1]), "=r"(part[2]), "=r"(part[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// A 16 x 8 block of sums += a (16 x 16) b (16 x 8). `upper` holds columns 2 (l % 4) and the next of row l / 4, `lower` of
/// row l / 4 + 8.
__device__ __forceinline__ void multiply_add(float2& upper, float2& lower,
                                             const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(upper.x), "+f"(upper.y), "+f"(lower.x), "+f"(lower.y)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// 16 bytes to shared memory, zeros when they are not `there` (`from` is a valid address all the same).
__device__ __forceinline__ void copy_later(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0)
               : "memory");
}
/// Waits for the thread's own copies; a barrier shows them to the others.
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

}  // namespace halo::kernels::cuda
