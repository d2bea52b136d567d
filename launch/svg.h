#pragma once
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "launch/chart.h"

namespace halo::launch {

// What the charts of the report's page are drawn of.

constexpr double kWidth = 640;  // of a chart that shares its row
constexpr double kWide = 1030;  // of one that has the row to itself

/// A coordinate, with one digit behind the point.
[[nodiscard]] std::string fixed(double value);
[[nodiscard]] std::string text_at(double x, double y, const char* anchor, const char* css,
                                  const std::string& text);
[[nodiscard]] std::string line_from_to(double x1, double y1, double x2, double y2, const char* css);
[[nodiscard]] std::string open_svg(double width, double height, const std::string& label);

/// Values to pixels along one axis.
class Axis {
 public:
  Axis(double low, double high, double from, double to, bool logarithmic)
      : low_(low), high_(high), from_(from), to_(to), logarithmic_(logarithmic) {}

  [[nodiscard]] double at(double value) const {
    const double share = logarithmic_ ? std::log(value / low_) / std::log(high_ / low_)
                                      : (value - low_) / (high_ - low_);
    return from_ + share * (to_ - from_);
  }
  [[nodiscard]] std::vector<double> ticks(int count) const {
    return logarithmic_ ? log_ticks(low_, high_, count) : linear_ticks(low_, high_, count);
  }
  /// Whether a value has a place, which is not so for NaN, and for 0 on a logarithmic axis.
  [[nodiscard]] bool shows(double value) const {
    return std::isfinite(value) && (!logarithmic_ || value > 0);
  }

 private:
  double low_, high_, from_, to_;
  bool logarithmic_;
};

/// The least and the greatest of some values.
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value);
  [[nodiscard]] bool empty() const { return low > high; }
  /// Positive values that span more than a factor of 20.
  [[nodiscard]] bool is_wide() const { return low > 0 && high > 20 * low; }
  /// Never of no extent, and a little wider than the values.
  void widen(bool logarithmic);
};

/// The commands of a path through the points; those without a place leave gaps.
[[nodiscard]] std::string path_through(std::span<const Point> points, const Axis& x, const Axis& y);
/// Grid lines, numbers and axes of a chart between these edges.
[[nodiscard]] std::string axes(const Axis& x, const Axis& y, const std::string& x_label,
                               double left, double right, double bottom, double height);

}  // namespace halo::launch
