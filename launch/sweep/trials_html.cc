#include <algorithm>

#include "core/base/error.h"
#include "launch/chart.h"
#include "launch/sweep/trial_charts.h"

namespace halo::launch {
namespace {

std::string cell(const std::string& text) { return "<td>" + escape_html(text) + "</td>"; }

std::string table_html(const TrialTable& table) {
  std::string html = "<div class='card scroll'><table class='trials'><thead><tr><th>trial</th>";
  const std::vector<std::string> names = short_names(table.parameters);
  for (std::size_t p = 0; p < names.size(); ++p)
    html +=
        str("<th title='", escape_html(table.parameters[p]), "'>", escape_html(names[p]), "</th>");
  html += "<th>" + escape_html(table.objective) +
          "</th><th>steps</th><th>state</th></tr></thead><tbody>\n";
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const TrialRow& row = table.rows[i];
    const bool best = i == 0 && row.state == TrialState::kDone && row.objective;
    html += best ? "<tr class='kept'>" : "<tr>";
    html += cell(str(row.number));
    for (const std::string& value : row.values) html += cell(value);
    html += cell(row.objective ? short_number(*row.objective) : "");
    html += cell(steps_of(row));
    html += cell(row.reason.empty() ? to_string(row.state)
                                    : str(to_string(row.state), ": ", row.reason.substr(0, 200)));
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

std::string trials_html(const TrialTable& table) {
  std::string html = str(
      "<h2>Trials</h2>\n<p class='note'>", table.rows.size(),
      table.rows.size() == 1 ? " trial" : " trials", " by ", escape_html(table.objective),
      table.more_is_better ? ", more is better" : ", less is better",
      ". The stronger a line, the better its trial; the best one is orange, those that failed are "
      "dashed.</p>\n<div class='stack'>");
  html += "<div class='card'><header><h3>Values and objective</h3></header>" + parallel_svg(table) +
          "</div>\n";
  if (const std::string curves = curves_svg(table); !curves.empty())
    html += str("<div class='card'><header><h3>",
                table.objective == "validation_loss" ? "validation loss" : "loss",
                " by step</h3></header>", curves, "</div>\n");
  return html + table_html(table) + "</div>\n";
}

}  // namespace halo::launch
