#pragma once
#include <optional>
#include <string>
#include <vector>

namespace halo::launch {

/// Text that means itself in HTML and SVG.
[[nodiscard]] std::string escape_html(const std::string& text);
/// A number for a person: four significant digits, thousands as "12.3K" from 10,000 on; "nan" and "inf" as words.
[[nodiscard]] std::string short_number(double value);

/// 1, 2 or 5 times powers of ten that lie in [low, high], about `count` of them.
[[nodiscard]] std::vector<double> linear_ticks(double low, double high, int count);
/// Likewise on a logarithmic axis, 0 < low < high.
[[nodiscard]] std::vector<double> log_ticks(double low, double high, int count);

struct Point {
  double x = 0;
  double y = 0;
};

/// Curves over the same steps. Points that are not finite leave gaps.
struct LineChart {
  std::string label;  // read out in place of the picture
  std::string x_label;
  std::vector<Point> faint;  // the measured values, behind
  std::vector<Point> line;   // what the eye should follow
  std::vector<Point> dots;   // a second, sparse measure
  std::string line_name;
  std::string dots_name;
};
/// The vertical axis is logarithmic where positive values span more than a factor of 20.
[[nodiscard]] std::string to_svg(const LineChart& chart);

struct Bar {
  std::string name;
  double value = 0;       // >= 0
  std::string text;       // beside the bar
  std::string css_class;  // "accent", "muted" or "teacher"
};
struct BarChart {
  std::string label;
  std::string unit;  // below the axis
  std::vector<Bar> bars;
  std::optional<Bar> reference;  // a line across all bars, named
};
/// Lying bars, one below the other, all from 0.
[[nodiscard]] std::string to_svg(const BarChart& chart);

struct ColumnChart {
  std::string label;
  std::string x_label;
  std::vector<Bar> columns;
};
/// Standing bars on a log(1 + value) axis, so that small values show beside very large ones and all start from 0.
[[nodiscard]] std::string to_svg(const ColumnChart& chart);

}  // namespace halo::launch
