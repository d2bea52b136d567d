#include "kernels/embedding.h"

#include "kernels/checks.h"
#include "kernels/on_device.h"

namespace halo::kernels {
namespace {

void require_part(std::string_view op, const TensorView& table, const VocabularyPart& part) {
  HALO_REQUIRE(part.first >= 0 && part.first + table.dim(0) <= part.size,
               str(op, ": ", table.dim(0), " rows from ", part.first, " on of ", part.size));
}

}  // namespace

void embedding(TensorView y, TensorView ids, TensorView table, const VocabularyPart& part,
               Stream& stream) {
  constexpr const char* kOp = "embedding";
  HALO_REQUIRE(table.rank() == 2, str(kOp, ": table is ", to_string(table.shape), ", not (V, D)"));
  HALO_REQUIRE(ids.rank() == 1, str(kOp, ": ids are ", to_string(ids.shape), ", not (N)"));
  require_operand(kOp, "table", table, table.shape, table.dtype, y.device);
  require_operand(kOp, "ids", ids, ids.shape, DType::kInt32, y.device);
  require_operand(kOp, "y", y, {ids.dim(0), table.dim(1)}, table.dtype, y.device);
  require_part(kOp, table, part);
  require_disjoint(kOp, "y", y, "table", table);
  require_disjoint(kOp, "y", y, "ids", ids);
  if (only_counted(kOp, {y, y, ids}, stream)) return;  // a row of the table a row of y
  HALO_ON_DEVICE(stream, cpu::embedding(y, ids, table, part, stream),
                 cuda::embedding(y, ids, table, part, stream));
}

void embedding_backward(TensorView dtable, TensorView ids, TensorView dy,
                        const VocabularyPart& part, Stream& stream) {
  constexpr const char* kOp = "embedding_backward";
  HALO_REQUIRE(dtable.rank() == 2,
               str(kOp, ": dtable is ", to_string(dtable.shape), ", not (V, D)"));
  HALO_REQUIRE(ids.rank() == 1, str(kOp, ": ids are ", to_string(ids.shape), ", not (N)"));
  require_operand(kOp, "dtable", dtable, dtable.shape, wide_dtype(dy.dtype), dy.device);
  require_operand(kOp, "ids", ids, ids.shape, DType::kInt32, dy.device);
  require_operand(kOp, "dy", dy, {ids.dim(0), dtable.dim(1)}, dy.dtype, dy.device);
  require_part(kOp, dtable, part);
  require_disjoint(kOp, "dtable", dtable, "dy", dy);
  require_disjoint(kOp, "dtable", dtable, "ids", ids);
  if (only_counted(kOp, {dy, dy, dy, ids}, stream)) return;
  HALO_ON_DEVICE(stream, cpu::embedding_backward(dtable, ids, dy, part, stream),
                 cuda::embedding_backward(dtable, ids, dy, part, stream));
}

}  // namespace halo::kernels
