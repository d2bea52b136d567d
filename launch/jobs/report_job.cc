#include <iostream>

#include "core/base/file.h"
#include "launch/jobs/collect_report.h"
#include "launch/jobs/job_context.h"

namespace halo::launch {

JobOutcome run_report_job(const JobContext& context) {
  if (!context.is_first_rank()) return JobOutcome::kDone;
  const Report report = collect_report(context.config, context.ranks_of_run);
  const std::filesystem::path page = std::filesystem::path(context.config.output()) / "report.html";
  context.begin_folder();
  write_file_atomically(page, to_html(report));
  if (report.trials) {
    write_file_atomically(page.parent_path() / "trials.csv", trials_csv(*report.trials));
    write_file_atomically(page.parent_path() / "trials.json", trials_json(*report.trials));
  }
  std::cout << '\n'
            << to_text_table(report) << "\nThe same with plots: " << page.string() << std::endl;
  return JobOutcome::kDone;
}

}  // namespace halo::launch
