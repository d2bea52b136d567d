// What may be used by several threads at once gives each what it gives one.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/rng.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/temporary_folder.h"

namespace halo::data {
namespace {

using Ids = std::vector<std::int32_t>;

/// How often wrong(i) is true, for i below `calls` on each of four threads.
int count_wrong(std::size_t calls, const std::function<bool(std::size_t)>& wrong) {
  std::atomic<int> count = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (std::size_t i = 0; i < calls; ++i) count += wrong(i) ? 1 : 0;
      });
    }
  }
  return count;
}

TEST(ConcurrencyTest, Tokenizer) {
  const Tokenizer tokenizer = Tokenizer::parse(
      tiny_tokenizer({{"a", "b"}, {"ab", "c"}, {"b", "a"}, {"abc", "ba"}}).dump(), "t.json");
  const CounterRng rng(4, "texts");
  std::vector<std::string> texts(200);
  std::vector<Ids> expected;
  for (std::uint64_t i = 0; i < texts.size(); ++i) {
    for (std::uint64_t j = 0; j < rng.below(60, i); ++j) {
      texts[i] += "abc '1"[rng.below(6, 1000 * (i + 1) + j)];
    }
    expected.push_back(tokenizer.encode(texts[i]));
  }
  EXPECT_EQ(count_wrong(texts.size(),
                        [&](std::size_t i) { return tokenizer.encode(texts[i]) != expected[i]; }),
            0);
}

TEST(ConcurrencyTest, TokenFile) {
  const test::TemporaryFolder folder;
  TokenFileWriter writer(folder / "t.h5", {100000, -1, ""});
  for (std::int32_t d = 0; d < 1000; ++d) writer.add_document(Ids{3 * d, 3 * d + 1, 3 * d + 2});
  writer.finish();
  const TokenFile file(folder / "t.h5");
  EXPECT_EQ(count_wrong(500,
                        [&](std::size_t i) {
                          const auto begin = static_cast<std::int64_t>(i);
                          Ids ids(2);
                          file.read(begin, ids);
                          return ids != Ids{static_cast<std::int32_t>(i),
                                            static_cast<std::int32_t>(i + 1)} ||
                                 file.document_starts(begin, begin + 4).empty();
                        }),
            0);
}

}  // namespace
}  // namespace halo::data
