#include "launch/jobs/batches.h"

#include <glog/logging.h>

#include <algorithm>

#include "data/token_file.h"
#include "data/token_file_check.h"

namespace halo::launch {
namespace {

using Sources = std::vector<std::shared_ptr<const data::TokenSource>>;

/// The first rank checks each file before any rank opens it with libhdf5, which is not hardened.
Sources open_sources(const std::vector<std::string>& paths, comm::Communicator& world) {
  for (const std::string& path : paths) {
    if (world.rank() == 0) data::check_token_file(path);
    world.barrier().wait();  // one a file: the other ranks' patience is for one check, not for all
  }
  Sources sources;
  for (const std::string& path : paths) sources.push_back(std::make_shared<data::TokenFile>(path));
  return sources;
}

data::Sampler make_sampler(const Sources& sources, const data::SamplerOptions& options) {
  std::vector<std::int64_t> tokens;
  for (const auto& source : sources) tokens.push_back(source->tokens());
  return {tokens, options};
}

data::BatchPlan plan_of(std::int64_t sequences, std::int64_t micro, std::int64_t length,
                        const parallel::DeviceMesh& mesh) {
  data::BatchPlan plan;
  plan.sequences = sequences;
  plan.micro_sequences = micro;
  plan.data_rank = mesh.coordinate(parallel::Axis::kData);
  plan.data_ranks = mesh.degree(parallel::Axis::kData);
  plan.length = length;
  return plan;
}

data::BatchReader training_reader(const JobContext& context) {
  const proto::Train& train = context.job.train();
  const proto::Data& data = train.data();
  const Sources sources =
      open_sources({data.tokens().begin(), data.tokens().end()}, context.world());
  data::SamplerOptions sampling;
  sampling.length = data.sequence_length();
  sampling.shuffle = data.shuffle();
  sampling.seed = context.seed();
  sampling.weights.assign(data.weight().begin(), data.weight().end());
  data::LoaderOptions options;
  options.plan = batch_plan(train, context.mesh);
  options.first_sample = data.first_sample();
  options.document_masks = data.document_masks();
  return {sources, make_sampler(sources, sampling), options};
}

}  // namespace

std::int64_t micro_sequences(const proto::Batch& batch, int data_ranks) {
  if (batch.micro_sequences() > 0) return batch.micro_sequences();
  const std::int64_t a_rank = (batch.sequences() + data_ranks - 1) / data_ranks;
  return std::clamp<std::int64_t>(a_rank, 1, 4);
}

data::BatchPlan batch_plan(const proto::Train& train, const parallel::DeviceMesh& mesh) {
  return plan_of(train.batch().sequences(),
                 micro_sequences(train.batch(), mesh.degree(parallel::Axis::kData)),
                 train.data().sequence_length(), mesh);
}

std::vector<data::MicroBatch> empty_batches(const data::BatchPlan& plan, int most) {
  const int all = plan.micro_batches();
  std::vector<data::MicroBatch> batches;
  for (int i = 0; i < (most > 0 ? std::min(most, all) : all); ++i) {
    data::MicroBatch batch;
    batch.index = i;
    batch.T = plan.length;
    batch.B = plan.lanes(i);
    batches.push_back(std::move(batch));
  }
  return batches;
}

std::vector<data::MicroBatch> validation_batches(const JobContext& context,
                                                 std::int64_t vocab_size) {
  const proto::Train& train = context.job.train();
  const proto::Validation& v = train.validation();
  if (v.tokens_size() == 0) return {};
  const std::int64_t length =
      v.sequence_length() > 0 ? v.sequence_length() : train.data().sequence_length();
  std::vector<data::MicroBatch> batches = held_out_batches({{v.tokens().begin(), v.tokens().end()},
                                                            v.sequences(),
                                                            length,
                                                            micro_sequences(train.batch(), 1),
                                                            train.data().document_masks()},
                                                           context.mesh);
  require_vocabulary({v.tokens().begin(), v.tokens().end()}, vocab_size);
  return batches;
}

Batches::Batches(const JobContext& context, std::int64_t vocab_size, std::int64_t first_step)
    : validation_(validation_batches(context, vocab_size)), tell_repeats_(context.is_first_rank()) {
  const proto::Train& train = context.job.train();
  data::BatchReader reader = training_reader(context);
  require_vocabulary({train.data().tokens().begin(), train.data().tokens().end()}, vocab_size);
  loader_ = std::make_unique<data::Loader>(std::move(reader), first_step, train.steps());
}

std::vector<data::MicroBatch> Batches::next() {
  std::vector<data::MicroBatch> batches = loader_->next();
  if (loader_->repeated() && tell_repeats_) {
    tell_repeats_ = false;
    LOG(WARNING) << "the token files hold fewer tokens than the steps need: step "
                 << batches.front().step << " begins to read them again";
  }
  return batches;
}

void require_sequences(const std::string& file, std::int64_t held, std::int64_t length,
                       std::int64_t wanted) {
  HALO_REQUIRE_INPUT(held >= wanted, str(file, ": holds ", held, " sequences of ", length,
                                         " tokens, ", wanted, " are asked for"));
}

void require_vocabulary(const std::vector<std::string>& tokens, std::int64_t vocab_size) {
  for (const std::string& path : tokens) {
    const std::int64_t size = data::TokenFile(path).vocab_size();
    HALO_REQUIRE_INPUT(size <= vocab_size,
                       str(path, ": its vocabulary of ", size,
                           " tokens is larger than the model's of ", vocab_size));
  }
}

std::vector<data::MicroBatch> held_out_batches(const HeldOut& held_out,
                                               const parallel::DeviceMesh& mesh) {
  const Sources sources = open_sources(held_out.tokens, mesh.world());
  data::SamplerOptions sampling;
  sampling.length = held_out.length;
  const data::Sampler sampler = make_sampler(sources, sampling);
  require_sequences(held_out.tokens.front(), sampler.distinct_samples(), held_out.length,
                    held_out.sequences);
  data::LoaderOptions options;
  options.plan = plan_of(held_out.sequences, held_out.micro_sequences, held_out.length, mesh);
  options.document_masks = held_out.document_masks;
  return data::BatchReader(sources, sampler, options).read_step(0);
}

}  // namespace halo::launch
