#include "data/tokenizer.h"

#include <mutex>
#include <unordered_map>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/sha256.h"
#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/byte_level.h"
#include "data/piece_cache.h"
#include "data/pre_tokenizer.h"
#include "data/tokenizer_json.h"
#include "data/unicode.h"

namespace halo::data {
namespace {

std::vector<AddedToken> looked_for(const std::vector<AddedToken>& tokens, bool normalized,
                                   bool use_nfc) {
  std::vector<AddedToken> chosen;
  std::string scratch;
  for (AddedToken token : tokens) {
    if (token.normalized != normalized) continue;
    if (normalized && use_nfc) token.content = nfc(token.content, scratch);
    chosen.push_back(std::move(token));
  }
  return chosen;
}

}  // namespace

struct Tokenizer::Impl {
  /// What encoding needs to itself. Scratches are lent to one call at a time, so their number is that of threads.
  struct Scratch {
    std::string utf8, normal;
    std::vector<AddedTokenMatcher::Segment> raw_segments, segments;
    PreTokenizer::Scratch pre_tokenizer;
    std::vector<std::string_view> pieces;
    Bpe::Scratch bpe;
    PieceCache cache;
  };

  Impl(TokenizerSpec spec, std::string digest, std::string_view name)
      : use_nfc(spec.nfc),
        raw_tokens(looked_for(spec.added_tokens, false, spec.nfc)),
        normalized_tokens(looked_for(spec.added_tokens, true, spec.nfc)),
        pre_tokenizer(spec.pre_tokenizer, str(name, ": pre_tokenizer")),
        bpe(std::move(spec.bpe)),
        sha256(std::move(digest)) {
    for (const std::string& token : spec.vocabulary) add_token(token);
    special.resize(bytes.size());
    for (const AddedToken& token : spec.added_tokens) {
      if (static_cast<std::size_t>(token.id) == bytes.size()) add_token(token.content);
      special.resize(bytes.size());
      special[static_cast<std::size_t>(token.id)] = token.special;
    }
  }

  void add_token(const std::string& spelling) {
    ids.emplace(spelling, static_cast<std::int32_t>(bytes.size()));
    bytes.push_back(byte_level_bytes(spelling).value_or(spelling));
  }

  [[nodiscard]] const std::string& bytes_of(std::int32_t id) const {
    HALO_REQUIRE(id >= 0 && static_cast<std::size_t>(id) < bytes.size(),
                 str("id ", id, " is not in the vocabulary of ", bytes.size(), " tokens"));
    return bytes[static_cast<std::size_t>(id)];
  }

  void encode_text(std::string_view text, Scratch& scratch, std::vector<std::int32_t>& out) const {
    pre_tokenizer.split(text, scratch.pre_tokenizer, scratch.pieces);
    for (const std::string_view piece : scratch.pieces) {
      const auto known = scratch.cache.find(piece);
      if (!known.empty()) {
        out.insert(out.end(), known.begin(), known.end());
        continue;
      }
      const std::size_t begin = out.size();
      bpe.encode(piece, scratch.bpe, out);
      scratch.cache.insert(piece, std::span(out).subspan(begin));
    }
  }

  void encode(std::string_view text, Scratch& scratch, std::vector<std::int32_t>& out) const {
    text = valid_utf8(text, scratch.utf8);
    scratch.raw_segments.clear();
    raw_tokens.split(text, scratch.raw_segments);
    for (const auto& raw : scratch.raw_segments) {
      if (raw.id != AddedTokenMatcher::kText) {
        out.push_back(raw.id);
        continue;
      }
      scratch.segments.clear();
      normalized_tokens.split(use_nfc ? nfc(raw.text, scratch.normal) : raw.text, scratch.segments);
      for (const auto& segment : scratch.segments) {
        if (segment.id != AddedTokenMatcher::kText) {
          out.push_back(segment.id);
        } else {
          encode_text(segment.text, scratch, out);
        }
      }
    }
  }

  std::unique_ptr<Scratch> borrow() {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return std::make_unique<Scratch>();
    auto scratch = std::move(idle.back());
    idle.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(scratch));
  }

  bool use_nfc;
  AddedTokenMatcher raw_tokens, normalized_tokens;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  std::string sha256;
  std::vector<std::string> bytes;  // by id
  std::vector<bool> special;       // by id
  std::unordered_map<std::string, std::int32_t> ids;
  std::mutex mutex;
  std::vector<std::unique_ptr<Scratch>> idle;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(const std::filesystem::path& path)
    : Tokenizer(parse(read_file(path), path.string())) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::parse(std::string_view text, std::string_view name) {
  return Tokenizer(
      std::make_unique<Impl>(parse_tokenizer_json(text, name), sha256_hex(text), name));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  encode(text, ids);
  return ids;
}

void Tokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  auto scratch = impl_->borrow();
  impl_->encode(text, *scratch, ids);
  impl_->give_back(std::move(scratch));
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string text;
  for (const std::int32_t id : ids) {
    const std::string& bytes = impl_->bytes_of(id);
    if (!skip_special || !is_special(id)) text += bytes;
  }
  std::string scratch;
  return std::string(valid_utf8(text, scratch));
}

const std::string& Tokenizer::bytes_of(std::int32_t id) const { return impl_->bytes_of(id); }

bool Tokenizer::is_special(std::int32_t id) const {
  (void)impl_->bytes_of(id);
  return impl_->special[static_cast<std::size_t>(id)];
}

std::int32_t Tokenizer::vocab_size() const {
  return static_cast<std::int32_t>(impl_->bytes.size());
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view spelling) const {
  const auto found = impl_->ids.find(std::string(spelling));
  if (found == impl_->ids.end()) return std::nullopt;
  return found->second;
}

const std::string& Tokenizer::sha256() const { return impl_->sha256; }

}  // namespace halo::data
