#include "data/bpe_json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "core/base/error.h"
#include "data/byte_level.h"

namespace halo::data {
namespace {

void check_empty(const JsonValue& model, std::string_view key) {
  const auto found = model.find(key);
  if (found && !found->string().empty()) found->fail("is not supported, it must be empty");
}

bool flag(const JsonValue& model, std::string_view key) {
  const auto found = model.find(key);
  return found && found->boolean();
}

/// With a token for every byte nothing is ever unknown, so unk_token, fuse_unk and byte_fallback change no id.
void check_settings(const JsonValue& model) {
  model.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                    "merges"});
  const std::string& type = model.at("type").string();
  if (type != "BPE") model.fail(str("model ", type, " is not supported, only BPE"));
  if (const auto dropout = model.find("dropout"); dropout && dropout->number() != 0) {
    dropout->fail("is not supported, it must be null");
  }
  check_empty(model, "continuing_subword_prefix");
  check_empty(model, "end_of_word_suffix");
  (void)flag(model, "fuse_unk");
  (void)flag(model, "byte_fallback");
  if (const auto unknown = model.find("unk_token")) (void)unknown->string();
}

void read_vocabulary(const JsonValue& vocab, BpeModel& out) {
  vocab.require_object();
  const std::size_t size = vocab.raw().size();
  if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    vocab.fail(str("holds ", size, " tokens"));
  }
  out.vocabulary.resize(size);
  std::vector<bool> used(size);
  out.ids.reserve(size);
  for (const auto& [token, id] : vocab.raw().items()) {
    const JsonValue value(id, str(vocab.place(), ": \"", token, '"'));
    const auto i =
        static_cast<std::size_t>(value.integer(0, std::numeric_limits<std::int32_t>::max()));
    if (i >= size) {
      value.fail(
          str("id ", i, " in a vocabulary of ", size, " tokens: ids must be 0 to ", size - 1));
    }
    if (used[i]) value.fail(str("id ", i, " is \"", out.vocabulary[i], "\"'s too"));
    used[i] = true;
    out.vocabulary[i] = token;
    out.ids.emplace(token, static_cast<std::int32_t>(i));
  }
}

using TokenPair = std::pair<std::string_view, std::string_view>;

/// A merge is ["a", "b"] or "a b".
TokenPair read_pair(const JsonValue& value) {
  if (value.raw().is_array()) {
    if (value.size() != 2) value.fail(str("a merge has two tokens, not ", value.size()));
    return {value[0].string(), value[1].string()};
  }
  const std::string_view line = value.string();
  const auto space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    value.fail(str("a merge is two tokens with a space between, not \"", line, '"'));
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

std::int32_t id_of(const JsonValue& merge, const VocabularyIds& ids, const std::string& token) {
  const auto found = ids.find(token);
  if (found == ids.end()) merge.fail(str("\"", token, "\" is not in the vocabulary"));
  return found->second;
}

void read_merges(const JsonValue& merges, BpeModel& out) {
  const std::size_t size = merges.size();
  out.bpe.merges.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    const JsonValue merge = merges[i];
    if (merge.raw().is_string() && merge.string().rfind("#version", 0) == 0) continue;
    const auto [left, right] = read_pair(merge);
    const std::string l(left);
    const std::string r(right);
    out.bpe.merges.push_back(
        {id_of(merge, out.ids, l), id_of(merge, out.ids, r), id_of(merge, out.ids, l + r)});
  }
}

void find_bytes(const JsonValue& vocab, BpeModel& out) {
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::string& spelling = byte_level_alphabet()[byte];
    const auto found = out.ids.find(spelling);
    if (found == out.ids.end()) {
      vocab.fail(str("has no token \"", spelling, "\" for byte ", byte,
                     ": only byte-level vocabularies are supported"));
    }
    out.bpe.byte_ids[byte] = found->second;
  }
}

}  // namespace

BpeModel read_bpe_model(const JsonValue& model) {
  check_settings(model);
  BpeModel out;
  read_vocabulary(model.at("vocab"), out);
  find_bytes(model.at("vocab"), out);
  read_merges(model.at("merges"), out);
  if (flag(model, "ignore_merges")) {
    for (const auto& [token, id] : out.ids) {
      if (const auto bytes = byte_level_bytes(token)) out.bpe.whole_pieces.emplace(*bytes, id);
    }
  }
  return out;
}

}  // namespace halo::data
