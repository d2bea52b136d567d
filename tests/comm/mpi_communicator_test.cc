#include "parallel/comm/mpi_communicator.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "tests/comm/communicator_cases.h"
#include "tests/comm/mpi_main.h"

namespace halo::comm {
namespace {

using std::chrono::milliseconds;

struct Run {
  Case body;
  bool short_messages;
  bool few_tags = false;
};
void PrintTo(const Run& run, std::ostream* out) { *out << run.body.name; }

std::vector<Run> runs() {
  std::vector<Run> result;
  for (const bool short_messages : {false, true}) {
    for (const Case& body : collective_cases()) result.push_back({body, short_messages});
    for (const Case& body : failure_cases()) result.push_back({body, short_messages});
  }
  for (const Case& body : reuse_cases()) result.push_back({body, false, true});
  return result;
}

class MpiCommunicatorTest : public testing::TestWithParam<Run> {};

TEST_P(MpiCommunicatorTest, Holds) {
  CommunicatorOptions options{.deadline = milliseconds(60000)};
  if (GetParam().short_messages) {
    options.message_bytes = 12007;
    options.piece_bytes = 4096;
  }
  if (GetParam().few_tags) options.max_tag = kFewTags;
  const auto world = test_session().world(options);
  try {
    GetParam().body.run(*world);
  } catch (const std::exception& failure) {
    world->abort(failure.what());
    ADD_FAILURE() << failure.what();
  }
  EXPECT_FALSE(test_session().may_have_lost_a_peer());
}

INSTANTIATE_TEST_SUITE_P(Cases, MpiCommunicatorTest, testing::ValuesIn(runs()),
                         [](const auto& run) {
                           return str(run.param.body.name,
                                      run.param.short_messages ? "InShortMessages" : "",
                                      run.param.few_tags ? "WithFewTags" : "");
                         });

TEST(MpiSessionTest, WorldsAreApart) {
  const auto one = test_session().world();
  const auto two = test_session().world();
  const int last = two->size() - 1;
  if (one->rank() == last) one->abort("only the first world");
  float value = static_cast<float>(two->rank());
  two->broadcast(view(&value, {1}), last).wait();
  EXPECT_EQ(value, static_cast<float>(last));
}

}  // namespace
}  // namespace halo::comm
