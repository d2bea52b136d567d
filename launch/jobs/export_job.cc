#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "launch/jobs/export_model.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {
namespace {

DType dtype_of(proto::WeightType type) {
  switch (type) {
    case proto::FLOAT32:
      return DType::kFloat32;
    case proto::BFLOAT16:
      return DType::kBFloat16;
    case proto::FLOAT16:
      return DType::kFloat16;
  }
  throw Error(str("no such weight type: ", static_cast<int>(type)));
}

}  // namespace

JobOutcome run_export_job(const JobContext& context) {
  if (!context.is_first_rank()) return JobOutcome::kDone;
  const proto::Export& spec = context.job.export_();
  const ModelSource source = open_model(spec.from(), context.config.output());
  context.begin_folder();  // first, so that what it leaves when it is killed is known as its own
  export_model(source, {spec.to(), dtype_of(spec.dtype()), spec.attn_logits_scaling()});
  write_file_atomically(context.folder().result(),
                        nlohmann::json{{"exported_to", spec.to()}}.dump(2) + "\n");
  return JobOutcome::kDone;
}

}  // namespace halo::launch
