#include "core/infer/tasks.h"

#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/infer/byte_tokenizer.h"
#include "tests/temporary_folder.h"

namespace halo::infer {
namespace {

constexpr std::string_view kChoice =
    "{\"type\": \"choice\", \"context\": \"a\", \"choices\": [\" b\", \" c\"], \"answer\": 1}\n";
constexpr std::string_view kRecall =
    "{\"type\": \"recall\", \"prompt\": \"p\", \"answer\": \" q\"}\n";

std::string error_of(std::string_view jsonl) {
  try {
    (void)parse_task(jsonl, "dir/t.jsonl");
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Tasks, ReadsEachType) {
  const Task choice =
      parse_task(std::string(kChoice) + "\n  \r\n" + std::string(kChoice), "x/some.jsonl");
  EXPECT_EQ(choice.name, "some");
  EXPECT_FALSE(measures_recall(choice));
  ASSERT_EQ(choice.examples.size(), 2u);
  EXPECT_EQ(choice.examples[1].answers, (std::vector<std::string>{" b", " c"}));
  EXPECT_EQ(choice.examples[1].correct, 1);

  const Task recall = parse_task(kRecall, "r");
  EXPECT_EQ(recall.type, TaskExample::Type::kRecall);
  EXPECT_TRUE(measures_recall(recall));
  EXPECT_EQ(recall.examples[0].context, "p");
  EXPECT_EQ(recall.examples[0].answers, std::vector<std::string>{" q"});

  const Task generation =
      parse_task(R"({"type": "generation", "prompt": "p", "answer": "q"})", "g");
  EXPECT_EQ(generation.type, TaskExample::Type::kGeneration);
  EXPECT_TRUE(measures_recall(generation));
}

TEST(Tasks, RefusesWithFileLineAndReason) {
  const auto expect = [](const std::string& jsonl, std::string_view part) {
    const std::string error = error_of(jsonl);
    EXPECT_EQ(error.rfind("dir/t.jsonl", 0), 0u) << error;
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect("", "no examples");
  expect(" \n\n", "no examples");
  expect(std::string(kChoice) + "{", ":2");
  expect("[]", "object");
  expect(R"({"type": "sum"})", "none of \"choice\"");
  expect(R"({"type": "recall", "prompt": "p"})", "answer");
  expect(R"({"type": "recall", "prompt": "p", "answer": " "})", "an answer is empty");
  expect(R"({"type": "choice", "context": "a", "choices": ["b"], "answer": 0})", "two answers");
  expect(R"({"type": "choice", "context": "a", "choices": ["b", "c"], "answer": 2})", "answer");
  expect(R"({"type": "choice", "context": "a", "choices": ["b", 3], "answer": 0})", "choices");
  expect(std::string(kChoice) + std::string(kRecall), ":2: the file holds examples of two types");
}

TEST(Tasks, AnswersAreScoredFromWhereTheyPartFromTheContext) {
  const data::Tokenizer tokenizer = byte_tokenizer();
  // " th" + "e x": the context's bytes " th" become the token " the" together with the answer's first.
  const Task task = parse_task(R"({"type": "recall", "prompt": "ab th", "answer": "e x"})", "t");
  const auto sequences = scored_sequences(task, tokenizer, 100);
  ASSERT_EQ(sequences.size(), 1u);
  EXPECT_EQ(sequences[0].tokens, tokenizer.encode("ab the x"));
  EXPECT_EQ(sequences[0].answer_begin, 2);
  EXPECT_EQ(sequences[0].characters, 3);
}

TEST(Tasks, AContextThatIsTooLongLosesItsBeginning) {
  const data::Tokenizer tokenizer = byte_tokenizer();
  const Task task = parse_task(R"({"type": "recall", "prompt": "abcdefgh", "answer": "äz"})", "t");
  const auto all = scored_sequences(task, tokenizer, 11);
  EXPECT_EQ(all[0].answer_begin, 8);
  EXPECT_EQ(all[0].characters, 2);
  const auto cut = scored_sequences(task, tokenizer, 4);
  EXPECT_EQ(cut[0].tokens, tokenizer.encode("häz"));
  EXPECT_EQ(cut[0].answer_begin, 1);
  EXPECT_THROW((void)scored_sequences(task, tokenizer, 3), InputError) << "no token before it";
}

TEST(Tasks, FilesAreCutAndTwoOfOneNameAreRefused) {
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "a");
  const std::string first = (folder / "t.jsonl").string(), same = (folder / "a/t.jsonl").string(),
                    other = (folder / "a/u.jsonl").string();
  for (const std::string& path : {first, same, other})
    write_file_atomically(path, std::string(kChoice) + std::string(kChoice));
  const auto tasks = read_tasks({first, other}, 1);
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].examples.size() + tasks[1].examples.size(), 2u);
  EXPECT_EQ(read_tasks({first}, 0)[0].examples.size(), 2u);
  try {
    (void)read_tasks({first, other, same}, 0);
    FAIL() << "two tasks are named t";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), same + ": its task is named t, as that of " + first);
  }
}

}  // namespace
}  // namespace halo::infer
