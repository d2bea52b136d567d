#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "data/byte_level.h"
#include "data/pre_tokenizer.h"

namespace halo::data {

/// A tokenizer.json with the 256 bytes and `merges`, NFC and Qwen3's split, and the added token <|end|>.
inline nlohmann::json tiny_tokenizer(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  using nlohmann::json;
  json vocab = json::object();
  for (const std::string& spelling : byte_level_alphabet()) vocab[spelling] = vocab.size();
  json lines = json::array();
  for (const auto& [left, right] : merges) {
    vocab[left + right] = vocab.size();
    lines.push_back({left, right});
  }
  const json byte_level{{"type", "ByteLevel"},
                        {"add_prefix_space", false},
                        {"trim_offsets", false},
                        {"use_regex", false}};
  const json split{{"type", "Split"},
                   {"pattern", {{"Regex", kQwen3Split}}},
                   {"behavior", "Isolated"},
                   {"invert", false}};
  const json end{{"id", vocab.size()}, {"content", "<|end|>"}, {"single_word", false},
                 {"lstrip", false},    {"rstrip", false},      {"normalized", false},
                 {"special", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", json::array({end})},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer",
           {{"type", "Sequence"}, {"pretokenizers", json::array({split, byte_level})}}},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", lines}}}};
}

}  // namespace halo::data
