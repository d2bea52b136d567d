#include "launch/jobs/trainer_options.h"

namespace halo::launch {

train::TrainerOptions trainer_options(const proto::Job& job) {
  const proto::Optimizer& o = job.train().optimizer();
  train::TrainerOptions options;
  options.schedule.kind = o.schedule() == proto::CONSTANT ? train::LrSchedule::Kind::kConstant
                                                          : train::LrSchedule::Kind::kCosine;
  options.schedule.lr = o.lr();
  options.schedule.min_lr = o.min_lr();
  options.schedule.warmup_steps = o.warmup_steps();
  options.schedule.total_steps = job.train().steps();
  options.adamw.beta1 = o.beta1();
  options.adamw.beta2 = o.beta2();
  options.adamw.eps = o.eps();
  options.adamw.weight_decay = o.weight_decay();
  options.adamw.bucket_elements = job.layout().bucket_elements();
  options.grad_clip = o.grad_clip();
  options.overlap = job.layout().overlap();
  return options;
}

}  // namespace halo::launch
