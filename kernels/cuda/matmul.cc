#include "kernels/matmul.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <compare>
#include <map>
#include <sstream>
#include <vector>

#include "core/base/cuda/check.h"
#include "core/base/tensor.h"
#include "core/base/unique_handle.h"
#include "kernels/matmul_choice.h"

#define HALO_CUBLAS_CHECK(call)                                                    \
  do {                                                                             \
    if (const cublasStatus_t status_ = (call); status_ != CUBLAS_STATUS_SUCCESS) { \
      ::halo::fail(__FILE__, __LINE__, #call, cublasLtGetStatusString(status_));   \
    }                                                                              \
  } while (false)

namespace halo::kernels::cuda {
namespace {

template <class Handle, auto kDestroy>
struct LtTraits {
  using Raw = Handle;
  static constexpr Raw kNull = nullptr;
  static void close(Raw handle) noexcept { static_cast<void>(kDestroy(handle)); }
};
template <class Handle, auto kDestroy>
using LtHandle = UniqueHandle<LtTraits<Handle, kDestroy>>;
using Library = LtHandle<cublasLtHandle_t, cublasLtDestroy>;
using Operation = LtHandle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = LtHandle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = LtHandle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

constexpr std::size_t kWorkspace = std::size_t{64} << 20;  // bytes
constexpr int kCandidates = 32;  // algorithms that are asked for; cuBLASLt 13 names 8
constexpr double kNear = 1.15;   // those that take so many times the shortest time are timed again,
constexpr int kRounds = 2;       // by turns
constexpr double kTurn = 0.05;   // of so many seconds,
constexpr double kMostCalls = 200;  // or calls,
constexpr int kHeat = 3;            // after as many turns of one of them

/// One matrix as the library sees it: column after column, which is this project's row after row transposed.
struct Operand {
  std::int64_t rows = 0, columns = 0, stride = 0;  // of the row-major view
  int dtype = 0;
  std::uint32_t alignment = 0;  // bytes
  auto operator<=>(const Operand&) const = default;
};

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return CUDA_R_32F;
    case DType::kBFloat16:
      return CUDA_R_16BF;
    default:
      throw Error(str("matmul on a GPU: no products of ", dtype_name(dtype)));
  }
}

Operand operand(const TensorView& x) {
  const std::int64_t stride = x.dim(0) > 1 ? x.stride(0) : x.dim(1);
  const auto bits = reinterpret_cast<std::uintptr_t>(x.data) |
                    static_cast<std::uintptr_t>(stride) * dtype_size(x.dtype) | 256U;
  return {x.dim(0), x.dim(1), stride, data_type(x.dtype), static_cast<std::uint32_t>(bits & -bits)};
}

struct Key {
  Operand c, a, b;
  bool transpose_a = false, transpose_b = false, adds = false;
  auto operator<=>(const Key&) const = default;
};

constexpr auto kKeyFields =
    std::array{&Operand::rows, &Operand::columns, &Operand::stride};  // beside dtype and alignment

std::ostream& operator<<(std::ostream& out, const Operand& x) {
  for (const auto field : kKeyFields) out << x.*field << ' ';
  return out << x.dtype << ' ' << x.alignment << ' ';
}
std::istream& operator>>(std::istream& in, Operand& x) {
  for (const auto field : kKeyFields) in >> x.*field;
  return in >> x.dtype >> x.alignment;
}

using AlgorithmWords = std::array<std::uint64_t, 8>;
static_assert(sizeof(AlgorithmWords) == sizeof(cublasLtMatmulAlgo_t));

/// A product of one shape with the algorithm that it takes.
struct Plan {
  Operation operation;
  Layout a, b, c;
  cublasLtMatmulAlgo_t algorithm{};
};

struct Timed {
  double seconds = 0;
  const cublasLtMatmulAlgo_t* algorithm = nullptr;
};

/// What one stream keeps for its products.
class Products {
 public:
  explicit Products(Stream& stream)
      : queue_(stream.queue()),
        stream_(static_cast<cudaStream_t>(queue_.native())),
        allocator_(stream.allocator()),
        workspace_(*allocator_, kWorkspace) {
    cublasLtHandle_t handle = nullptr;
    HALO_CUBLAS_CHECK(cublasLtCreate(&handle));
    library_ = Library(handle);
  }

  void choose(MatmulChoice choice) { choice_ = choice; }

  /// The first line of a table that is of use here.
  [[nodiscard]] static std::string table_head() {
    int device = 0;
    cudaDeviceProp properties{};
    HALO_CUDA_CHECK(cudaGetDevice(&device));
    HALO_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    return str("halo products of ", properties.name, ", cublasLt ", cublasLtGetVersion());
  }

  [[nodiscard]] std::string table() const {
    std::ostringstream out;
    out << table_head() << '\n';
    for (const auto& [key, words] : known_) {
      out << key.c << key.a << key.b << key.transpose_a << ' ' << key.transpose_b << ' ' << key.adds
          << std::hex;
      for (const std::uint64_t word : words) out << ' ' << word;
      out << std::dec << '\n';
    }
    return out.str();
  }

  bool load(std::string_view text) {
    std::istringstream lines{std::string(text)};
    std::string line;
    HALO_REQUIRE(std::getline(lines, line) && line.starts_with("halo products of "),
                 "no table of products");
    if (line != table_head()) return false;
    for (int number = 2; std::getline(lines, line); ++number) {
      std::istringstream fields(line);
      Key key;
      AlgorithmWords words{};
      fields >> key.c >> key.a >> key.b >> key.transpose_a >> key.transpose_b >> key.adds >>
          std::hex;
      for (std::uint64_t& word : words) fields >> word;
      HALO_REQUIRE(!fields.fail(), str("line ", number, " of a table of products: ", line));
      known_.emplace(key, words);
    }
    return true;
  }

  void run(const TensorView& c, const TensorView& a, const TensorView& b, const TensorView& addend,
           const Matmul& options) {
    Key key{operand(c),          operand(a),          operand(b),
            options.transpose_a, options.transpose_b, options.beta != 0};
    key.c.alignment = std::min(key.c.alignment, operand(addend).alignment);
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, make_plan(key, a, b)).first;
    const auto alpha = static_cast<float>(options.alpha), beta = static_cast<float>(options.beta);
    multiply(found->second, found->second.algorithm, alpha, a.data, b.data, beta, addend.data,
             c.data);
  }

 private:
  /// In the library's order the product is c^T = op(b)^T op(a)^T, so b comes first.
  void multiply(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, float alpha, const void* a,
                const void* b, float beta, const void* addend, void* c) {
    HALO_CUBLAS_CHECK(cublasLtMatmul(library_.get(), plan.operation.get(), &alpha, b, plan.b.get(),
                                     a, plan.a.get(), &beta, addend, plan.c.get(), c, plan.c.get(),
                                     &algorithm, workspace_.begin(), kWorkspace, stream_));
  }

  [[nodiscard]] static Layout layout(const Operand& x) {
    cublasLtMatrixLayout_t made = nullptr;
    HALO_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&made, static_cast<cudaDataType_t>(x.dtype),
                                                 static_cast<std::uint64_t>(x.columns),
                                                 static_cast<std::uint64_t>(x.rows), x.stride));
    return Layout(made);
  }

  [[nodiscard]] Plan make_plan(const Key& key, const TensorView& a, const TensorView& b) {
    Plan plan;
    cublasLtMatmulDesc_t made = nullptr;
    HALO_CUBLAS_CHECK(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    plan.operation = Operation(made);
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, bool transpose) {
      const cublasOperation_t op = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
      HALO_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(made, attribute, &op, sizeof op));
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b);
    set(CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a);
    plan.a = layout(key.a);
    plan.b = layout(key.b);
    plan.c = layout(key.c);
    const auto at = known_.find(key);
    if (at != known_.end() && usable(plan, std::bit_cast<cublasLtMatmulAlgo_t>(at->second))) {
      plan.algorithm = std::bit_cast<cublasLtMatmulAlgo_t>(at->second);
      return plan;
    }
    const std::vector<cublasLtMatmulAlgo_t> found = candidates(key, plan);
    plan.algorithm =
        choice_ == MatmulChoice::kFastest ? fastest(plan, found, key, a, b) : found.front();
    known_[key] = std::bit_cast<AlgorithmWords>(plan.algorithm);
    return plan;
  }

  /// Whether the library takes an algorithm that came from a file.
  [[nodiscard]] bool usable(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm) {
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        cublasLtMatmulAlgoCheck(library_.get(), plan.operation.get(), plan.b.get(), plan.a.get(),
                                plan.c.get(), plan.c.get(), &algorithm, &result);
    return status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kWorkspace;
  }

  [[nodiscard]] std::vector<cublasLtMatmulAlgo_t> candidates(const Key& key, const Plan& plan) {
    cublasLtMatmulPreference_t made = nullptr;
    HALO_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&made));
    const Preference preference(made);
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      HALO_CUBLAS_CHECK(
          cublasLtMatmulPreferenceSetAttribute(made, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
    // Sums of parts are float32, whatever the result is rounded to.
    const std::uint32_t reductions =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reductions);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.b.alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.a.alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.c.alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.c.alignment);
    std::array<cublasLtMatmulHeuristicResult_t, kCandidates> found{};
    int count = 0;
    HALO_CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(
        library_.get(), plan.operation.get(), plan.b.get(), plan.a.get(), plan.c.get(),
        plan.c.get(), preference.get(), kCandidates, found.data(), &count));
    std::vector<cublasLtMatmulAlgo_t> algorithms;
    for (int i = 0; i < count; ++i) {
      const auto& result = found[static_cast<std::size_t>(i)];
      if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
    }
    HALO_REQUIRE(!algorithms.empty(), "cuBLASLt has no algorithm for this product");
    return algorithms;
  }

  /// Times them on the operands at hand, into memory of its own: each by itself, then those that come near the fastest
  /// by turns, many calls in a row. A GPU that multiplies all the time reaches its power limit, where other algorithms are
  /// the fastest than in a short burst.
  [[nodiscard]] cublasLtMatmulAlgo_t fastest(const Plan& plan,
                                             const std::vector<cublasLtMatmulAlgo_t>& algorithms,
                                             const Key& key, const TensorView& a,
                                             const TensorView& b) {
    if (algorithms.size() == 1) return algorithms.front();
    const auto elements = static_cast<std::size_t>(key.c.rows * key.c.stride);
    const std::size_t element = key.c.dtype == CUDA_R_32F ? sizeof(float) : sizeof(std::uint16_t);
    // The limit of a run's memory holds while it tries, too.
    if (allocator_->available_bytes() < elements * element) return algorithms.front();
    const AllocatorBlock scratch(*allocator_, elements * element);
    const float beta = key.adds ? 1.0F : 0.0F;
    const auto seconds = [&](const cublasLtMatmulAlgo_t& algorithm, int calls) {
      return time([&] {
               for (int i = 0; i < calls; ++i)
                 multiply(plan, algorithm, 1.0F, a.data, b.data, beta, scratch.begin(),
                          scratch.begin());
             }) /
             calls;
    };
    std::vector<Timed> timed;
    for (const cublasLtMatmulAlgo_t& algorithm : algorithms) {
      static_cast<void>(seconds(algorithm, 1));
      timed.push_back({std::min(seconds(algorithm, 1), seconds(algorithm, 1)), &algorithm});
    }
    const double least = std::ranges::min(timed, {}, &Timed::seconds).seconds;
    std::erase_if(timed, [&](const Timed& t) { return t.seconds > kNear * least; });
    const int calls = static_cast<int>(std::clamp(kTurn / least, 2.0, kMostCalls));
    static_cast<void>(seconds(*timed.front().algorithm, kHeat * calls));
    for (Timed& t : timed) t.seconds = 0;
    for (int round = 0; round < kRounds; ++round) {
      for (Timed& t : timed) t.seconds += seconds(*t.algorithm, calls);
      std::ranges::reverse(timed);  // none has always the cooler GPU
    }
    return *std::ranges::min(timed, {}, &Timed::seconds).algorithm;
  }

  /// Seconds of the GPU's clock.
  template <class Work>
  [[nodiscard]] double time(const Work& work) const {
    const auto begin = queue_.mark();
    work();
    return queue_.mark()->seconds_since(*begin);
  }

  DeviceQueue& queue_;
  cudaStream_t stream_;
  std::shared_ptr<Allocator> allocator_;
  AllocatorBlock workspace_;
  Library library_;
  std::map<Key, Plan> plans_;
  std::map<Key, AlgorithmWords> known_;
  MatmulChoice choice_ = MatmulChoice::kKnown;
};

Products& products_of(Stream& stream) {
  return stream.queue().kept<Products>([&] { return std::make_shared<Products>(stream); });
}

/// c *= beta, for products over no elements.
void scale(const TensorView& c, double beta, cudaStream_t stream) {
  HALO_REQUIRE(beta == 0 || beta == 1, str("matmul over 0 elements with beta = ", beta));
  if (beta == 1) return;
  const auto element = dtype_size(c.dtype);
  const auto stride = static_cast<std::size_t>(c.dim(0) > 1 ? c.stride(0) : c.dim(1));
  HALO_CUDA_CHECK(cudaMemset2DAsync(c.data, stride * element, 0,
                                    static_cast<std::size_t>(c.dim(1)) * element,
                                    static_cast<std::size_t>(c.dim(0)), stream));
}

}  // namespace

void matmul(TensorView c, TensorView a, TensorView b, TensorView addend, const Matmul& options,
            Stream& stream) {
  if (c.size() == 0) return;
  const std::int64_t inner = options.transpose_a ? a.dim(0) : a.dim(1);
  if (inner == 0) {
    if (addend.data != c.data) copy(c, addend, stream);
    return scale(c, options.beta, static_cast<cudaStream_t>(stream.queue().native()));
  }
  products_of(stream).run(c, a, b, addend, options);
}

void choose_matmuls(Stream& stream, MatmulChoice choice) { products_of(stream).choose(choice); }

std::string matmul_table(Stream& stream) { return products_of(stream).table(); }

bool load_matmul_table(Stream& stream, std::string_view table) {
  return products_of(stream).load(table);
}

}  // namespace halo::kernels::cuda
