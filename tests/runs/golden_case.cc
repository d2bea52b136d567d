#include "tests/runs/golden_case.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoints/safetensors_writer.h"
#include "core/base/file.h"
#include "data/token_file.h"
#include "tests/runs/read_values.h"

namespace halo::test {
namespace {

/// One stage of the config. The oracle's schedule and optimizer are those of make_golden.py.
std::string job(const std::string& name, const std::string& stage, const std::string& extra,
                const std::string& tokens, std::int64_t sequences, std::int64_t length,
                const std::string& lr, const std::string& weights) {
  return str(
      "job { name: \"", name, "\" train { stage: ", stage, ' ', extra, " student_weights: \"",
      weights, "\"\n  dump_gradients_at: 0 data { tokens: \"", tokens,
      "\" sequence_length: ", length, " first_sample: 0 } batch { sequences: ", sequences,
      " micro_sequences: 1 } steps: 8\n  optimizer { lr: ", lr,
      " min_lr: 1e-5 schedule: COSINE warmup_steps: 2 } checkpoint { every_steps: 3 } } }\n");
}

}  // namespace

GoldenCase::GoldenCase(const std::string& name, const std::filesystem::path& folder)
    : source_(data_file("golden/" + name)), folder_(folder) {
  const auto meta = nlohmann::json::parse(read_file(source_ / "meta.json"));
  B_ = meta["B"];
  T_ = meta["T"];
  vocab_size_ = nlohmann::json::parse(read_file(source_ / "teacher/config.json"))["vocab_size"];
  write_tokens("stage12", tokens());
  write_tokens("stage3", folder_ / "stage3.h5");
  for (const char* stage : {"stage1", "stage2", "stage3"}) {
    write_weights(stage, "init.", folder_ / (std::string(stage) + ".safetensors"));
  }
  write_weights("stage1", "final.", mixers());
  write_config(meta["keep"].dump());
}

void GoldenCase::write_config(const std::string& keep) const {
  const std::string teacher_line = "teacher: \"" + teacher().string() + "\"";
  const auto path = [&](const char* file) { return (folder_ / file).string(); };
  std::string text = "precision: FP64 threads: 1\n";
  text += job("align", "ALIGN", teacher_line, path("stage12.h5"), B_, T_, "1e-3",
              path("stage1.safetensors"));
  text += job("distill", "DISTILL", teacher_line + " keep_attention: " + keep, path("stage12.h5"),
              B_, T_, "1e-4", path("stage2.safetensors"));
  std::string finetune = job("finetune", "FINETUNE", "student: \"job:distill\"", path("stage3.h5"),
                             1, 2 * T_, "1e-5", path("stage3.safetensors"));
  finetune.replace(finetune.find("train {"), 0, "needs: \"distill\" ");
  write_file_atomically(config(), text + finetune);
}

void GoldenCase::write_tokens(const std::string& tensor, const std::filesystem::path& path) const {
  const checkpoints::SafetensorsFile file(source_ / "tokens.safetensors");
  const Shape shape = file.tensor(tensor).shape;
  std::vector<std::int64_t> ids(static_cast<std::size_t>(shape.elements()));
  file.read(tensor, parallel::whole(shape), view(ids.data(), shape));
  const std::vector<std::int32_t> tokens(ids.begin(), ids.end());
  data::TokenFileWriter writer(path, {vocab_size_, -1, ""});
  writer.add_document(tokens);
  writer.finish();
}

void GoldenCase::write_weights(const std::string& stage, const std::string& prefix,
                               const std::filesystem::path& path) const {
  const checkpoints::SafetensorsFile file = expected(stage);
  std::vector<checkpoints::OutputTensor> tensors;
  for (const checkpoints::StoredTensor& t : file.tensors()) {
    if (!t.name.starts_with(prefix)) continue;
    const auto fill = [&file, name = t.name](const parallel::Region& region, TensorView out) {
      file.read(name, region, out);
    };
    tensors.push_back({t.name.substr(prefix.size()), DType::kFloat32, t.shape, {}, fill});
  }
  checkpoints::write_safetensors(path, tensors);
}

checkpoints::SafetensorsFile GoldenCase::expected(const std::string& file) const {
  return checkpoints::SafetensorsFile(source_ / (file + ".safetensors"));
}

std::vector<double> GoldenCase::expected_series(const std::string& stage,
                                                const std::string& name) const {
  return read_values(expected(stage), name);
}

bool rounds_to(double value, float stored) {
  const double ulp =
      static_cast<double>(std::nextafter(std::fabs(stored), INFINITY)) - std::fabs(stored);
  const double own_difference = 1e-9 * std::fabs(stored) + 1e-15;
  return std::fabs(value - stored) <= 0.5 * ulp + own_difference;
}

void expect_rounded_equal(const checkpoints::SafetensorsFile& actual,
                          const checkpoints::SafetensorsFile& expected, const std::string& prefix) {
  int compared = 0;
  for (const checkpoints::StoredTensor& t : expected.tensors()) {
    if (!t.name.starts_with(prefix)) continue;
    const std::string name = t.name.substr(prefix.size());
    ASSERT_TRUE(actual.contains(name)) << name << " is missing in " << actual.name();
    const std::vector<double> ours = read_values(actual, name),
                              theirs = read_values(expected, t.name);
    ASSERT_EQ(ours.size(), theirs.size()) << name;
    ++compared;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      ASSERT_TRUE(rounds_to(ours[i], static_cast<float>(theirs[i])))
          << name << '[' << i << "]: " << ours[i] << ", the oracle has " << theirs[i];
    }
  }
  EXPECT_GT(compared, 0) << "no tensor begins with " << prefix;
}

}  // namespace halo::test
