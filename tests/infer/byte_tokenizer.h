#pragma once
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"

namespace halo::infer {

/// A tokenizer of the 256 bytes, "the", " the" and one special token.
inline data::Tokenizer byte_tokenizer() {
  data::TokenizerTrainer trainer({260, {"<|endoftext|>"}, 2});
  trainer.add("the the the the");
  return data::Tokenizer::parse(trainer.train(), "byte tokenizer");
}

}  // namespace halo::infer
