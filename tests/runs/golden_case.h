#pragma once
#include <string>
#include <vector>

#include "checkpoints/safetensors.h"
#include "tests/runs/program.h"

namespace halo::test {

/// A golden case, written by tests/oracle/make_golden.py, made ready for halo_train in a folder of its own: token files,
/// each stage's first weights, and a config with the three stages.
class GoldenCase {
 public:
  /// `name` is "tied" or "untied".
  GoldenCase(const std::string& name, const std::filesystem::path& folder);

  [[nodiscard]] std::filesystem::path config() const { return folder_ / "golden.textproto"; }
  [[nodiscard]] std::filesystem::path teacher() const { return source_ / "teacher"; }
  [[nodiscard]] std::filesystem::path tokens() const { return folder_ / "stage12.h5"; }
  /// Stage 1's final mixers, named as the model names them.
  [[nodiscard]] std::filesystem::path mixers() const { return folder_ / "mixers.safetensors"; }
  [[nodiscard]] std::int64_t B() const { return B_; }
  [[nodiscard]] std::int64_t T() const { return T_; }

  /// What the oracle computed: "stage1", "stage2", "stage3" or "sweep".
  [[nodiscard]] checkpoints::SafetensorsFile expected(const std::string& file) const;
  [[nodiscard]] std::vector<double> expected_series(const std::string& stage,
                                                    const std::string& name) const;

 private:
  void write_tokens(const std::string& tensor, const std::filesystem::path& path) const;
  /// The tensors of a stage's file whose names begin with `prefix`, without it.
  void write_weights(const std::string& stage, const std::string& prefix,
                     const std::filesystem::path& path) const;
  void write_config(const std::string& keep) const;

  std::filesystem::path source_, folder_;
  std::int64_t B_ = 0, T_ = 0, vocab_size_ = 0;
};

/// Whether `value` is what rounds to `stored` in float32: within half a unit in the last place, and a little for the two
/// float64 computations' own difference.
[[nodiscard]] bool rounds_to(double value, float stored);

/// The tensors of `expected` whose names begin with `prefix` against those of `actual` without it, float64 against its
/// float32 rounding. Reports the worst as gtest failures.
void expect_rounded_equal(const checkpoints::SafetensorsFile& actual,
                          const checkpoints::SafetensorsFile& expected, const std::string& prefix);

}  // namespace halo::test
