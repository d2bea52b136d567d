#include "launch/sweep/trial_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "launch/chart.h"
#include "launch/text_table.h"

namespace halo::launch {
namespace {

/// Done ones first, failed ones last, the others by how far they came.
int place(const TrialRow& row) {
  if (row.state == TrialState::kDone && row.objective) return 0;
  if (row.state == TrialState::kFailed) return 3;
  return row.objective ? 1 : 2;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string exact(double value) { return nlohmann::json(value).dump(); }

}  // namespace

std::string to_string(TrialState state) {
  switch (state) {
    case TrialState::kWaiting:
      return "waiting";
    case TrialState::kRunning:
      return "running";
    case TrialState::kDropped:
      return "dropped";
    case TrialState::kFailed:
      return "failed";
    case TrialState::kDone:
      return "done";
  }
  return "unknown";
}

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  const auto ends_alike = [&](const std::string& path, std::size_t begin) {
    const std::string_view tail = std::string_view(path).substr(begin);
    return std::ranges::count_if(paths, [&](const std::string& other) {
             return other == tail || other.ends_with(str('.', tail));
           }) > 1;
  };
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    std::size_t begin = path.rfind('.') + 1;  // 0 without one
    while (begin > 1 && ends_alike(path, begin)) begin = path.rfind('.', begin - 2) + 1;
    names.push_back(path.substr(begin));
  }
  return names;
}

std::string steps_of(const TrialRow& row) {
  if (row.step == 0) return "";
  return row.skipped == 0 ? str(row.step) : str(row.step, ", ", row.skipped, " skipped");
}

void rank_trials(TrialTable& table) {
  const auto before = [&](const TrialRow& a, const TrialRow& b) {
    if (place(a) != place(b)) return place(a) < place(b);
    if (place(a) == 1 && a.step != b.step) return a.step > b.step;
    if (place(a) < 2 && *a.objective != *b.objective)
      return (*a.objective < *b.objective) != table.more_is_better;
    return a.number < b.number;
  };
  std::ranges::sort(table.rows, before);
}

std::string trials_text(const TrialTable& table, std::size_t most) {
  std::vector<std::vector<std::string>> rows{{"trial"}};
  std::vector<std::string>& head = rows.front();
  for (const std::string& name : short_names(table.parameters)) head.push_back(name);
  head.insert(head.end(), {table.objective, "steps", "state"});
  std::string reasons;
  for (std::size_t i = 0; i < std::min(most, table.rows.size()); ++i) {
    const TrialRow& row = table.rows[i];
    std::vector<std::string>& cells = rows.emplace_back();
    cells.push_back(str(row.number));
    cells.insert(cells.end(), row.values.begin(), row.values.end());
    cells.push_back(row.objective ? short_number(*row.objective) : "");
    cells.push_back(steps_of(row));
    cells.push_back(to_string(row.state));
    if (!row.reason.empty()) reasons += str("  trial ", row.number, ": ", row.reason, '\n');
  }
  const std::string more =
      table.rows.size() > most ? str("  and ", table.rows.size() - most, " more\n") : std::string();
  return str(table.rows.size(), table.rows.size() == 1 ? " trial" : " trials", ", by ",
             table.objective, '\n') +
         aligned_table(rows) + more + reasons;
}

std::string trials_csv(const TrialTable& table) {
  std::string text = "rank,trial,";
  for (const std::string& parameter : table.parameters) text += csv_cell(parameter) + ',';
  text += csv_cell(table.objective) + ",step,skipped,state,reason,job\r\n";
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const TrialRow& row = table.rows[i];
    text += str(i + 1, ',', row.number, ',');
    for (const std::string& value : row.values) text += csv_cell(value) + ',';
    text += str(row.objective ? exact(*row.objective) : "", ',', row.step, ',', row.skipped, ',',
                to_string(row.state), ',', csv_cell(row.reason), ',', csv_cell(row.job), "\r\n");
  }
  return text;
}

std::string trials_json(const TrialTable& table) {
  nlohmann::ordered_json document{{"objective", table.objective},
                                  {"more_is_better", table.more_is_better},
                                  {"parameters", table.parameters},
                                  {"trials", nlohmann::ordered_json::array()}};
  for (const TrialRow& row : table.rows) {
    nlohmann::ordered_json trial{{"trial", row.number}};
    trial["values"] = nlohmann::ordered_json::object();
    for (std::size_t p = 0; p < row.values.size(); ++p)
      trial["values"][table.parameters[p]] = row.values[p];
    trial["objective"] =
        row.objective ? nlohmann::ordered_json(*row.objective) : nlohmann::ordered_json(nullptr);
    trial["step"] = row.step;
    trial["skipped"] = row.skipped;
    trial["state"] = to_string(row.state);
    if (!row.reason.empty()) trial["reason"] = row.reason;
    trial["job"] = row.job;
    document["trials"].push_back(std::move(trial));
  }
  return document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace halo::launch
