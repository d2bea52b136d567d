// Any bytes are either a tokenizer, whose ids lie in its vocabulary and decode, or refused with InputError.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "data/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using halo::data::Tokenizer;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::optional<Tokenizer> tokenizer;
  try {
    tokenizer.emplace(Tokenizer::parse(text, "fuzz"));
  } catch (const halo::InputError&) {
    return 0;
  }
  constexpr std::string_view kText =
      "ab abc<|end|> I'm\r\n\n  caf\xC3\xA9 e\xCC\x81 12\xFF\xE2\x82 \xF0\x9F\x98\x80";
  for (const std::string_view input : {kText, text.substr(0, 200)}) {
    try {
      const auto ids = tokenizer->encode(input);
      for (const std::int32_t id : ids) {
        if (id < 0 || id >= tokenizer->vocab_size()) std::abort();
      }
      (void)tokenizer->decode(ids);
    } catch (const halo::InputError&) {  // a split pattern that needs too many steps
    }
  }
  return 0;
}
