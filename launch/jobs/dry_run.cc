#include "launch/jobs/dry_run.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "core/base/text.h"
#include "core/halo/stage_flops.h"
#include "core/halo/transfer.h"
#include "core/model/memory.h"
#include "launch/jobs/architectures.h"
#include "launch/jobs/batches.h"
#include "parallel/device_mesh.h"

namespace halo::launch {
namespace {

struct Estimate {
  double parameters = 0, weights = 0, teacher = 0, gradients = 0, optimizer = 0, activations = 0,
         flops = 0;
  [[nodiscard]] double memory() const {
    return weights + teacher + gradients + optimizer + activations;
  }
};

double bytes_of(proto::Precision precision) {
  return precision == proto::FP64 ? 8 : precision == proto::BF16 ? 2 : 4;
}

double flops_per_token(const Architectures& architectures, const proto::Train& train,
                       const model::ModelConfig& student) {
  const std::int64_t T = train.data().sequence_length();
  if (train.stage() == proto::ALIGN)
    return method::align_flops(architectures.of(train.teacher()), student, T);
  if (train.stage() == proto::DISTILL)
    return method::distill_flops(architectures.of(train.teacher()), student, T);
  return method::finetune_flops(student, T);
}

Estimate estimate(const Architectures& architectures, const proto::Job& job, int data_ranks) {
  const proto::Train& train = job.train();
  const model::ModelConfig student = architectures.student(train);
  const bool align = train.stage() == proto::ALIGN;
  const std::int64_t T = train.data().sequence_length();
  const std::int64_t rows = T * micro_sequences(train.batch(), data_ranks);
  const double element = bytes_of(job.precision()), wide = std::max(4.0, element);
  const DType dtype = job.precision() == proto::FP64 ? DType::kFloat64 : DType::kFloat32;
  const bool separate_masters = job.precision() == proto::BF16;
  Estimate e;
  e.parameters = model::parameter_elements(align ? method::align_specs(student)
                                                 : model::parameter_specs(student));
  e.weights = e.parameters * element;
  e.gradients = e.parameters * wide;
  e.optimizer = e.parameters * wide * (separate_masters ? 3 : 2) / data_ranks;
  if (align || train.stage() == proto::DISTILL) {
    const model::ModelConfig teacher = architectures.of(train.teacher());
    e.teacher = model::parameter_elements(model::parameter_specs(teacher)) * element;
  }
  if (align) {
    e.activations = (2 * model::mixer_saved_elements(student, 0, rows) +
                     6.0 * double(rows) * double(student.hidden_size) +
                     3.0 * double(rows) * double(student.intermediate_size)) *
                    element;
  } else {
    e.activations = model::activation_bytes(student, rows, train.recompute(), dtype) * element /
                    double(dtype_size(dtype));
  }
  e.flops = flops_per_token(architectures, train, student) * double(T) *
            double(train.batch().sequences());
  return e;
}

void write_row(std::ostream& out, const proto::Job& job, const Estimate& e) {
  const proto::Train& train = job.train();
  const double tokens = double(train.batch().sequences()) * double(train.data().sequence_length());
  out << std::left << std::setw(14) << job.name() << std::right << std::setw(10)
      << human_count(e.parameters) << std::setw(12) << human_bytes(e.memory()) << std::setw(12)
      << human_bytes(e.weights + e.teacher) << std::setw(12)
      << human_bytes(e.gradients + e.optimizer) << std::setw(13) << human_bytes(e.activations)
      << std::setw(10) << human_count(e.flops) << std::setw(10) << human_count(tokens)
      << std::setw(9) << train.steps() << std::setw(12)
      << human_count(e.flops * double(train.steps())) << '\n';
}

}  // namespace

std::string dry_run(const Config& config, int ranks) {
  const Architectures architectures(config);
  std::ostringstream out;
  out << "On " << ranks << (ranks == 1 ? " rank" : " ranks")
      << ", memory of a rank, FLOPs of all:\n"
      << std::left << std::setw(14) << "job" << std::right << std::setw(10) << "trained"
      << std::setw(12) << "memory" << std::setw(12) << "weights" << std::setw(12) << "optimizer"
      << std::setw(13) << "activations" << std::setw(10) << "FLOP/step" << std::setw(10)
      << "tok/step" << std::setw(9) << "steps" << std::setw(12) << "FLOP" << '\n';
  for (const int i : job_order(config)) {
    const proto::Job& job = config.job(i);
    if (!job.has_train()) {
      out << std::left << std::setw(14) << job.name() << "  no training\n";
      continue;
    }
    parallel::Layout layout;
    layout.pipeline = job.layout().pipeline();
    layout.context = job.layout().context();
    layout.tensor = job.layout().tensor();
    write_row(out, job, estimate(architectures, job, parallel::fill_data(layout, ranks).data));
  }
  return out.str();
}

}  // namespace halo::launch
