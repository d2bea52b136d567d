#include <zlib.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/error.h"
#include "core/base/text.h"
#include "launch/chart.h"
#include "launch/report.h"

namespace halo::launch {
namespace {

constexpr const char* kStyle = R"css(
:root { --paper: #f6f7f9; --card: #ffffff; --ink: #1c2430; --soft: #5c6776; --rule: #e3e7ec; --grid: #edf0f3;
  --accent: #2563c9; --faint: #b9cdf0; --muted: #bcc5d0; --teacher: #3f4a59; --dot: #d9630b; --good: #167a4a; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --card: #1a2028; --ink: #e7ebf0; --soft: #98a3b2;
  --rule: #2b333e; --grid: #252d37; --accent: #6fa3f7; --faint: #34496d; --muted: #4b5665; --teacher: #c3ccd8; --dot: #f39a4b; --good: #5cc690; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 56px; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -.01em; margin: 0 0 6px; }
h2 { font-size: 18px; margin: 40px 0 4px; }
h3 { font-size: 15px; margin: 0; }
p { margin: 0; max-width: 74ch; } .note { color: var(--soft); }
h2 + .note { margin-bottom: 14px; }
.facts { color: var(--soft); display: flex; flex-wrap: wrap; gap: 2px 20px; } .facts b { font-weight: 600; color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin-top: 26px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.tile .number { font-size: 30px; font-weight: 650; letter-spacing: -.02em; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile .number.good { color: var(--good); } .tile .name, .tile .more { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 14px; }
.card header { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; margin-bottom: 6px; }
.card header span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } tr > :last-child { padding-right: 0; }
tbody tr:last-child td { border-bottom: 0; }
tr.kept td { font-weight: 600; } tr.kept td:last-child { color: var(--accent); } tr.baseline td { color: var(--soft); }
.stack > * + * { margin-top: 14px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, "Segoe UI", Roboto, sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .tick { fill: var(--soft); font-size: 11.5px; } svg .value { font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 5px; stroke-linejoin: round; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--muted); }
svg path { fill: none; stroke-linejoin: round; } svg .curve { stroke: var(--accent); stroke-width: 2; } svg .faint { stroke: var(--faint); stroke-width: 1; }
svg .dot { fill: var(--dot); stroke: var(--card); stroke-width: 1; }
svg rect.accent { fill: var(--accent); } svg rect.muted { fill: var(--muted); } svg rect.teacher { fill: var(--teacher); }
svg .trial { stroke: var(--accent); stroke-width: 1.2; } svg .best { stroke: var(--dot); stroke-width: 2.5; } svg .lost { stroke: var(--muted); stroke-dasharray: 4 4; }
svg path.trial:hover, svg path.lost:hover { stroke: var(--dot); stroke-width: 3; opacity: 1; }
svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 4px; stroke-linejoin: round; }
svg .reference { stroke: var(--dot); stroke-width: 1.5; stroke-dasharray: 5 4; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
)css";

std::string percent(double fraction) { return formatted("%+.1f%%", 100 * fraction); }

std::string loss_name(const std::string& stage) {
  if (stage == "ALIGN") return "MSE of the mixers' outputs";
  if (stage == "DISTILL") return "KL divergence from the teacher";
  return "cross-entropy a token";
}

/// At most about `count` points, each the mean of as many neighbours; what is not finite stays by itself.
std::vector<Point> thinned(const std::vector<LossPoint>& points, std::size_t count) {
  const std::size_t bucket = std::max<std::size_t>(1, points.size() / count);
  std::vector<Point> result;
  for (std::size_t i = 0; i < points.size(); i += bucket) {
    const std::size_t end = std::min(i + bucket, points.size());
    Point mean;
    for (std::size_t k = i; k < end; ++k) {
      mean.x += static_cast<double>(points[k].step) / static_cast<double>(end - i);
      mean.y += points[k].loss / static_cast<double>(end - i);
    }
    result.push_back(mean);
  }
  return result;
}

/// Exponential mean over about a hundredth of the curve, without the drag of the first value.
std::vector<Point> smoothed(std::vector<Point> points) {
  const double keep = 1 - 1 / std::max(1.0, static_cast<double>(points.size()) / 100);
  double sum = 0;
  double weight = 0;
  for (Point& point : points) {
    if (!std::isfinite(point.y)) continue;
    sum = keep * sum + point.y;
    weight = keep * weight + 1;
    point.y = sum / weight;
  }
  return points;
}

std::string tile(const std::string& name, const std::string& number, const std::string& more,
                 bool good) {
  return str("<div class='card tile'><div class='name'>", escape_html(name),
             "</div><div class='number", good ? " good" : "", "'>", escape_html(number),
             "</div><div class='more'>", escape_html(more), "</div></div>\n");
}

std::string tiles(const Report& report) {
  std::string html;
  for (const ModelReport& model : report.models) {
    if (model.role == ModelReport::Role::kTeacher && model.perplexity) {
      html += tile(model.name, formatted("%.4g", *model.perplexity), "perplexity of held-out text",
                   false);
      break;
    }
  }
  const ModelReport* last = nullptr;
  for (const ModelReport& model : report.models) {
    if (model.role == ModelReport::Role::kStudent && model.perplexity) last = &model;
  }
  if (last != nullptr) {
    const auto excess = excess_over_teacher(report, *last);
    html += tile(last->name, formatted("%.4g", *last->perplexity),
                 excess ? percent(*excess) + " over the teacher's perplexity"
                        : "perplexity of held-out text",
                 excess && *excess <= 0.1);
  }
  if (!report.layers.empty()) {
    const auto kept = std::ranges::count_if(report.layers, &LayerReport::kept);
    html += tile("softmax attention", str(kept, " of ", report.layers.size()),
                 "layers; the others hold linear attention", false);
  }
  if (report.trials && !report.trials->rows.empty() && report.trials->rows.front().objective) {
    const TrialRow& best = report.trials->rows.front();
    html +=
        tile(str("best of ", report.trials->rows.size(), " trials"), short_number(*best.objective),
             str(report.trials->objective, " of trial ", best.number), false);
  }
  if (!report.stages.empty() && !report.trials) {
    double seconds = 0, tokens = 0;
    for (const StageReport& stage : report.stages) {
      seconds += stage.seconds;
      tokens += static_cast<double>(stage.tokens);
    }
    html += tile("training", human_seconds(seconds), human_count(tokens) + " tokens in all stages",
                 false);
  }
  return html.empty() ? "" : "<section class='tiles'>\n" + html + "</section>\n";
}

std::string models_chart(const Report& report) {
  const bool bytes = std::ranges::all_of(
      report.models, [](const ModelReport& model) { return model.bits_per_byte.has_value(); });
  BarChart chart{"Loss of each model on held-out text",
                 bytes ? "bits a byte of held-out text" : "loss a token of held-out text, nats",
                 {},
                 {}};
  for (const ModelReport& model : report.models) {
    if (!bytes && !model.perplexity) continue;
    const auto excess = excess_over_teacher(report, model);
    const double value = bytes ? *model.bits_per_byte : std::log(*model.perplexity);
    const char* css = model.role == ModelReport::Role::kTeacher    ? "teacher"
                      : model.role == ModelReport::Role::kBaseline ? "muted"
                                                                   : "accent";
    chart.bars.push_back({model.name, value,
                          formatted("%.3f", value) + (excess ? "  (" + percent(*excess) + ")" : ""),
                          css});
  }
  if (bytes && report.gzip_bits_per_byte) {
    chart.reference = Bar{"gzip -9: " + formatted("%.3f", *report.gzip_bits_per_byte),
                          *report.gzip_bits_per_byte, "", ""};
  }
  return to_svg(chart);
}

std::string models_table(const Report& report) {
  std::string html =
      "<div class='scroll'><table><thead><tr><th>model</th><th>perplexity</th><th>over the "
      "teacher</th>"
      "<th>bits a byte</th>";
  std::vector<std::string> tasks;
  for (const ModelReport& model : report.models) {
    for (const auto& [task, accuracy] : model.tasks) {
      if (std::ranges::find(tasks, task) == tasks.end()) tasks.push_back(task);
    }
  }
  for (const std::string& task : tasks) html += "<th>" + escape_html(task) + "</th>";
  html += "</tr></thead><tbody>\n";
  for (const ModelReport& model : report.models) {
    const auto excess = excess_over_teacher(report, model);
    html += str(model.role == ModelReport::Role::kBaseline ? "<tr class='baseline'>" : "<tr>",
                "<td>", escape_html(model.name), "</td><td>",
                model.perplexity ? short_number(*model.perplexity) : "", "</td><td>",
                excess ? percent(*excess) : "", "</td><td>",
                model.bits_per_byte ? formatted("%.3f", *model.bits_per_byte) : "", "</td>");
    for (const std::string& task : tasks) {
      const auto found =
          std::ranges::find(model.tasks, task, &std::pair<std::string, double>::first);
      html += "<td>" +
              (found == model.tasks.end() ? "" : formatted("%.1f%%", 100 * found->second)) +
              "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string stage_card(const StageReport& stage) {
  const std::vector<Point> points = thinned(stage.loss, 400);
  LineChart chart{stage.name + ": " + loss_name(stage.stage) + " by step",
                  "step",
                  points,
                  smoothed(points),
                  {},
                  "training",
                  "validation"};
  for (const LossPoint& point : stage.validation) {
    chart.dots.push_back({static_cast<double>(point.step), point.loss});
  }
  return str("<div class='card'><header><h3>", escape_html(stage.name), "</h3><span>",
             loss_name(stage.stage), "</span></header>", to_svg(chart), "</div>\n");
}

std::string stages_table(const Report& report) {
  std::string html =
      "<div class='card "
      "scroll'><table><thead><tr><th>job</th><th>stage</th><th>steps</th><th>tokens</th>"
      "<th>trained parameters</th><th>time</th><th>tokens/s</th><th>first loss</th><th>last "
      "loss</th></tr></thead><tbody>\n";
  for (const StageReport& stage : report.stages) {
    const double rate = stage.seconds > 0 ? static_cast<double>(stage.tokens) / stage.seconds : 0;
    html += str(
        "<tr><td>", escape_html(stage.name), "</td><td>", escape_html(stage.stage), "</td><td>",
        steps_text(stage), "</td><td>", human_count(static_cast<double>(stage.tokens)), "</td><td>",
        stage.parameters > 0 ? human_count(static_cast<double>(stage.parameters)) : "", "</td><td>",
        human_seconds(stage.seconds), "</td><td>", rate > 0 ? human_count(rate) : "", "</td><td>",
        stage.loss.empty() ? "" : short_number(stage.loss.front().loss), "</td><td>",
        stage.loss.empty() ? "" : short_number(late_loss(stage)), "</td></tr>\n");
  }
  return html + "</tbody></table></div>\n";
}

std::string layers_section(const Report& report) {
  ColumnChart chart{"Importance of each layer", "layer  (importance on a logarithmic scale)", {}};
  std::string rows;
  for (std::size_t i = 0; i < report.layers.size(); ++i) {
    const LayerReport& layer = report.layers[i];
    chart.columns.push_back({str(i), layer.importance, formatted("%.2f", layer.importance),
                             layer.kept ? "accent" : "muted"});
    rows +=
        str(layer.kept ? "<tr class='kept'><td>" : "<tr><td>", i, "</td><td>",
            formatted("%.2f%%", 100 * layer.recall), "</td><td>",
            formatted("%.2f%%", 100 * layer.csr), "</td><td>", formatted("%.3f", layer.importance),
            "</td><td>", layer.kept ? "attention" : "linear", "</td></tr>\n");
  }
  return "<h2>Which layers stay softmax attention</h2>\n<p class='note'>Importance of a layer: the "
         "recall that is lost "
         "when linear attention replaces it alone, over the commonsense accuracy that is lost. The "
         "most important ones "
         "are kept (blue).</p>\n<div class='stack'><div class='card'>" +
         to_svg(chart) +
         "</div>\n<div class='card scroll'><table><thead><tr><th>layer "
         "replaced</th><th>recall</th><th>commonsense</th>"
         "<th>importance</th><th>in the hybrid</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div></div>\n";
}

}  // namespace

std::string to_html(const Report& report) {
  const std::string title = escape_html(report.title.empty() ? "Training report" : report.title);
  std::string html =
      "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n<title>" +
      title + "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<main>\n<h1>" + title +
      "</h1>\n<div class='facts'>";
  for (const auto& [name, value] : report.facts) {
    html += "<span>" + escape_html(name) + " <b>" + escape_html(value) + "</b></span>";
  }
  html += "</div>\n" + tiles(report);
  if (!report.models.empty()) {
    html +=
        "<h2>How good the models are</h2>\n<p class='note'>On text that no stage has read. Shorter "
        "bars are better; "
        "in brackets the perplexity over the teacher's.</p>\n<div class='stack'><div "
        "class='card'>" +
        models_chart(report) + "</div>\n<div class='card'>" + models_table(report) +
        "</div></div>\n";
  }
  if (!report.stages.empty()) {
    html +=
        "<h2>Training</h2>\n<p class='note'>Loss of every step (pale) and its running "
        "mean.</p>\n<div class='charts'>\n";
    for (const StageReport& stage : report.stages) html += stage_card(stage);
    html += "</div>\n<div style='height:14px'></div>\n" + stages_table(report);
  }
  if (!report.layers.empty()) html += layers_section(report);
  if (report.trials) html += trials_html(*report.trials);
  return html + "</main>\n</body>\n</html>\n";
}

std::optional<double> excess_over_teacher(const Report& report, const ModelReport& model) {
  if (model.role == ModelReport::Role::kTeacher || !model.perplexity) return std::nullopt;
  for (const ModelReport& other : report.models) {
    if (other.role == ModelReport::Role::kTeacher && other.perplexity)
      return *model.perplexity / *other.perplexity - 1;
  }
  return std::nullopt;
}

std::string steps_text(const StageReport& stage) {
  const std::int64_t steps = std::ssize(stage.loss) + stage.skipped;
  return stage.skipped == 0 ? str(steps) : str(steps, ", ", stage.skipped, " skipped");
}

double late_loss(const StageReport& stage) {
  const std::size_t steps = stage.loss.size();
  const std::size_t late = std::max<std::size_t>(1, steps / 10);
  double sum = steps == 0 ? std::nan("") : 0;
  for (std::size_t i = steps - std::min(steps, late); i < steps; ++i) sum += stage.loss[i].loss;
  return sum / static_cast<double>(late);
}

double gzip_bits_per_byte(const std::string& text) {
  if (text.empty()) return 0;
  z_stream stream{};
  constexpr int kGzipWindow = 15 + 16;
  HALO_REQUIRE(deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzipWindow, 8,
                            Z_DEFAULT_STRATEGY) == Z_OK,
               "zlib cannot start");
  std::string in = text;  // zlib takes no const pointer
  std::array<unsigned char, 1 << 16> out{};
  double bytes = 0;
  int status = Z_OK;
  std::size_t at = 0;
  while (status == Z_OK) {
    const std::size_t piece = std::min<std::size_t>(in.size() - at, std::size_t{1} << 30);
    stream.next_in = reinterpret_cast<unsigned char*>(in.data() + at);
    stream.avail_in = static_cast<unsigned>(piece);
    stream.next_out = out.data();
    stream.avail_out = out.size();
    status = deflate(&stream, at + piece == in.size() ? Z_FINISH : Z_NO_FLUSH);
    at += piece - stream.avail_in;
    bytes += static_cast<double>(out.size() - stream.avail_out);
  }
  deflateEnd(&stream);
  HALO_REQUIRE(status == Z_STREAM_END, str("zlib failed with ", status));
  return 8 * bytes / static_cast<double>(text.size());
}

}  // namespace halo::launch
