#pragma once
#include <cmath>
#include <limits>

#include "core/base/rng.h"
#include "launch/report.h"

namespace halo::launch {

inline StageReport sample_stage(const char* name, const char* stage, double from, double to,
                                int steps) {
  const CounterRng rng(1, name);
  StageReport report{name, stage, {}, {}, std::int64_t{steps} * 16384, 1234567, steps * 0.31};
  for (int i = 0; i < steps; ++i) {
    const double share = std::exp(-6.0 * i / steps);
    const double loss =
        to * std::pow(from / to, share) * (1 + 0.04 * rng.normal(static_cast<std::uint64_t>(i)));
    report.loss.push_back({i, loss});
    if (i % (steps / 10) == steps / 10 - 1)
      report.validation.push_back({i, to * std::pow(from / to, share) * 1.02});
  }
  return report;
}

/// A whole run, numbers as a small one has them.
inline Report sample_report() {
  Report report;
  report.title = "HALO quickstart: a 3.4M-parameter teacher and its hybrid";
  report.facts = {{"ranks", "2"},
                  {"threads a rank", "1"},
                  {"precision", "FP32"},
                  {"text", "Debian packages, 8.6 MB"}};
  report.stages = {sample_stage("pretrain", "PRETRAIN", 8.3, 3.3, 1200),
                   sample_stage("align", "ALIGN", 0.9, 0.006, 300),
                   sample_stage("distill", "DISTILL", 2.1, 0.07, 400),
                   sample_stage("finetune", "FINETUNE", 3.45, 3.33, 100),
                   sample_stage("scratch", "PRETRAIN", 8.3, 3.9, 500)};
  report.stages[2].loss[200].loss = std::numeric_limits<double>::quiet_NaN();
  using Role = ModelReport::Role;
  report.models = {
      {"teacher", Role::kTeacher, 28.31, 1.934, {{"recall", 0.61}, {"commonsense", 0.48}}},
      {"aligned mixers everywhere", Role::kStudent, 214.2, 3.104, {{"recall", 0.05}}},
      {"hybrid after distill",
       Role::kStudent,
       31.7,
       1.999,
       {{"recall", 0.52}, {"commonsense", 0.46}}},
      {"hybrid after finetune", Role::kStudent, 29.9, 1.966, {}},
      {"same hybrid from scratch", Role::kBaseline, 51.3, 2.278, {}}};
  report.gzip_bits_per_byte = 2.696;
  for (const double importance : {0.82, 50.0, 1.7, 0.0, 4.1, 2.2, 0.4, 1.1}) {
    report.layers.push_back(
        {0.61 - importance / 100, 0.48 - 0.02 / (1 + importance), importance, importance > 4});
  }
  return report;
}

}  // namespace halo::launch
