#include "data/batch_views.h"

namespace halo::data {

std::vector<std::int32_t> next_token_labels(const MicroBatch& batch) {
  std::vector<std::int32_t> labels(batch.tokens.size(), -1);
  const auto B = static_cast<std::size_t>(batch.B);
  for (std::size_t i = 0; i + B < labels.size(); ++i) {
    const auto next = static_cast<std::int32_t>((i + B) / B);  // t + 1
    const bool starts_document =
        !batch.document_start.empty() && batch.document_start[i + B] == next;
    if (!starts_document) labels[i] = batch.tokens[i + B];
  }
  return labels;
}

}  // namespace halo::data
