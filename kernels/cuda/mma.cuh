#pragma once
#include <cuda_bf16.h>

#include <cstdint>

/// What a warp asks of the hardware from compute capability 8.0 on (stmatrix: 9.0): products on the tensor cores, their operands from
/// shared memory, and copies to shared memory that run beside the arithmetic (PTX ISA, "mma.m16n8k16", "ldmatrix",
/// "cp.async"). A lane of number 4 g + q holds, of the products' result (16, 8), the elements (g, 2 q + {0, 1}) and
/// (g + 8, 2 q + {0, 1}).
namespace halo::kernels::cuda::mma {

/// threadIdx.x, read anew: what is made of it is made where it is used, and not kept in registers along a whole kernel.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// Four matrices (8, 8), lanes 8 i to 8 i + 7 giving the addresses of the rows of matrix i. The lane 4 g + q gets of each
/// the elements (g, 2 q + {0, 1}).
__device__ __forceinline__ void load_matrices(std::uint32_t (&x)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}
/// The same of the transposed matrices: the elements (2 q + {0, 1}, g).
__device__ __forceinline__ void load_transposed(std::uint32_t (&x)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}

/// Writes what load_matrices reads.
__device__ __forceinline__ void store_matrices(__nv_bfloat16* row, std::uint32_t x0,
                                               std::uint32_t x1, std::uint32_t x2,
                                               std::uint32_t x3) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
      "r"(x0), "r"(x1), "r"(x2), "r"(x3)
      : "memory");
}
/// Writes what load_transposed reads.
__device__ __forceinline__ void store_transposed(__nv_bfloat16* row, std::uint32_t x0,
                                                 std::uint32_t x1, std::uint32_t x2,
                                                 std::uint32_t x3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   shared_address(row)),
               "r"(x0), "r"(x1), "r"(x2), "r"(x3)
               : "memory");
}

template <bool kTransposed>
__device__ __forceinline__ void load_matrices_of(std::uint32_t (&x)[4], const __nv_bfloat16* row) {
  if constexpr (kTransposed)
    load_transposed(x, row);
  else
    load_matrices(x, row);
}

/// c += a b of a (16, 16) and b (16, 8). Lane 4 g + q holds of a the pairs (g, 2 q), (g + 8, 2 q), (g, 2 q + 8),
/// (g + 8, 2 q + 8) along its rows, and of b (2 q, g) and (2 q + 8, g) along its columns.
__device__ __forceinline__ void multiply_add(float& c0, float& c1, float& c2, float& c3,
                                             const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_add(float (&c)[4], const std::uint32_t (&a)[4],
                                             std::uint32_t b0, std::uint32_t b1) {
  multiply_add(c[0], c[1], c[2], c[3], a, b0, b1);
}
__device__ __forceinline__ void multiply_add(float2& upper, float2& lower,
                                             const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  multiply_add(upper.x, upper.y, lower.x, lower.y, a, b0, b1);
}

/// Begins to copy kBytes (4, 8 or 16, and both addresses so aligned) to shared memory, or zeros where not `valid`.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)),
                 "l"(from), "n"(kBytes), "r"(valid ? kBytes : 0)
                 : "memory");
  }
}
/// Waits for this thread's copies; other threads see them past a barrier.
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// This thread's copies since the last call are a batch.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits for all batches but the last kPending.
template <int kPending>
__device__ __forceinline__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// A barrier of kThreads, whole warps, by the `number`-th of the hardware's (1 to 15).
template <int kThreads>
__device__ __forceinline__ void group_barrier(int number) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "n"(kThreads) : "memory");
}

/// In a kernel that may begin before the one before it in its stream has ended: waits for that.
__device__ __forceinline__ void await_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// 2^x; 0 for -inf.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace halo::kernels::cuda::mma
