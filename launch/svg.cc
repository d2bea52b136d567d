#include "launch/svg.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/text.h"

namespace halo::launch {

std::string fixed(double value) { return formatted("%.1f", std::clamp(value, -1e6, 1e6)); }

std::string text_at(double x, double y, const char* anchor, const char* css,
                    const std::string& text) {
  return str("<text x='", fixed(x), "' y='", fixed(y), "' text-anchor='", anchor, "' class='", css,
             "'>", escape_html(text), "</text>");
}

std::string line_from_to(double x1, double y1, double x2, double y2, const char* css) {
  return str("<line x1='", fixed(x1), "' y1='", fixed(y1), "' x2='", fixed(x2), "' y2='", fixed(y2),
             "' class='", css, "'/>");
}

std::string open_svg(double width, double height, const std::string& label) {
  return str("<svg viewBox='0 0 ", fixed(width), ' ', fixed(height), "' role='img' aria-label='",
             escape_html(label), "'>");
}

void Range::add(double value) {
  if (!std::isfinite(value)) return;
  low = std::min(low, value);
  high = std::max(high, value);
}

void Range::widen(bool logarithmic) {
  if (logarithmic) {
    const double factor = std::max(std::pow(high / low, 0.05), 1.05);
    low /= factor;
    high *= factor;
  } else {
    const double margin = std::max(0.05 * (high - low), 1e-3 * std::max(std::fabs(high), 1e-6));
    low -= margin;
    high += margin;
  }
}

std::string path_through(std::span<const Point> points, const Axis& x, const Axis& y) {
  std::string path;
  bool pen_down = false;
  for (const Point& point : points) {
    if (!y.shows(point.y)) {
      pen_down = false;
      continue;
    }
    path += str(pen_down ? 'L' : 'M', fixed(x.at(point.x)), ' ', fixed(y.at(point.y)));
    pen_down = true;
  }
  return path;
}

std::string axes(const Axis& x, const Axis& y, const std::string& x_label, double left,
                 double right, double bottom, double height) {
  std::string svg;
  for (const double tick : y.ticks(5)) {
    svg += line_from_to(left, y.at(tick), right, y.at(tick), "grid");
    svg += text_at(left - 8, y.at(tick) + 4, "end", "tick", short_number(tick));
  }
  svg += line_from_to(left, bottom, right, bottom, "axis");
  for (const double tick : x.ticks(6)) {
    const bool at_edge = x.at(tick) > right - 12;
    svg += text_at(x.at(tick), bottom + 18, at_edge ? "end" : "middle", "tick", short_number(tick));
  }
  return svg + text_at((left + right) / 2, height - 4, "middle", "tick", x_label);
}

}  // namespace halo::launch
