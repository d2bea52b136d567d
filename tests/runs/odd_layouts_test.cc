// Models, sequences and batches that do not divide by their layout: one rank's numbers, to rounding.
#include <gtest/gtest.h>

#include "tests/runs/small_run.h"

namespace halo::test {
namespace {

struct OddCase {
  const char* name;
  SmallModelOptions model;
  std::vector<LayoutCase> layouts;
  std::vector<std::string> settings;
};
void PrintTo(const OddCase& odd, std::ostream* out) { *out << odd.name; }
std::string name_of(const testing::TestParamInfo<OddCase>& info) { return info.param.name; }

/// {pipeline, data, context, tensor}, with the way of one of the two kinds of context parallelism.
LayoutCase ring(parallel::Layout layout, int chunks = 1) {
  return {layout, chunks, "RING", "RING", false, true, 1000};
}
LayoutCase gather(parallel::Layout layout, int chunks = 1) {
  return {layout, chunks, "ALL_GATHER", "SCAN", true, true, 1000};
}

std::vector<OddCase> cases() {
  std::vector<OddCase> cases;
  cases.push_back({"SevenLayersOnThreeStages",
                   {},
                   {ring({3, 1, 1, 1}), gather({3, 1, 1, 1}, 2), ring({7, 1, 1, 1})},
                   {}});
  cases.push_back({"SeventyFiveTokensOnFourContextRanks",
                   {},
                   {ring({1, 1, 4, 1}), gather({1, 1, 4, 1}), ring({1, 1, 4, 2})},
                   {}});
  SmallModelOptions untied;
  untied.tied = false;
  cases.push_back({"ThreeKeyHeadsOnTwoAndFourTensorRanks",
                   untied,
                   {ring({1, 1, 1, 2}), ring({1, 1, 1, 4}), gather({1, 1, 2, 4})},
                   {}});
  cases.push_back(
      {"VocabularyOf131OnThreeTensorRanks", {}, {ring({1, 1, 1, 3}), gather({2, 1, 1, 3}, 2)}, {}});
  cases.push_back({"UntiedVocabularyOf131OnFiveTensorRanks", untied, {ring({1, 1, 1, 5})}, {}});
  SmallModelOptions few;
  few.vocab_size = 5;
  few.T = 5;
  cases.push_back({"FewerTokensThanFragmentsAndFewerWordsThanTensorRanks",
                   few,
                   {ring({1, 1, 4, 1}), gather({1, 1, 1, 6}), ring({1, 1, 2, 4})},
                   {}});
  // So many logits at once that as many bytes of them are 1023 rows on the first rank and 1024 on the second.
  SmallModelOptions wide;
  wide.layers = 1;
  wide.keep = "0";
  wide.vocab_size = 16385;
  wide.T = 1030;
  wide.sequences = 1;
  cases.push_back(
      {"LogitsInSeveralPartsOnTwoTensorRanks", wide, {ring({1, 1, 1, 2})}, {"train.steps=1"}});
  SmallModelOptions one;
  one.sequences = 1;
  cases.push_back({"OneSequenceOnFourDataRanks",
                   one,
                   {ring({1, 4, 1, 1}), gather({2, 3, 1, 1}), ring({1, 2, 2, 2})},
                   {}});
  // Sequences are cut after 19, 38 and 57 tokens on 2 ranks of the context axis, after each 10 on 4.
  SmallModelOptions documents;
  documents.documents = {19, 19, 1, 11, 7, 18, 10, 20, 3, 27, 15, 40, 2, 33, 75};
  cases.push_back({"DocumentsThatEndInsideAndOnCuts",
                   documents,
                   {ring({1, 1, 2, 1}), gather({1, 1, 2, 1}), ring({1, 1, 4, 1}),
                    gather({1, 1, 4, 1}), ring({2, 1, 2, 2})},
                   {"train.data.document_masks=true"}});
  return cases;
}

class OddLayoutsTest : public testing::TestWithParam<OddCase> {};

TEST_P(OddLayoutsTest, EqualOneRank) {
  const SmallRun small(GetParam().model, GetParam().settings);
  for (const LayoutCase& c : GetParam().layouts) small.expect_one_ranks_results(c);
}

INSTANTIATE_TEST_SUITE_P(Small, OddLayoutsTest, testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace halo::test
