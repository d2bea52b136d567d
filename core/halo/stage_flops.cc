#include "core/halo/stage_flops.h"

#include "core/model/flops.h"

namespace halo::method {

double align_flops(const model::ModelConfig& teacher, const model::ModelConfig& student,
                   std::int64_t T) {
  double flops = model::forward_flops(teacher, T, /*head=*/false);
  flops -= 2 * model::mlp_matrix_elements(teacher);  // of the last layer: nobody needs its output
  for (int layer = 0; layer < student.num_hidden_layers; ++layer) {
    const double matrices = model::mixer_matrix_elements(student, layer);
    const double o_proj =
        double(student.hidden_size) * student.lightning_nh * student.lightning_head_dim;
    flops += 3 * (2 * matrices + model::mixing_flops(student, layer, T));
    flops -= 2 * (matrices - o_proj);
  }
  return flops;
}

double distill_flops(const model::ModelConfig& teacher, const model::ModelConfig& student,
                     std::int64_t T) {
  return model::forward_flops(teacher, T, /*head=*/true) + finetune_flops(student, T);
}

double finetune_flops(const model::ModelConfig& student, std::int64_t T) {
  return 3 * model::forward_flops(student, T, /*head=*/true);
}

}  // namespace halo::method
