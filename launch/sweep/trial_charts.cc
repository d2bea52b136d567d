#include "launch/sweep/trial_charts.h"

#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/svg.h"

namespace halo::launch {
namespace {

constexpr std::size_t kMostTexts = 8;     // at an axis' ticks
constexpr std::size_t kMostPoints = 100;  // of a curve

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end && std::isfinite(value) ? std::optional(value)
                                                                     : std::nullopt;
}

std::string shortened(const std::string& text) {
  constexpr std::size_t kMost = 24;
  return text.size() <= kMost ? text : "..." + text.substr(text.size() - kMost + 3);
}

/// What is told of a trial where the mouse is.
std::string title_of(const TrialTable& table, const TrialRow& row) {
  std::string text = str("trial ", row.number);
  for (std::size_t p = 0; p < row.values.size(); ++p)
    text += str(", ", table.parameters[p], '=', row.values[p]);
  text += str(": ", table.objective, ' ', row.objective ? short_number(*row.objective) : "none",
              ", ", to_string(row.state));
  return "<title>" + escape_html(text) + "</title>";
}

/// A trial's line; the i-th of `trials`.
std::string trial_line(const TrialTable& table, std::size_t i, const std::string& path) {
  if (path.empty()) return "";
  const TrialRow& row = table.rows[i];
  const double rank = static_cast<double>(i) / static_cast<double>(table.rows.size());
  const bool failed = row.state == TrialState::kFailed || !row.objective;
  const char* css = i == 0 && !failed ? "best" : failed ? "lost" : "trial";
  const double opacity = i == 0 ? 1 : failed ? 0.5 : 0.15 + 0.65 * (1 - rank) * (1 - rank);
  return str("<path d='", path, "' class='", css, "' opacity='", formatted("%.2f", opacity), "'>",
             title_of(table, row), "</path>");
}

/// The worst first, so that the best lie above.
template <class Path>
std::string lines(const TrialTable& table, const Path& path) {
  std::string svg;
  for (std::size_t i = table.rows.size(); i-- > 0;)
    svg += trial_line(table, i, path(table.rows[i]));
  return svg;
}

std::vector<Point> points_of(const TrialRow& row) {
  std::vector<Point> points;
  const std::size_t every = std::max<std::size_t>(1, row.curve.size() / kMostPoints);
  for (std::size_t i = 0; i < row.curve.size(); ++i)
    if (i % every == 0 || i + 1 == row.curve.size())
      points.push_back({static_cast<double>(row.curve[i].first), row.curve[i].second});
  return points;
}

/// One upright axis of parallel coordinates.
class Upright {
 public:
  Upright(std::vector<std::string> texts, double top, double bottom)
      : axis_(0, 1, bottom, top, false) {
    for (const std::string& text : texts)
      if (std::ranges::find(distinct_, text) == distinct_.end()) distinct_.push_back(text);
    is_number_ = std::ranges::all_of(distinct_,
                                     [](const auto& text) { return number_in(text).has_value(); });
    if (!is_number_) {
      axis_ = Axis(-0.5, std::max(0.5, static_cast<double>(distinct_.size()) - 0.5), top, bottom,
                   false);
      return;
    }
    Range range;
    for (const std::string& text : distinct_) range.add(number_in(text).value_or(0));
    const bool logarithmic = range.is_wide();
    range.widen(logarithmic);
    axis_ = Axis(range.low, range.high, bottom, top, logarithmic);
  }

  [[nodiscard]] double at(const std::string& text) const {
    if (is_number_) return axis_.at(number_in(text).value_or(0));
    return axis_.at(static_cast<double>(std::ranges::find(distinct_, text) - distinct_.begin()));
  }
  [[nodiscard]] std::string ticks(double x, bool at_right) const {
    std::string svg;
    const auto add = [&](double y, const std::string& text) {
      svg += line_from_to(x - 4, y, x + 4, y, "axis");
      svg += text_at(at_right ? x + 9 : x - 9, y + 4, at_right ? "start" : "end", "tick halo",
                     shortened(text));
    };
    if (!is_number_ || distinct_.size() <= kMostTexts) {
      for (const std::string& text : distinct_) add(at(text), text.empty() ? "(none)" : text);
    } else {
      for (const double tick : axis_.ticks(5)) add(axis_.at(tick), short_number(tick));
    }
    return svg;
  }

 private:
  std::vector<std::string> distinct_;
  bool is_number_ = false;
  Axis axis_;
};

std::string objective_text(const TrialRow& row) {
  return row.objective ? formatted("%.17g", *row.objective) : "";
}

std::vector<Upright> uprights(const TrialTable& table, double top, double bottom) {
  std::vector<Upright> all;
  for (std::size_t p = 0; p < table.parameters.size(); ++p) {
    std::vector<std::string> texts;
    for (const TrialRow& row : table.rows) texts.push_back(row.values[p]);
    all.emplace_back(std::move(texts), top, bottom);
  }
  std::vector<std::string> objectives;
  for (const TrialRow& row : table.rows)
    if (row.objective) objectives.push_back(objective_text(row));
  all.emplace_back(std::move(objectives), top, bottom);
  return all;
}

}  // namespace

std::string curves_svg(const TrialTable& table) {
  constexpr double kHeight = 340, kLeft = 56, kRight = kWide - 14, kTop = 12,
                   kBottom = kHeight - 42;
  Range xs, ys;
  for (const TrialRow& row : table.rows) {
    for (const Point& point : points_of(row)) {
      xs.add(point.x);
      ys.add(point.y);
    }
  }
  if (xs.empty() || ys.empty()) return "";
  const bool logarithmic = ys.is_wide();
  ys.widen(logarithmic);
  if (xs.low == xs.high) xs.high += 1;
  const Axis x(xs.low, xs.high, kLeft, kRight, false);
  const Axis y(ys.low, ys.high, kBottom, kTop, logarithmic);
  return open_svg(kWide, kHeight, "Loss of each trial by step") +
         axes(x, y, logarithmic ? "step  (logarithmic scale)" : "step", kLeft, kRight, kBottom,
              kHeight) +
         lines(table, [&](const TrialRow& row) { return path_through(points_of(row), x, y); }) +
         "</svg>";
}

std::string parallel_svg(const TrialTable& table) {
  constexpr double kHeight = 380, kLeft = 150, kRight = kWide - 90, kTop = 40,
                   kBottom = kHeight - 20;
  const std::vector<Upright> all = uprights(table, kTop, kBottom);
  const auto x_of = [&](std::size_t i) {
    return kLeft + (kRight - kLeft) * static_cast<double>(i) / static_cast<double>(all.size() - 1);
  };
  const auto path = [&](const TrialRow& row) {
    std::string text;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool is_objective = i + 1 == all.size();
      if (is_objective && !row.objective) break;
      const std::string& value = is_objective ? objective_text(row) : row.values[i];
      text += str(i == 0 ? 'M' : 'L', fixed(x_of(i)), ' ', fixed(all[i].at(value)));
    }
    return text;
  };
  std::vector<std::string> names = short_names(table.parameters);
  names.push_back(table.objective);
  std::string svg = open_svg(kWide, kHeight, "Values and objective of each trial");
  svg += lines(table, path);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool is_objective = i + 1 == all.size();
    svg += line_from_to(x_of(i), kTop, x_of(i), kBottom, "axis");
    svg += text_at(x_of(i), kTop - 22 + (i % 2 == 1 && all.size() > 6 ? 12 : 0), "middle", "label",
                   shortened(names[i]));
    svg += all[i].ticks(x_of(i), is_objective);
  }
  return svg + "</svg>";
}

}  // namespace halo::launch
