#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

#include "core/base/file.h"
#include "tests/temporary_folder.h"

namespace halo::launch {
namespace {

struct Result {
  int code = -1;
  std::string output;  // standard output and standard error
};

Result halo(const std::string& arguments) {
  const std::string command = std::string("'" HALO_PROGRAM "' ") + arguments + " 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  Result result;
  std::array<char, 4096> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    result.output.append(buffer.data(), n);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  return result;
}

std::string last_line(const std::string& text) {
  if (text.empty()) return "";
  return text.substr(text.rfind('\n', text.size() - 2) + 1);
}

TEST(HaloProgram, SelectsThePublishedLayers) {
  const Result small = halo("select --scores " HALO_SWEEP_FOLDER "/qwen3-1.7b.json --keep 7");
  EXPECT_EQ(small.code, 0);
  EXPECT_EQ(last_line(small.output), "2,3,6,8,9,21,25\n");
  // A published config of this model keeps layer 31 where its own scores say 34.
  const Result large = halo("select --scores " HALO_SWEEP_FOLDER "/qwen3-4b.json --keep 9");
  EXPECT_EQ(last_line(large.output), "0,1,7,14,15,22,24,33,34\n");
}

TEST(HaloProgram, AnswersBadInputWithOneLineAndCode2) {
  for (const char* arguments :
       {"", "selekt", "select", "select --scores /no/such/file", "select --scores / --keep 1",
        "select --scores " HALO_SWEEP_FOLDER "/qwen3-4b.json --keep 37",
        "select --scores " HALO_SWEEP_FOLDER "/qwen3-4b.json --keep many",
        "select --scores " HALO_SWEEP_FOLDER "/qwen3-4b.json --keep 0"}) {
    const Result result = halo(arguments);
    EXPECT_EQ(result.code, 2) << arguments;
    EXPECT_TRUE(result.output.starts_with("halo: error: ")) << result.output;
    EXPECT_EQ(result.output.find('\n'), result.output.size() - 1) << result.output;
  }
  EXPECT_NE(halo("selekt").output.find("did you mean \"select\"?"), std::string::npos);
}

TEST(HaloProgram, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(halo("--help").code, 0);
  EXPECT_EQ(halo("select --help").code, 0);
  EXPECT_NE(halo("--help").output.find("select"), std::string::npos);
  EXPECT_EQ(halo("--version").code, 0);
  EXPECT_TRUE(halo("--version").output.starts_with("halo ")) << halo("--version").output;
}

TEST(HaloProgram, NothingThatIsReadIsWrittenOver) {
  const test::TemporaryFolder folder;
  const auto path = [&](const char* file) { return (folder.path() / file).string(); };
  const std::string text = R"({"text": "some text to learn from, some text to keep"})"
                           "\n";
  write_file_atomically(path("text.jsonl"), text);
  write_file_atomically(path("more.jsonl"), text);
  ASSERT_EQ(
      halo("tokenizer train --vocab 270 --out " + path("t.json") + ' ' + path("text.jsonl")).code,
      0);
  const std::string tokenizer = read_file(path("t.json"));
  const std::string tokenize = "tokenize --tokenizer " + path("t.json");
  for (const std::string& arguments :
       {"tokenizer train --vocab 270 --out " + path("./text.jsonl") + ' ' + path("text.jsonl"),
        tokenize + " --out " + path("text.jsonl") + ' ' + path("text.jsonl"),
        tokenize + " --out " + path("t.json") + ' ' + path("text.jsonl"),
        tokenize + " --validation_fraction 0.5 --validation_out " + path("more.jsonl") + " --out " +
            path("o.h5") + ' ' + path("text.jsonl") + ' ' + path("more.jsonl")}) {
    const Result result = halo(arguments);
    EXPECT_EQ(result.code, 2) << arguments;
    EXPECT_NE(result.output.find("would be overwritten"), std::string::npos) << result.output;
  }
  EXPECT_EQ(read_file(path("text.jsonl")), text);
  EXPECT_EQ(read_file(path("more.jsonl")), text);
  EXPECT_EQ(read_file(path("t.json")), tokenizer);
}

TEST(HaloProgram, OutputThatIsLostIsAFailure) {
  EXPECT_EQ(halo("select --scores " HALO_SWEEP_FOLDER "/qwen3-4b.json >/dev/full").code, 1);
}

}  // namespace
}  // namespace halo::launch
