#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/sweep/trial_table.h"

namespace halo::launch {

struct LossPoint {
  std::int64_t step = 0;
  double loss = 0;
};

/// A training job's course.
struct StageReport {
  std::string name;                   // of the job
  std::string stage;                  // "PRETRAIN", "ALIGN", "DISTILL", "FINETUNE"
  std::vector<LossPoint> loss;        // of every step, in order, but those that were skipped
  std::vector<LossPoint> validation;  // in order; may be empty
  std::int64_t tokens = 0;            // trained on
  std::int64_t parameters = 0;        // trained; 0: not known
  double seconds = 0;
  std::int64_t skipped = 0;  // steps that nothing was learned from
};

/// A model's scores on held-out text.
struct ModelReport {
  enum class Role { kTeacher, kStudent, kBaseline };
  std::string name;  // such as "teacher", "hybrid after distill", "trained from scratch"
  Role role = Role::kStudent;
  std::optional<double> perplexity;                   // a token; none: not measured, or infinite
  std::optional<double> bits_per_byte;                // of the text
  std::vector<std::pair<std::string, double>> tasks;  // name, accuracy as a fraction
};

/// What the layer sweep measured of the teacher with this layer replaced.
struct LayerReport {
  double recall = 0;
  double csr = 0;
  double importance = 0;
  bool kept = false;  // as softmax attention
};

/// What a run came to. Whatever is empty is left out of the page and of the table.
struct Report {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;  // name and value, such as "ranks", "2"
  std::vector<StageReport> stages;                         // in the order they ran
  std::vector<ModelReport> models;                         // in the order to be shown
  std::vector<LayerReport> layers;
  std::optional<double> gzip_bits_per_byte;  // of the held-out text under gzip -9
  std::optional<TrialTable> trials;          // of a sweep
};

/// One HTML page that needs nothing else: plots as SVG, no script, light and dark as the reader's system has it.
[[nodiscard]] std::string to_html(const Report& report);

/// The same in plain text for a terminal, lines of at most about 100 columns, ending in a newline; of a sweep the best
/// `most_trials`.
[[nodiscard]] std::string to_text_table(const Report& report, std::size_t most_trials = 20);

/// Perplexity over the teacher's, less 1; nothing without a teacher, or of the teacher itself.
[[nodiscard]] std::optional<double> excess_over_teacher(const Report& report,
                                                        const ModelReport& model);

/// What a stage came to: the mean loss of the last tenth of its steps. NaN without steps.
[[nodiscard]] double late_loss(const StageReport& stage);

/// "1000", or "1000, 3 skipped".
[[nodiscard]] std::string steps_text(const StageReport& stage);

/// Bits a byte of the text when gzip -9 compresses it as a whole. 0 for no text.
[[nodiscard]] double gzip_bits_per_byte(const std::string& text);

}  // namespace halo::launch
