#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/mma.cuh"

/// Products by groups of four warps (compute capability 9.0a; PTX ISA, "wgmma.mma_async"): they run beside the arithmetic,
/// with b and perhaps a in shared memory. Warp w of a group has rows 16 w to 16 w + 15 of a product, and of them each
/// lane the same elements as of mma.m16n8k16.
namespace halo::kernels::cuda::wgmma {

/// 64 x 64 elements, rows of 128 bytes, of whose eight units of 16 bytes the u-th lies at u xor (row mod 8): so neither
/// rows nor columns meet in a bank.
struct alignas(1024) Slice {
  static constexpr int kRows = 64, kColumns = 64, kRowBytes = 128;
  unsigned char bytes[kRows * kRowBytes];

  /// Of 8 elements that begin at column 8 `unit`.
  [[nodiscard]] __device__ __forceinline__ __nv_bfloat16* at(int row, int unit) {
    return reinterpret_cast<__nv_bfloat16*>(bytes + row * kRowBytes + ((unit ^ (row & 7)) << 4));
  }
};

/// An operand in slices that lie one behind another. `down` is an element of the first slice's first column, at a row that
/// 8 divides.
[[nodiscard]] __device__ __forceinline__ std::uint64_t describe(const Slice* slices,
                                                                int byte_offset) {
  constexpr std::uint64_t kSwizzled128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kEightRows = 8 * Slice::kRowBytes / 16, kSlice = sizeof(Slice) / 16;
  const unsigned address = mma::shared_address(slices) + static_cast<unsigned>(byte_offset);
  return kSwizzled128 | kEightRows << 32 | kSlice << 16 | (address & 0x3ffff) >> 4;
}
/// 16 columns from `column` on, of the rows from `row` on: sums go along rows.
[[nodiscard]] __device__ __forceinline__ std::uint64_t along_rows(const Slice* slices, int row,
                                                                  int column) {
  return describe(slices + column / Slice::kColumns,
                  row * Slice::kRowBytes + column % Slice::kColumns * 2);
}
/// 16 rows from `row` on, of all columns: sums go down columns, and the operand is "transposed".
[[nodiscard]] __device__ __forceinline__ std::uint64_t down_columns(const Slice* slices, int row) {
  return describe(slices, row * Slice::kRowBytes);
}

/// Before the first product whose registers were written otherwise.
__device__ __forceinline__ void begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The products since the last call are a batch.
__device__ __forceinline__ void commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most kPending batches are unfinished. `sums` are among those of the finished ones.
template <int kPending, int kRegisters>
__device__ __forceinline__ void await(float (&sums)[kRegisters]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}
/// What this thread has written to shared memory is seen by the products that come after the next barrier.
__device__ __forceinline__ void publish() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// d = a b^T, or += where `accumulate`: d (64, N) with N twice the number of its registers, a (64, 16), b (N, 16), or
// (16, N) where kTransposed.

__device__ __forceinline__ void multiply(float (&d)[16], std::uint64_t a, std::uint64_t b,
                                         bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %18, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
      "}, %16, %17, p, 1, 1, 0, 0;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15])
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

__device__ __forceinline__ void multiply(float (&d)[32], std::uint64_t a, std::uint64_t b,
                                         bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}

template <bool kTransposed>
__device__ __forceinline__ void multiply(float (&d)[32], const std::uint32_t (&a)[4],
                                         std::uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),
        "n"(static_cast<int>(kTransposed)));
}

template <bool kTransposed>
__device__ __forceinline__ void multiply(float (&d)[64], const std::uint32_t (&a)[4],
                                         std::uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
      "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "
      "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
        "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
        "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
        "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),
        "n"(static_cast<int>(kTransposed)));
}

}  // namespace halo::kernels::cuda::wgmma
