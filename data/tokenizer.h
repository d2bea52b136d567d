#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halo::data {

/// A byte-level BPE tokenizer read from a Hugging Face tokenizer.json. Its ids are those of the `tokenizers` package
/// (docs/formats/tokenizer.md). Every const method may be called from several threads at once.
class Tokenizer {
 public:
  /// Throws InputError with file, place and reason for a file that is malformed, or asks for what is not supported.
  explicit Tokenizer(const std::filesystem::path& path);
  /// The same from a text; `name` stands for the file's name in errors.
  [[nodiscard]] static Tokenizer parse(std::string_view text, std::string_view name);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// The ids of a text of at most 1 GiB. Added tokens in it are recognised; nothing is put before or after it.
  /// Bytes that are no UTF-8 count as U+FFFD, one for each maximal ill-formed part.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;
  /// The same, appended to `ids`.
  void encode(std::string_view text, std::vector<std::int32_t>& ids) const;

  /// The text of the ids, with U+FFFD for what is no UTF-8 together. decode(encode(x)) is x, normalized to NFC where the
  /// file asks for it. `skip_special` leaves special tokens out. Throws Error for an id outside the vocabulary.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids,
                                   bool skip_special = false) const;
  /// The bytes of one token, which need not be UTF-8 by themselves. Throws Error for an id outside the vocabulary.
  [[nodiscard]] const std::string& bytes_of(std::int32_t id) const;

  /// Whether the file marks it special, so that it stands for no text. Throws like bytes_of.
  [[nodiscard]] bool is_special(std::int32_t id) const;

  [[nodiscard]] std::int32_t vocab_size()
      const;  // added tokens included; ids are 0 to vocab_size() - 1
  /// The id of a token by its spelling in the file: "<|im_end|>", or "Ġthe" for " the".
  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view spelling) const;
  [[nodiscard]] const std::string& sha256() const;  // of the file's bytes, 64 hexadecimal digits

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace halo::data
