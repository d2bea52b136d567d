// Bad input through the program: exit code 2, one message with the place and the reason, nothing written, no rank left
// waiting.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>

#include "checkpoints/safetensors_writer.h"
#include "core/base/file.h"
#include "data/token_file.h"
#include "tests/runs/golden_case.h"

namespace halo::test {
namespace {

namespace fs = std::filesystem;

/// What is wrong, made in `folder`; returns the arguments that lead to it.
using Make = std::vector<std::string> (*)(const GoldenCase& golden, const fs::path& folder);

struct BadInput {
  const char* name;
  Make make;
  std::vector<std::string> told;  // parts of the message
  std::vector<int> ranks{
      0};  // 0: without mpirun; a case of each way that a failure takes also on 2
};
void PrintTo(const BadInput& bad, std::ostream* out) { *out << bad.name; }

std::vector<std::string> set(const std::string& field, const std::string& value) {
  return {"--set", field + '=' + value};
}

std::vector<std::string> changed_teacher(const GoldenCase& golden, const fs::path& folder,
                                         const std::string& file,
                                         const std::function<void(std::string&)>& change) {
  const fs::path teacher = folder / "teacher";
  fs::copy(golden.teacher(), teacher);
  std::string bytes = read_file(teacher / file);
  change(bytes);
  write_file_atomically(teacher / file, bytes);
  return set("job[0].train.teacher", teacher.string());
}

/// DISTILL of a student that is the teacher but for its config.json.
std::vector<std::string> changed_student(const GoldenCase& golden, const fs::path& folder,
                                         const std::string& from, const std::string& to) {
  const fs::path student = folder / "student";
  fs::copy(golden.teacher(), student);
  std::string text = read_file(student / "config.json");
  text.replace(text.find(from), from.size(), to);
  write_file_atomically(student / "config.json", text);
  return set("job[distill].train.student", student.string());
}

std::vector<std::string> changed_tokens(const GoldenCase& golden, const fs::path& folder,
                                        const std::function<void(std::string&)>& change) {
  std::string bytes = read_file(golden.tokens());
  change(bytes);
  write_file_atomically(folder / "bad.h5", bytes);
  return set("job[0].train.data.tokens", (folder / "bad.h5").string());
}

std::vector<std::string> extra_config(const GoldenCase& golden, const fs::path& folder,
                                      const std::string& text) {
  write_file_atomically(folder / "bad.textproto", text + read_file(golden.config()));
  return {"--config", (folder / "bad.textproto").string()};
}

/// A select job after the golden stages.
std::string selection(const std::string& fields) {
  return "job { name: \"pick\" needs: \"align\" select { " + fields + " } }\n";
}

const std::vector<BadInput> kBadInputs{
    {"UnknownField",
     [](const GoldenCase& golden, const fs::path& folder) {
       return extra_config(golden, folder, "sed: 3\n");
     },
     {"bad.textproto", "sed"},
     {0, 2}},
    {"NoTeacher",
     [](const GoldenCase&, const fs::path&) { return set("job[0].train.teacher", "/no/such"); },
     {"/no/such", "no such file or folder"}},
    {"NoWeightsForALaterJob",
     [](const GoldenCase&, const fs::path&) {
       return set("job[2].train.student_weights", "/no/such.safetensors");
     },
     {"/no/such.safetensors", "job finetune", "no such file or folder"}},
    {"AnotherKindOfJob",
     [](const GoldenCase&, const fs::path&) { return set("job[0].report.title", "x"); },
     {"report", "it has train"}},
    {"TruncatedTeacher",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_teacher(golden, folder, "model.safetensors",
                              [](std::string& bytes) { bytes.resize(bytes.size() / 2); });
     },
     {"teacher/model.safetensors"}},
    {"NanWeights",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_teacher(golden, folder, "model.safetensors", [](std::string& bytes) {
         bytes.replace(bytes.size() - 400, 400, 400, '\xff');
       });
     },
     {"teacher/model.safetensors", "finite"},
     {0, 2}},
    {"WrongShape",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_teacher(golden, folder, "config.json", [](std::string& bytes) {
         bytes.replace(bytes.find("\"intermediate_size\": 96"), 23, "\"intermediate_size\": 80");
       });
     },
     {"teacher", "80", "96"}},
    {"NoTokensInside",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_tokens(golden, folder, [](std::string& bytes) {
         for (std::size_t at = 0; (at = bytes.find("tokens", at)) != std::string::npos; ++at)
           bytes[at] = 'u';
       });
     },
     {"bad.h5", "tokens"},
     {0, 2}},
    {"RandomBytes",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_tokens(golden, folder, [](std::string& bytes) {
         for (std::size_t i = 0; i < bytes.size(); ++i)
           bytes[i] = static_cast<char>((i * i * 2654435761U) >> 13);
       });
     },
     {"bad.h5"}},
    {"TokensPastTheVocabulary",
     [](const GoldenCase&, const fs::path& folder) {
       data::TokenFileWriter writer(folder / "bad.h5", {1000, -1, ""});
       writer.add_document(std::vector<std::int32_t>(2000, 500));
       writer.finish();
       return set("job[0].train.data.tokens", (folder / "bad.h5").string());
     },
     {"bad.h5", "vocabulary"},
     {0, 2}},
    {"UnknownWeight",
     [](const GoldenCase&, const fs::path& folder) {
       std::vector<float> values(8, 1.0F);
       checkpoints::OutputTensor tensor;
       tensor.name = "model.layers.0.self_attn.q_proj.weigth";
       tensor.dtype = DType::kFloat32;
       tensor.shape = {8};
       tensor.data = view(values.data(), {8});
       checkpoints::write_safetensors(folder / "bad.safetensors", std::vector{tensor});
       return set("job[0].train.student_weights", (folder / "bad.safetensors").string());
     },
     {"bad.safetensors", "q_proj.weigth"}},
    {"Bfloat16",
     [](const GoldenCase&, const fs::path&) { return set("precision", "BF16"); },
     {"precision", "BF16", "GPU"}},
    {"MoreTensorRanksThanRanks",
     [](const GoldenCase&, const fs::path&) { return set("layout.tensor", "64"); },
     {"layout: tensor is 64", "start on a multiple of 64"},
     {0, 2}},
    {"MorePartsThanLayers",
     [](const GoldenCase&, const fs::path&) { return set("layout.chunks", "5"); },
     {"job align: layout.pipeline 1 x layout.chunks 5 is 5: the model has 4 layers; choose a "
      "product of up to 4"}},
    {"MoreStagesThanLayersOfALaterJob",
     [](const GoldenCase&, const fs::path&) {
       return set("job[finetune].layout", "{pipeline: 2 chunks: 3}");
     },
     {"job finetune: layout.pipeline 2 x layout.chunks 3 is 6: the model has 4 layers"},
     {2}},
    {"MoreTensorRanksThanHeads",
     [](const GoldenCase&, const fs::path&) { return set("job[distill].layout", "{tensor: 5}"); },
     {"job distill: layout.tensor is 5: the model has 4 heads; choose up to 4"},
     {5}},
    {"StudentOfAnotherDepth",
     [](const GoldenCase& golden, const fs::path& folder) {
       return changed_student(golden, folder, "\"num_hidden_layers\": 4",
                              "\"num_hidden_layers\": 3");
     },
     {"job distill", "has 3 layers, its teacher 4"}},
    {"StudentOfAnotherWidthOnAPipeline",
     [](const GoldenCase& golden, const fs::path& folder) {
       std::vector<std::string> arguments =
           changed_student(golden, folder, "\"hidden_size\": 32", "\"hidden_size\": 64");
       for (const std::string& word : set("layout.pipeline", "2")) arguments.push_back(word);
       return arguments;
     },
     {"job distill: layout.pipeline is 2", "has a hidden size of 64, its teacher one of 32"},
     {2}},
    {"RanksThatDoNotDivide",
     [](const GoldenCase&, const fs::path&) {
       return set("job[finetune].layout", "{pipeline: 2 context: 2}");
     },
     {"job finetune: 6 ranks do not divide by pipeline 2 x context 2 x tensor 1: choose 4 or 8 "
      "ranks, or axes whose product is 1, 2, 3 or 6"},
     {6}},
    {"NoElementsABucket",
     [](const GoldenCase&, const fs::path&) { return set("layout.bucket_elements", "0"); },
     {"layout.bucket_elements is 0: it must be 1 to"}},
    {"NoTaskFile",
     [](const GoldenCase& golden, const fs::path& folder) {
       const std::string job = "job { name: \"score\" needs: \"finetune\" evaluate { models: \"" +
                               golden.teacher().string() + "\" tasks: \"/no/such.jsonl\" } }\n";
       return extra_config(golden, folder, job);
     },
     {"/no/such.jsonl"},
     {0, 2}},
    // What later jobs would find out only after earlier ones have trained.
    {"MoreLayersKeptThanThereAre",
     [](const GoldenCase& golden, const fs::path& folder) {
       return extra_config(golden, folder, selection("strategy: UNIFORM keep: 9"));
     },
     {"job pick", "select.keep is 9", "4 layers"},
     {0, 2}},
    {"ScoresOfAnotherModel",
     [](const GoldenCase& golden, const fs::path& folder) {
       return extra_config(golden, folder,
                           selection("mixers: \"job:align\" scores: \"" +
                                     data_file("sweep/qwen3-4b.json").string() + "\""));
     },
     {"qwen3-4b.json", "36 layers", "job:align has 4"}},
    {"RecallTasksAlone",
     [](const GoldenCase& golden, const fs::path& folder) {
       const std::string tasks = (folder / "recall.jsonl").string();
       write_file_atomically(tasks, R"({"type": "recall", "prompt": "a b", "answer": "c"})"
                                    "\n");
       return extra_config(golden, folder, selection("tasks: \"" + tasks + "\""));
     },
     {"job pick", "needs recall and choice tasks: there are 1 and 0"}},
    {"HeadsThatDoNotDivide",
     [](const GoldenCase&, const fs::path&) { return set("job[1].train.lightning_nkv", "3"); },
     {"job distill", "lightning_nkv"}},
    {"AFolderWithoutWeights",
     [](const GoldenCase&, const fs::path& folder) {
       return set("job[2].train.student_weights", folder.string());
     },
     {"job finetune", "holds no weights"}},
    {"ASingleToken",
     [](const GoldenCase&, const fs::path&) {
       return set("job[2].train.data.sequence_length", "1");
     },
     {"job[finetune].train.data.sequence_length is 1"}},
    {"FewerHeldOutSequencesThanAskedFor",
     [](const GoldenCase& golden, const fs::path& folder) {
       return extra_config(golden, folder,
                           str("job { name: \"score\" needs: \"finetune\" evaluate { models: "
                               "\"job:finetune\" tokens: \"",
                               golden.tokens().string(), "\" sequences: 5000 } }\n"));
     },
     {"job score", "stage12.h5", "5000 are asked for"}},
    {"AFifoForTokens",
     [](const GoldenCase&, const fs::path& folder) {
       const std::string path = (folder / "bad.h5").string();
       EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
       return set("job[0].train.data.tokens", path);
     },
     {"bad.h5", "no regular file"}},
    {"ExportOverTheTeacher",
     [](const GoldenCase& golden, const fs::path& folder) {
       const std::string teacher = (folder / "own").string();
       fs::copy(golden.teacher(), teacher);
       std::string config = read_file(golden.config());
       for (auto at = config.find(golden.teacher().string()); at != std::string::npos;
            at = config.find(golden.teacher().string(), at + 1))
         config.replace(at, golden.teacher().string().size(), teacher);
       write_file_atomically(folder / "bad.textproto",
                             config + "job { name: \"write\" needs: \"finetune\" export { to: \"" +
                                 teacher + "/\" } }\n");
       return std::vector<std::string>{"--config", (folder / "bad.textproto").string()};
     },
     {"job write", "which job align reads"}},
};

bool holds_files(const fs::path& folder) {
  if (!fs::exists(folder)) return false;
  const fs::recursive_directory_iterator entries(folder);
  return std::any_of(begin(entries), end(entries),
                     [](const auto& entry) { return entry.is_regular_file(); });
}

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; ++at) ++found;
  return found;
}

class BadInputTest : public testing::TestWithParam<BadInput> {};

TEST_P(BadInputTest, EndsWithCodeTwoAndOneMessageAndWritesNothing) {
  const TestFolder folder;
  const GoldenCase golden("tied", folder.path());
  const std::vector<std::string> bad = GetParam().make(golden, folder.path());
  for (const int ranks : GetParam().ranks) {
    SCOPED_TRACE(str(ranks, " ranks"));
    const fs::path output = folder / str("out", ranks);
    std::vector<std::string> arguments = bad;
    if (bad[0] != "--config")
      arguments.insert(arguments.begin(), {"--config", golden.config().string()});
    arguments.insert(arguments.end(), {"--output", output.string()});
    // Jobs that need nothing of the bad one would go on.
    arguments.insert(arguments.end(), {"--set", "job[distill].needs=align"});
    std::vector<std::string> command = train_command(ranks, arguments);
    command.insert(command.begin(), {"timeout", "20"});  // which would end with 124
    const ProgramResult result = run_program(command);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(count(result.output, "error: "), 1U) << result.output;
    for (const std::string& part : GetParam().told)
      EXPECT_THAT(result.output, testing::HasSubstr(part));
    EXPECT_FALSE(holds_files(output));
  }
}

std::string name_of(const testing::TestParamInfo<BadInput>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Train, BadInputTest, testing::ValuesIn(kBadInputs), name_of);

}  // namespace
}  // namespace halo::test
