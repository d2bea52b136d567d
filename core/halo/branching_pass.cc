#include "core/halo/branching_pass.h"

#include <iterator>
#include <tuple>

#include "core/base/progress_point.h"
#include "core/infer/generate.h"

namespace halo::method {

using model::MixerCache;

BranchingPass::BranchingPass(const SweepModels& models, std::function<bool()> stop, Stream& stream)
    : teacher_(models.teacher_config, models.teacher.lookup()),
      rope_(models.teacher_config, models.teacher.dtype()),
      dtype_(models.teacher.dtype()),
      stop_(std::move(stop)),
      stream_(stream) {
  for (int layer = 0; layer < teacher_.layers(); ++layer) {
    replaced_.push_back(model::replace_mixers(models.teacher_config, models.teacher, models.mixers,
                                              {layer}, models.hybrid));
  }
}

Tensor BranchingPass::embedded(const std::vector<std::int32_t>& ids,
                               const model::Sequence& sequence) {
  Tensor x(stream_, {sequence.rows(), teacher_.config().hidden_size}, dtype_);
  teacher_.embed(x, view(ids.data(), {sequence.rows()}), stream_);
  return x;
}

Tensor BranchingPass::finish(const model::Transformer& model, int first, const Tensor& x,
                             const model::Sequence& sequence, std::vector<MixerCache>* caches,
                             std::int64_t& passes) {
  passes += layers() - first;
  return model.hidden_from(first, x, sequence, stream_, caches);
}

bool BranchingPass::score(std::vector<std::vector<infer::SequenceScore>>& scores,
                          const infer::ScoredBatch& batch) {
  const model::Sequence sequence = rope_.sequence(batch.T, batch.B, 0, stream_);
  const Tensor x = embedded(batch.tokens, sequence);
  for (int layer = 0; layer < layers(); ++layer) {
    if (stop_()) return false;
    pass_point({"branch"});
    const model::Transformer& replaced = replaced_[static_cast<std::size_t>(layer)];
    const Tensor h =
        finish(replaced, layer, Tensor::copy_of(stream_, x), sequence, nullptr, passes_.branches);
    infer::score_batch(scores[static_cast<std::size_t>(layer) + 1], batch, h, replaced.head(),
                       stream_);
    teacher_.block(layer).infer(x, sequence, nullptr, stream_);
    ++passes_.teacher;
  }
  const Tensor h = finish(teacher_, layers(), x, sequence, nullptr, passes_.teacher);
  infer::score_batch(scores[0], batch, h, teacher_.head(), stream_);
  ++passes_.batches;
  return true;
}

std::vector<std::int32_t> BranchingPass::decode(const model::Transformer& model,
                                                std::vector<MixerCache>& caches, const Tensor& h,
                                                const infer::GenerationPrompt& prompt) {
  const auto T = static_cast<std::int64_t>(prompt.tokens.size());
  std::vector<std::int32_t> continuation = infer::continue_greedy(
      model, caches, h.view().slice(0, T - 1, T), T, prompt.new_tokens, {}, rope_, stream_);
  passes_.decoding += layers() * (std::ssize(continuation) - 1);
  return continuation;
}

std::optional<std::vector<std::vector<std::int32_t>>> BranchingPass::continuations(
    const infer::GenerationPrompt& prompt) {
  const auto T = static_cast<std::int64_t>(prompt.tokens.size());
  const std::int64_t capacity = T + prompt.new_tokens;
  std::ignore = rope_.sequence(capacity, 1, 0, stream_);  // a sequence holds until tables grow
  const model::Sequence sequence = rope_.sequence(T, 1, 0, stream_);
  const Tensor x = embedded(prompt.tokens, sequence);
  std::vector<MixerCache> caches = infer::make_caches(teacher_, 0, capacity, dtype_, stream_);
  std::vector<std::vector<std::int32_t>> continued(replaced_.size() + 1);
  for (int layer = 0; layer < layers(); ++layer) {
    if (stop_()) return std::nullopt;
    pass_point({"branch"});
    const model::Transformer& replaced = replaced_[static_cast<std::size_t>(layer)];
    // What it keeps of the layers below is the teacher's, lent to it: keys and values alone.
    std::vector<MixerCache> branch(std::make_move_iterator(caches.begin()),
                                   std::make_move_iterator(caches.begin() + layer));
    for (MixerCache& own : infer::make_caches(replaced, layer, capacity, dtype_, stream_))
      branch.push_back(std::move(own));
    const Tensor h =
        finish(replaced, layer, Tensor::copy_of(stream_, x), sequence, &branch, passes_.branches);
    continued[static_cast<std::size_t>(layer) + 1] = decode(replaced, branch, h, prompt);
    for (std::size_t below = 0; below < static_cast<std::size_t>(layer); ++below) {
      caches[below] = std::move(branch[below]);
      caches[below].length = T;  // without the continuation
    }
    teacher_.block(layer).infer(x, sequence, &caches[static_cast<std::size_t>(layer)], stream_);
    ++passes_.teacher;
  }
  const Tensor h = finish(teacher_, layers(), x, sequence, &caches, passes_.teacher);
  continued[0] = decode(teacher_, caches, h, prompt);
  ++passes_.batches;
  return continued;
}

}  // namespace halo::method
