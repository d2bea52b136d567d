#include "kernels/matmul.h"

#include <cblas.h>
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

namespace halo::kernels::cpu {
namespace {

/// oneDNN runs on OpenMP; the threads here are the stream's, so each call is held to the calling thread.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;
  ~OneOpenMpThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

/// c *= beta, reading c only where the result depends on it.
template <class T>
void scale(const MatmulBlock<T>& block) {
  for (std::int64_t m = 0; m < block.M; ++m) {
    T* row = block.c + m * block.ldc;
    for (std::int64_t n = 0; n < block.N; ++n)
      row[n] = block.beta == 0 ? T{0} : block.beta * row[n];
  }
}

int blas_int(std::int64_t n) {
  HALO_REQUIRE(n <= std::numeric_limits<int>::max(),
               str("an axis of ", n, " is too long for BLAS"));
  return static_cast<int>(n);
}

template <class T>
void blas_gemm(const MatmulBlock<T>& block) {
  const auto gemm = [] {
    if constexpr (std::is_same_v<T, float>) return cblas_sgemm;
    if constexpr (std::is_same_v<T, double>) return cblas_dgemm;
  }();
  gemm(CblasRowMajor, block.transpose_a ? CblasTrans : CblasNoTrans,
       block.transpose_b ? CblasTrans : CblasNoTrans, blas_int(block.M), blas_int(block.N),
       blas_int(block.K), block.alpha, block.a, blas_int(block.lda), block.b, blas_int(block.ldb),
       block.beta, block.c, blas_int(block.ldc));
}

/// The elements of a page: a side whose rows lie further apart is read badly in place.
constexpr std::int64_t kPageOfFloats = 4096 / sizeof(float);

/// Whether oneDNN multiplies with 512-bit vectors, as the processor and DNNL_MAX_CPU_ISA allow.
bool has_avx512() {
  static const bool has =
      (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
  return has;
}

/// Without AVX-512, oneDNN reads a left side of up to about 1024 rows in place, however it lies, while BLIS rearranges
/// it and is as fast elsewhere.
bool is_faster_by_blas(const MatmulBlock<float>& block) {
  constexpr std::int64_t kRows = 512;  // shorter products do not earn the rearranging back
  return !has_avx512() && block.M >= kRows && (block.transpose_a || block.lda >= kPageOfFloats);
}

void onednn_gemm(const MatmulBlock<float>& block) {
  const dnnl_status_t status = dnnl_sgemm(
      block.transpose_a ? 'T' : 'N', block.transpose_b ? 'T' : 'N', block.M, block.N, block.K,
      block.alpha, block.a, block.lda, block.b, block.ldb, block.beta, block.c, block.ldc);
  HALO_REQUIRE(status == dnnl_success,
               str("dnnl_sgemm of ", block.M, " x ", block.N, " x ", block.K,
                   " failed with status ", static_cast<int>(status)));
}

/// A product with a transposed left side, cut along both axes of that side: dnnl_sgemm slows down on deep ones. Where
/// rows of `a` lie a page or more apart, their columns share few sets of the caches, so each tile is copied to rows that
/// lie close before it is multiplied.
void onednn_gemm_by_tiles(const MatmulBlock<float>& block) {
  constexpr std::int64_t kDepth = 512, kRows = 256, kStride = kRows + 16;
  const bool copies = block.lda >= kPageOfFloats;
  thread_local std::vector<float> tile;
  if (copies) tile.resize(kDepth * kStride);
  const std::int64_t rows = copies ? kRows : block.M;
  for (std::int64_t m = 0; m < block.M; m += rows) {
    MatmulBlock<float> part = block;
    part.M = std::min(rows, block.M - m);
    part.c += m * block.ldc;
    for (std::int64_t k = 0; k < block.K; k += kDepth) {
      part.K = std::min(kDepth, block.K - k);
      part.a = block.a + k * block.lda + m;
      if (copies) {
        for (std::int64_t row = 0; row < part.K; ++row)
          std::copy_n(part.a + row * block.lda, part.M, tile.data() + row * kStride);
        part.a = tile.data();
        part.lda = kStride;
      }
      onednn_gemm(part);
      part.b += part.K * (block.transpose_b ? 1 : block.ldb);
      part.beta = 1;
    }
  }
}

/// The row stride, also where a single row may have any.
std::int64_t leading_dimension(const TensorView& x) {
  return x.dim(0) <= 1 ? std::max<std::int64_t>(x.dim(1), 1) : x.stride(0);
}

/// Whether M is cut into shares, and not N. The other side, every thread rearranges for itself; in oneDNN a transposed
/// one costs about twice as much, and BLIS, which takes its place without AVX-512, wants many rows.
template <class T>
bool is_cut_by_rows(const MatmulBlock<T>& whole) {
  if (std::is_same_v<T, float> && whole.transpose_a && !has_avx512()) return whole.M > whole.N;
  return whole.M * (whole.transpose_a ? 2 : 1) >= whole.N * (whole.transpose_b ? 2 : 1);
}

template <class T>
void split_matmul(TensorView c, TensorView a, TensorView b, const Matmul& options, Stream& stream) {
  MatmulBlock<T> whole{.M = c.dim(0),
                       .N = c.dim(1),
                       .K = a.dim(options.transpose_a ? 0 : 1),
                       .a = a.as<T>(),
                       .lda = leading_dimension(a),
                       .transpose_a = options.transpose_a,
                       .b = b.as<T>(),
                       .ldb = leading_dimension(b),
                       .transpose_b = options.transpose_b,
                       .c = c.as<T>(),
                       .ldc = leading_dimension(c),
                       .alpha = static_cast<T>(options.alpha),
                       .beta = static_cast<T>(options.beta)};
  constexpr std::int64_t kUnit = 16;  // shares are whole vectors
  const bool by_rows = is_cut_by_rows(whole);
  const std::int64_t length = by_rows ? whole.M : whole.N;
  const std::int64_t other = by_rows ? whole.N : whole.M;
  stream.parallel_for((length + kUnit - 1) / kUnit, std::max<std::int64_t>(other * whole.K, 1),
                      [&](std::int64_t begin, std::int64_t end) {
                        const std::int64_t first = begin * kUnit;
                        const std::int64_t count = std::min(end * kUnit, length) - first;
                        MatmulBlock<T> share = whole;
                        if (by_rows) {
                          share.M = count;
                          share.a += first * (whole.transpose_a ? 1 : whole.lda);
                          share.c += first * whole.ldc;
                        } else {
                          share.N = count;
                          share.b += first * (whole.transpose_b ? whole.ldb : 1);
                          share.c += first;
                        }
                        matmul_block(share);
                      });
}

}  // namespace

void matmul_block(const MatmulBlock<float>& block) {
  if (block.K == 0) return scale(block);
  if (block.M == 0 || block.N == 0) return;
  const OneOpenMpThread one_thread;
  if (is_faster_by_blas(block)) return blas_gemm(block);
  if (block.transpose_a) return onednn_gemm_by_tiles(block);
  onednn_gemm(block);
}

void matmul_block(const MatmulBlock<double>& block) {
  if (block.K == 0) return scale(block);
  if (block.M == 0 || block.N == 0) return;
  blas_gemm(block);
}

void matmul(TensorView c, TensorView a, TensorView b, const Matmul& options, Stream& stream) {
  dispatch_cpu_float(c.dtype,
                     [&](auto zero) { split_matmul<decltype(zero)>(c, a, b, options, stream); });
}

}  // namespace halo::kernels::cpu
