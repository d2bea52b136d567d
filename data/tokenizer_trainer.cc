#include "data/tokenizer_trainer.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>
#include <utility>

#include "core/base/error.h"
#include "data/bpe_learner.h"
#include "data/byte_level.h"
#include "data/pre_tokenizer.h"
#include "data/unicode.h"

namespace halo::data {
namespace {

using nlohmann::ordered_json;

constexpr std::int32_t kBytes = 256;

PreTokenizerSpec qwen3_pre_tokenizer() {
  PreTokenizerSpec spec;
  spec.splits.emplace_back().pattern = kQwen3Split;
  return spec;
}

/// Bytes in the order of their spellings, so that "!" is 0, as in GPT-2's and Qwen's vocabularies.
std::array<std::int32_t, 256> byte_ids() {
  std::array<std::size_t, 256> order{};
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto& spellings = byte_level_alphabet();
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return spellings[a] < spellings[b]; });
  std::array<std::int32_t, 256> ids{};
  for (std::size_t i = 0; i < order.size(); ++i) ids[order[i]] = static_cast<std::int32_t>(i);
  return ids;
}

std::string spell(const std::string& bytes) {
  std::string spelling;
  for (const char c : bytes) spelling += byte_level_alphabet()[static_cast<unsigned char>(c)];
  return spelling;
}

ordered_json byte_level_step() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

ordered_json added_token(std::size_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

ordered_json model_of(const std::vector<std::string>& spellings, const std::vector<Merge>& merges) {
  ordered_json vocab = ordered_json::object();
  auto& members = vocab.get_ref<ordered_json::object_t&>();
  members.reserve(spellings.size());  // appended as they are: no two spellings are equal
  for (std::size_t id = 0; id < spellings.size(); ++id) {
    static_cast<std::vector<std::pair<const std::string, ordered_json>>&>(members).emplace_back(
        spellings[id], id);
  }
  ordered_json lines = ordered_json::array();
  for (const Merge& merge : merges) {
    lines.push_back(str(spellings[static_cast<std::size_t>(merge.left)], ' ',
                        spellings[static_cast<std::size_t>(merge.right)]));
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", ""},
          {"end_of_word_suffix", ""},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(lines)}};
}

ordered_json document_of(const std::vector<std::string>& spellings,
                         const std::vector<Merge>& merges,
                         const std::vector<std::string>& special_tokens) {
  ordered_json added = ordered_json::array();
  for (const std::string& token : special_tokens) {
    added.push_back(added_token(spellings.size() + added.size(), token));
  }
  const ordered_json split{{"type", "Split"},
                           {"pattern", {{"Regex", kQwen3Split}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added)},
      {"normalizer", {{"type", "NFC"}}},
      {"pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", ordered_json::array({split, byte_level_step()})}}},
      {"post_processor", byte_level_step()},
      {"decoder", byte_level_step()},
      {"model", model_of(spellings, merges)}};
}

}  // namespace

struct TokenizerTrainer::Impl {
  explicit Impl(TrainerOptions settings)
      : options(std::move(settings)), pre_tokenizer(qwen3_pre_tokenizer(), "Qwen3's split") {}

  TrainerOptions options;
  PreTokenizer pre_tokenizer;
  PreTokenizer::Scratch scratch;
  std::string utf8, normal;
  std::vector<std::string_view> pieces;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> counts;
};

TokenizerTrainer::TokenizerTrainer(TrainerOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  std::vector<std::string> special = impl_->options.special_tokens;
  const auto least = kBytes + std::ssize(special);
  HALO_REQUIRE_INPUT(
      impl_->options.vocab_size >= least,
      str("a vocabulary of ", impl_->options.vocab_size, " tokens cannot hold ", kBytes,
          " bytes and ", special.size(), " special tokens: at least ", least));
  std::string scratch;
  for (const std::string& token : special) {
    HALO_REQUIRE_INPUT(!token.empty(), "an empty special token");
    HALO_REQUIRE_INPUT(valid_utf8(token, scratch) == token, "a special token is not UTF-8");
  }
  std::sort(special.begin(), special.end());
  const auto twice = std::adjacent_find(special.begin(), special.end());
  HALO_REQUIRE_INPUT(
      twice == special.end(),
      str("special token \"", twice == special.end() ? "" : *twice, "\" is given twice"));
}

TokenizerTrainer::~TokenizerTrainer() = default;

void TokenizerTrainer::add(std::string_view document) {
  Impl& my = *impl_;
  const std::string_view text = nfc(valid_utf8(document, my.utf8), my.normal);
  my.pre_tokenizer.split(text, my.scratch, my.pieces);
  for (const std::string_view piece : my.pieces) {
    const auto found = my.counts.find(piece);
    if (found != my.counts.end()) {
      ++found->second;
    } else {
      my.counts.emplace(piece, 1);
    }
  }
}

std::string TokenizerTrainer::train() const {
  // Sorted, so that the result cannot depend on the order of a hash map.
  const std::map<std::string_view, std::int64_t> words(impl_->counts.begin(), impl_->counts.end());
  BpeLearner learner(byte_ids());
  for (const auto& [piece, count] : words) learner.add(piece, count);
  const TrainerOptions& options = impl_->options;
  const auto merges = learner.learn(options.vocab_size - std::ssize(options.special_tokens),
                                    options.min_pair_count);
  std::vector<std::string> spellings;
  for (const std::string& token : learner.tokens()) spellings.push_back(spell(token));
  return document_of(spellings, merges, options.special_tokens).dump(2) + '\n';
}

}  // namespace halo::data
