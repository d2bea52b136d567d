#include "kernels/embedding.h"

#include "kernels/checks.h"

namespace halo::kernels {

void embedding(TensorView y, TensorView ids, TensorView table, Stream& stream) {
  constexpr const char* kOp = "embedding";
  HALO_REQUIRE(table.rank() == 2, str(kOp, ": table is ", to_string(table.shape), ", not (V, D)"));
  HALO_REQUIRE(ids.rank() == 1, str(kOp, ": ids are ", to_string(ids.shape), ", not (N)"));
  require_operand(kOp, "table", table, table.shape, table.dtype, y.device);
  require_operand(kOp, "ids", ids, ids.shape, DType::kInt32, y.device);
  require_operand(kOp, "y", y, {ids.dim(0), table.dim(1)}, table.dtype, y.device);
  require_disjoint(kOp, "y", y, "table", table);
  require_disjoint(kOp, "y", y, "ids", ids);
  require_device(kOp, y.device);
  cpu::embedding(y, ids, table, stream);
}

void embedding_backward(TensorView dtable, TensorView ids, TensorView dy, Stream& stream) {
  constexpr const char* kOp = "embedding_backward";
  HALO_REQUIRE(dtable.rank() == 2,
               str(kOp, ": dtable is ", to_string(dtable.shape), ", not (V, D)"));
  HALO_REQUIRE(ids.rank() == 1, str(kOp, ": ids are ", to_string(ids.shape), ", not (N)"));
  require_operand(kOp, "dtable", dtable, dtable.shape, wide_dtype(dy.dtype), dy.device);
  require_operand(kOp, "ids", ids, ids.shape, DType::kInt32, dy.device);
  require_operand(kOp, "dy", dy, {ids.dim(0), dtable.dim(1)}, dy.dtype, dy.device);
  require_disjoint(kOp, "dtable", dtable, "dy", dy);
  require_disjoint(kOp, "dtable", dtable, "ids", ids);
  require_device(kOp, dy.device);
  cpu::embedding_backward(dtable, ids, dy, stream);
}

}  // namespace halo::kernels
