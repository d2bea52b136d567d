#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/json.h"
#include "data/bpe.h"

namespace halo::data {

using VocabularyIds = std::unordered_map<std::string, std::int32_t>;

struct BpeModel {
  std::vector<std::string> vocabulary;  // spellings by id
  VocabularyIds ids;
  BpeSpec bpe;
};

/// The "model" of a tokenizer.json. Throws InputError with place and reason: ids with a gap or used twice, a byte
/// without a token, a merge of unknown tokens, settings that are not supported.
[[nodiscard]] BpeModel read_bpe_model(const JsonValue& model);

}  // namespace halo::data
