#pragma once
#include "parallel/context_attention.h"
#include "parallel/state_exchange.h"
#include "parallel/tensor_axis.h"

namespace halo::model {

/// The axes that one layer is computed over together: channels and vocabulary are cut along `tensor`, tokens along
/// `context`. The communicators must outlive the model.
struct ModelAxes {
  parallel::TensorAxis tensor;
  comm::Communicator* context;
  parallel::ContextAttentionMethod attention = parallel::ContextAttentionMethod::kRing;
  parallel::ContextStateMethod state = parallel::ContextStateMethod::kRing;
};

/// The axes of a rank that computes alone.
[[nodiscard]] const ModelAxes& single_rank();

}  // namespace halo::model
