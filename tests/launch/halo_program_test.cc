#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
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

TEST(HaloProgram, BenchesTheKernelsThatAreAskedFor) {
  const test::TemporaryFolder folder;
  const auto path = [&](const char* file) { return (folder.path() / file).string(); };
  write_file_atomically(path("peer.json"), R"({"device": "cpu", "rows": [
      {"name": "gemm 64x768x256", "ms": 1, "tflops": 1}]})");
  const Result result = halo(
      "bench kernels --model tiny --tokens 64 --repeats 1 --threads 1 --only '^(linear|swiglu) "
      ".*(768|up)'"
      " --peer " +
      path("peer.json") + " --json " + path("out.json"));
  ASSERT_EQ(result.code, 0) << result.output;
  EXPECT_NE(result.output.find("CPU, 1 threads, tiny in float32"), std::string::npos);
  EXPECT_NE(result.output.find("\nswiglu"), std::string::npos) << result.output;
  EXPECT_EQ(result.output.find("\nadamw"), std::string::npos) << result.output;
  const auto document = nlohmann::json::parse(read_file(path("out.json")));
  EXPECT_GT(document["product_flops_per_s"], 0);
  bool beside = false;
  for (const auto& row : document["rows"]) {
    EXPECT_GT(row["ms"], 0) << row;
    beside = beside || row.value("peer", "") == "gemm 64x768x256";
  }
  EXPECT_TRUE(beside) << document;
}

TEST(HaloProgram, RefusesABenchThatCannotBe) {
  const test::TemporaryFolder folder;
  for (const std::string& arguments : std::vector<std::string>{
           "--model qwen4", "--only 'swiglu('", "--only 'no such kernel'", "--dtype BF16",
           "--dtype FP8", "--device tpu", "--tokens -1", "--repeats 0", "--json /",
           "--peer " + (folder.path() / "none.json").string(),
           "--json " + (folder.path() / "no" / "such" / "folder").string()}) {
    const Result result = halo("bench kernels --model tiny " + arguments);
    EXPECT_EQ(result.code, 2) << arguments << '\n' << result.output;
    EXPECT_TRUE(result.output.starts_with("halo: error: ")) << result.output;
    EXPECT_EQ(result.output.find('\n'), result.output.size() - 1) << result.output;
  }
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
