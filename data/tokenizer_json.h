#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/pre_tokenizer.h"

namespace halo::data {

/// What a tokenizer.json says, checked: ids are 0 ... n-1 without a gap, the vocabulary's first, and every byte has a
/// token.
struct TokenizerSpec {
  std::vector<std::string> vocabulary;  // spellings by id, in the byte-level alphabet
  std::vector<AddedToken> added_tokens;
  bool nfc = false;
  PreTokenizerSpec pre_tokenizer;
  BpeSpec bpe;
};

/// Reads a tokenizer.json of the byte-level BPE kind. `name` is the file's name in errors. Throws InputError with file,
/// place and reason for what is malformed and for every setting that would change ids and is not supported.
[[nodiscard]] TokenizerSpec parse_tokenizer_json(std::string_view text, std::string_view name);

}  // namespace halo::data
