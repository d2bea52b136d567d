#include "data/tokenizer_json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/base/error.h"
#include "core/base/json.h"
#include "data/bpe_json.h"

namespace halo::data {
namespace {

constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();

/// The members of a Sequence, or the value alone.
std::vector<JsonValue> sequence_of(const JsonValue& value, std::string_view members) {
  if (value.at("type").string() != "Sequence") return {value};
  value.allow_only({"type", members});
  const JsonValue list = value.at(members);
  std::vector<JsonValue> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(list[i]);
  return out;
}

bool read_normalizer(const std::optional<JsonValue>& normalizer) {
  if (!normalizer) return false;
  bool nfc = false;
  for (const JsonValue& one : sequence_of(*normalizer, "normalizers")) {
    one.allow_only({"type"});
    const std::string& type = one.at("type").string();
    if (type != "NFC") one.fail(str("normalizer ", type, " is not supported, only NFC"));
    nfc = true;
  }
  return nfc;
}

SplitStep::Behavior read_behavior(const JsonValue& value) {
  using Behavior = SplitStep::Behavior;
  const std::string& name = value.string();
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  value.fail(str("\"", name, "\" is no behavior of a Split"));
}

SplitStep read_split(const JsonValue& value) {
  value.allow_only({"type", "pattern", "behavior", "invert"});
  SplitStep step;
  const JsonValue pattern = value.at("pattern");
  pattern.allow_only({"Regex", "String"});
  step.literal = !pattern.find("Regex");
  step.pattern = pattern.at(step.literal ? "String" : "Regex").string();
  if (step.pattern.empty()) pattern.fail("an empty pattern");
  step.behavior = read_behavior(value.at("behavior"));
  step.invert = value.at("invert").boolean();
  return step;
}

bool flag(const JsonValue& value, std::string_view key, bool otherwise) {
  const auto found = value.find(key);
  return found ? found->boolean() : otherwise;
}

void check_byte_level(const JsonValue& value) {
  value.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  (void)flag(value, "trim_offsets", true);  // moves offsets, never ids
}

PreTokenizerSpec read_pre_tokenizer(const JsonValue& value) {
  PreTokenizerSpec spec;
  bool byte_level = false;
  for (const JsonValue& one : sequence_of(value, "pretokenizers")) {
    const std::string& type = one.at("type").string();
    if (byte_level) one.fail(str(type, " after ByteLevel is not supported"));
    if (type == "Split") {
      spec.splits.push_back(read_split(one));
    } else if (type == "ByteLevel") {
      check_byte_level(one);
      byte_level = true;
      spec.add_prefix_space = flag(one, "add_prefix_space", true);
      spec.use_regex = flag(one, "use_regex", true);
    } else {
      one.fail(str("pre-tokenizer ", type, " is not supported, only Split and ByteLevel"));
    }
  }
  if (!byte_level) value.fail("no ByteLevel: only byte-level BPE is supported");
  return spec;
}

/// A ByteLevel post-processor moves offsets only; any other adds tokens.
void check_post_processor(const std::optional<JsonValue>& value) {
  if (!value) return;
  for (const JsonValue& one : sequence_of(*value, "processors")) {
    const std::string& type = one.at("type").string();
    if (type != "ByteLevel") one.fail(str("post-processor ", type, " is not supported"));
    check_byte_level(one);
  }
}

void check_decoder(const JsonValue& value) {
  const auto decoders = sequence_of(value, "decoders");
  if (decoders.size() != 1) value.fail("only the decoder ByteLevel is supported");
  const std::string& type = decoders[0].at("type").string();
  if (type != "ByteLevel") decoders[0].fail(str("decoder ", type, " is not supported"));
  check_byte_level(decoders[0]);
}

AddedToken read_added_token(const JsonValue& value) {
  value.allow_only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.id = static_cast<std::int32_t>(value.at("id").integer(0, kMaxId));
  token.content = value.at("content").string();
  if (token.content.empty()) value.fail("an added token without content");
  token.single_word = value.at("single_word").boolean();
  token.lstrip = value.at("lstrip").boolean();
  token.rstrip = value.at("rstrip").boolean();
  token.normalized = value.at("normalized").boolean();
  token.special = value.at("special").boolean();
  return token;
}

/// Added tokens that the vocabulary lacks are numbered after it, in the file's order.
std::vector<AddedToken> read_added_tokens(const std::optional<JsonValue>& list,
                                          const VocabularyIds& vocabulary) {
  std::vector<AddedToken> tokens;
  if (!list) return tokens;
  std::unordered_set<std::string> seen;
  auto next = static_cast<std::int32_t>(vocabulary.size());
  for (std::size_t i = 0; i < list->size(); ++i) {
    const JsonValue value = (*list)[i];
    AddedToken token = read_added_token(value);
    if (!seen.insert(token.content).second) {
      value.fail(str("\"", token.content, "\" is added a second time"));
    }
    const auto known = vocabulary.find(token.content);
    const std::int32_t expected = known != vocabulary.end() ? known->second : next++;
    if (token.id != expected) {
      value.fail(str(
          "\"", token.content, "\" has id ", token.id, ", but ", expected, " is its id ",
          known != vocabulary.end() ? "in the vocabulary" : "as the next after the vocabulary"));
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void check_absent(const JsonValue& root, std::string_view key) {
  if (const auto found = root.find(key)) found->fail("is not supported, it must be null");
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, std::string_view name) {
  const nlohmann::json document = parse_json(text, name);
  const JsonValue root(document, std::string(name));
  root.allow_only({"version", "truncation", "padding", "added_tokens", "normalizer",
                   "pre_tokenizer", "post_processor", "decoder", "model"});
  if (root.at("version").string() != "1.0") root.at("version").fail("only 1.0 is supported");
  check_absent(root, "truncation");
  check_absent(root, "padding");
  TokenizerSpec spec;
  spec.nfc = read_normalizer(root.find("normalizer"));
  spec.pre_tokenizer = read_pre_tokenizer(root.at("pre_tokenizer"));
  check_post_processor(root.find("post_processor"));
  check_decoder(root.at("decoder"));
  BpeModel model = read_bpe_model(root.at("model"));
  spec.added_tokens = read_added_tokens(root.find("added_tokens"), model.ids);
  spec.vocabulary = std::move(model.vocabulary);
  spec.bpe = std::move(model.bpe);
  return spec;
}

}  // namespace halo::data
