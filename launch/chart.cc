#include "launch/chart.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/svg.h"

namespace halo::launch {
namespace {

std::string polyline(std::span<const Point> points, const Axis& x, const Axis& y, const char* css) {
  const std::string path = path_through(points, x, y);
  return path.empty() ? "" : str("<path d='", path, "' class='", css, "'/>");
}

std::string dots_with_titles(const LineChart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  for (const Point& point : chart.dots) {
    if (!y.shows(point.y)) continue;
    svg += str("<circle cx='", fixed(x.at(point.x)), "' cy='", fixed(y.at(point.y)),
               "' r='3' class='dot'><title>", escape_html(chart.dots_name), " at ",
               short_number(point.x), ": ", short_number(point.y), "</title></circle>");
  }
  return svg;
}

std::string legend(const LineChart& chart, double right) {
  std::string svg;
  double y = 26;
  if (!chart.line_name.empty()) {
    svg += line_from_to(right - 16, y - 4, right, y - 4, "curve");
    svg += text_at(right - 22, y, "end", "label", chart.line_name);
    y += 18;
  }
  if (!chart.dots.empty()) {
    svg += str("<circle cx='", fixed(right - 8), "' cy='", fixed(y - 4), "' r='3' class='dot'/>");
    svg += text_at(right - 22, y, "end", "label", chart.dots_name);
  }
  return svg;
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string short_number(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (std::fabs(value) >= 1e4) return human_count(value);
  return formatted("%.4g", value);
}

std::vector<double> linear_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(count, 1);
  if (!std::isfinite(raw) || raw <= 0) return {};
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0}) {
    if (factor * power >= raw) step = factor * power;
  }
  std::vector<double> ticks;
  const double first = std::ceil(low / step);
  for (double i = first; i * step <= high && ticks.size() < 100; ++i)
    ticks.push_back(i * step + 0.0);
  return ticks;
}

std::vector<double> log_ticks(double low, double high, int count) {
  if (!(low > 0) || !(high > low) || !std::isfinite(high)) return {};
  std::vector<double> ticks;
  const double first = std::floor(std::log10(low));
  const double last = std::ceil(std::log10(high));
  // Whole decades, every one or every few; with less than two of them also their 2 and 5.
  const double every = std::max(1.0, std::ceil((last - first) / std::max(count, 1)));
  const std::vector<double> factors =
      std::log10(high / low) < 2 ? std::vector<double>{1, 2, 5} : std::vector<double>{1};
  for (double decade = first; decade <= last; decade += every) {
    for (const double factor : factors) {
      const double tick = factor * std::pow(10, decade);
      if (tick >= low && tick <= high) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string to_svg(const LineChart& chart) {
  constexpr double kHeight = 270, kLeft = 56, kRight = kWidth - 14, kTop = 12,
                   kBottom = kHeight - 42;
  Range xs, ys;
  for (const auto* points : {&chart.faint, &chart.line, &chart.dots}) {
    for (const Point& point : *points) {
      xs.add(point.x);
      ys.add(point.y);
    }
  }
  std::string svg = open_svg(kWidth, kHeight, chart.label);
  if (ys.empty())
    return svg + text_at(kWidth / 2, kHeight / 2, "middle", "label", "no finite values") + "</svg>";
  const bool logarithmic = ys.is_wide();
  ys.widen(logarithmic);
  if (xs.low == xs.high) xs.high += 1;
  const Axis x(xs.low, xs.high, kLeft, kRight, false);
  const Axis y(ys.low, ys.high, kBottom, kTop, logarithmic);
  svg += axes(x, y, chart.x_label + (logarithmic ? "  (logarithmic scale)" : ""), kLeft, kRight,
              kBottom, kHeight);
  svg += polyline(chart.faint, x, y, "faint");
  svg += polyline(chart.line, x, y, "curve");
  svg += dots_with_titles(chart, x, y);
  return svg + legend(chart, kRight) + "</svg>";
}

std::string to_svg(const BarChart& chart) {
  constexpr double kRow = 34, kLeft = 190, kRight = kWide - 150, kTop = 24;
  const double bottom = kTop + kRow * static_cast<double>(chart.bars.size());
  double high = chart.reference ? chart.reference->value : 0;
  for (const Bar& bar : chart.bars) {
    if (std::isfinite(bar.value)) high = std::max(high, bar.value);
  }
  const Axis x(0, high > 0 ? 1.02 * high : 1, kLeft, kRight, false);
  std::string svg = open_svg(kWide, bottom + 42, chart.label);
  for (const double tick : x.ticks(5)) {
    svg += line_from_to(x.at(tick), kTop, x.at(tick), bottom, "grid");
    svg += text_at(x.at(tick), bottom + 18, "middle", "tick", short_number(tick));
  }
  svg += text_at((kLeft + kRight) / 2, bottom + 36, "middle", "tick", chart.unit);
  std::string values;  // above the reference line
  double top = kTop;
  for (const Bar& bar : chart.bars) {
    const double end = x.at(std::isfinite(bar.value) ? std::max(bar.value, 0.0) : 0);
    svg += text_at(kLeft - 10, top + 21, "end", "label", bar.name);
    svg += str("<rect x='", fixed(kLeft), "' y='", fixed(top + 6), "' width='",
               fixed(std::max(end - kLeft, 1.0)), "' height='", fixed(kRow - 12),
               "' rx='3' class='", bar.css_class, "'/>");
    values += text_at(end + 8, top + 21, "start", "value", bar.text);
    top += kRow;
  }
  if (chart.reference) {
    const double at = x.at(chart.reference->value);
    svg += line_from_to(at, kTop - 4, at, bottom, "reference");
    svg += text_at(at, kTop - 9, "middle", "tick", chart.reference->name);
  }
  return svg + values + "</svg>";
}

std::string to_svg(const ColumnChart& chart) {
  constexpr double kHeight = 280, kLeft = 44, kRight = kWide - 6, kTop = 22, kBottom = kHeight - 42;
  double high = 1;
  for (const Bar& column : chart.columns) high = std::max(high, column.value);
  const Axis y(0, std::log1p(high), kBottom, kTop, false);
  std::string svg = open_svg(kWide, kHeight, chart.label);
  for (const double tick : {0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0}) {
    if (tick > high) break;
    svg += line_from_to(kLeft, y.at(std::log1p(tick)), kRight, y.at(std::log1p(tick)), "grid");
    svg += text_at(kLeft - 8, y.at(std::log1p(tick)) + 4, "end", "tick", short_number(tick));
  }
  const double pitch =
      (kRight - kLeft) / static_cast<double>(std::max<std::size_t>(chart.columns.size(), 1));
  const double width = std::min(0.7 * pitch, 44.0);
  const bool roomy = pitch >= 30;
  double middle = kLeft + pitch / 2;
  for (std::size_t i = 0; i < chart.columns.size(); ++i, middle += pitch) {
    const Bar& column = chart.columns[i];
    const double top = y.at(std::log1p(std::max(column.value, 0.0)));
    const std::string name = column.name + ": " + column.text;
    svg += str("<rect x='", fixed(middle - width / 2), "' y='", fixed(std::min(top, kBottom - 1)),
               "' width='", fixed(width), "' height='", fixed(std::max(kBottom - top, 1.0)),
               "' rx='2' class='", column.css_class, "'><title>", escape_html(name),
               "</title></rect>");
    if (roomy) svg += text_at(middle, top - 6, "middle", "tick", column.text);
    if (roomy || i % 2 == 0) svg += text_at(middle, kBottom + 18, "middle", "tick", column.name);
  }
  svg += line_from_to(kLeft, kBottom, kRight, kBottom, "axis");
  return svg + text_at((kLeft + kRight) / 2, kHeight - 4, "middle", "tick", chart.x_label) +
         "</svg>";
}

}  // namespace halo::launch
