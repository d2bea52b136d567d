#include "kernels/embedding.h"

#include <gmock/gmock.h>

#include "tests/kernels/error_bound.h"
#include "tests/kernels/gradient_check.h"

namespace halo::kernels {
namespace {

using testing::HasSubstr;

constexpr VocabularyPart kWhole{0, 5};

std::vector<std::int32_t> random_ids(std::int64_t N, std::int64_t V) {
  const CounterRng rng(1, "ids");
  std::vector<std::int32_t> ids(static_cast<std::size_t>(N));
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(V), i));
  return ids;
}

template <class T>
class EmbeddingTest : public testing::Test {};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(EmbeddingTest, Floats);

TYPED_TEST(EmbeddingTest, CopiesRows) {
  using T = TypeParam;
  for (const std::int64_t N : {0, 1, 2, 7, 65, 3000}) {
    for (const std::int64_t D : {1, 3, 257}) {
      const std::int64_t V = 5;
      auto table = random_values<T>(V * D, "table");
      auto ids = random_ids(N, V);
      auto y = poisoned<T>(N * D);
      Stream stream(3);
      embedding(view(y.data(), {N, D}), view(ids.data(), {N}), view(table.data(), {V, D}), kWhole,
                stream);
      for (std::int64_t i = 0; i < N * D; ++i) {
        const std::int64_t row = ids[static_cast<std::size_t>(i / D)];
        ASSERT_EQ(y[static_cast<std::size_t>(i)], table[static_cast<std::size_t>(row * D + i % D)]);
      }
    }
  }
}

// Additions in the order of n are the definition, so the plain loop has the same bits on any number of threads.
TYPED_TEST(EmbeddingTest, BackwardAddsInOrder) {
  using T = TypeParam;
  for (const std::int64_t N : {0, 1, 7, 1000}) {
    for (const std::int64_t D : {1, 3, 16, 257}) {
      const std::int64_t V = 5;
      auto ids = random_ids(N, V);
      auto dy = random_values<T>(N * D, "dy");
      const auto before = random_values<T>(V * D, "dtable");
      auto expected = before;
      for (std::int64_t i = 0; i < N * D; ++i) {
        const std::int64_t row = ids[static_cast<std::size_t>(i / D)];
        expected[static_cast<std::size_t>(row * D + i % D)] += dy[static_cast<std::size_t>(i)];
      }
      for (int threads = 1; threads <= 4; ++threads) {
        Stream stream(threads);
        auto dtable = before;
        embedding_backward(view(dtable.data(), {V, D}), view(ids.data(), {N}),
                           view(dy.data(), {N, D}), kWhole, stream);
        EXPECT_EQ(dtable, expected);
      }
    }
  }
}

TEST(Embedding, CopiesBFloat16) {
  std::vector<BFloat16> table{BFloat16(1), BFloat16(2), BFloat16(3), BFloat16(4)}, y(4);
  std::vector<std::int32_t> ids{1, 0};
  Stream stream(1);
  embedding(view(y.data(), {2, 2}), view(ids.data(), {2}), view(table.data(), {2, 2}), {0, 2},
            stream);
  EXPECT_EQ(static_cast<float>(y[0]), 3);
  EXPECT_EQ(static_cast<float>(y[3]), 2);
}

TEST(Embedding, NamesAnIdOutsideTheVocabularyAndWritesNothing) {
  Stream stream(1);
  auto table = random_values<float>(10, "table");
  auto y = random_values<float>(6, "y");
  const auto y_before = y, table_before = table;
  for (const std::int32_t bad : {5, -1, 2147483647}) {
    std::vector<std::int32_t> ids{4, 0, bad};
    const TensorView id_view = view(ids.data(), {3});
    const TensorView y_view = view(y.data(), {3, 2}), table_view = view(table.data(), {5, 2});
    const std::string expected = str("id ", bad, " at place 2 of 3");
    EXPECT_THAT(error_of([&] { embedding(y_view, id_view, table_view, kWhole, stream); }),
                testing::AllOf(HasSubstr(expected), HasSubstr("vocabulary of 5")));
    EXPECT_THAT(error_of([&] { embedding_backward(table_view, id_view, y_view, kWhole, stream); }),
                HasSubstr(expected));
  }
  EXPECT_EQ(y, y_before);
  EXPECT_EQ(table, table_before);
}

TEST(Embedding, ARowOfAnotherPartIsZeroAndGetsNothing) {
  Stream stream(1);
  std::vector<double> part{1, 2, 3}, y(5, -1.0), dpart(3, 0.5), dy{1, 10, 100, 1000, 10000};
  std::vector<std::int32_t> ids{0, 4, 2, 6, 4};  // of 7, of which rows 2, 3 and 4 are here
  const VocabularyPart rows{2, 7};
  embedding(view(y.data(), {5, 1}), view(ids.data(), {5}), view(part.data(), {3, 1}), rows, stream);
  EXPECT_EQ(y, (std::vector<double>{0, 3, 1, 0, 3}));
  embedding_backward(view(dpart.data(), {3, 1}), view(ids.data(), {5}), view(dy.data(), {5, 1}),
                     rows, stream);
  EXPECT_EQ(dpart, (std::vector<double>{100.5, 0.5, 10010.5}));
}

TEST(Embedding, ChecksItsOperands) {
  Stream stream(1);
  std::vector<float> table(10), y(6);
  std::vector<double> wide(10);
  std::vector<std::int32_t> ids(3);
  std::vector<std::int64_t> long_ids(3);
  const TensorView table_view = view(table.data(), {5, 2}), y_view = view(y.data(), {3, 2});
  const TensorView id_view = view(ids.data(), {3});
  EXPECT_THROW(embedding(view(y.data(), {2, 3}), id_view, table_view, kWhole, stream), Error);
  EXPECT_THROW(embedding(y_view, view(ids.data(), {3, 1}), table_view, kWhole, stream), Error);
  EXPECT_THROW(embedding(y_view, view(long_ids.data(), {3}), table_view, kWhole, stream), Error);
  EXPECT_THROW(embedding(y_view, id_view, view(wide.data(), {5, 2}), kWhole, stream), Error);
  EXPECT_THROW(embedding(y_view, id_view, view(table.data(), {10}), kWhole, stream), Error);
  EXPECT_THROW(embedding(view(table.data(), {3, 2}), id_view, table_view, kWhole, stream), Error);
  EXPECT_THROW(embedding_backward(view(wide.data(), {5, 2}), id_view, y_view, kWhole, stream),
               Error);
  EXPECT_THROW(embedding_backward(table_view, id_view, view(y.data(), {2, 2}), kWhole, stream),
               Error);
}

}  // namespace
}  // namespace halo::kernels
