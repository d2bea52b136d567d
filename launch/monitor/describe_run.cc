#include "launch/monitor/describe_run.h"

#include <chrono>
#include <filesystem>

#include "launch/jobs/job_folder.h"

namespace halo::launch {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

/// The stage of a training job, or the name of the field that is its work.
std::string kind_of(const proto::Job& job) {
  if (job.has_train()) return lower(proto::Stage_Name(job.train().stage()));
  const auto* work = proto::Job::descriptor()->FindFieldByNumber(job.work_case());
  return work == nullptr ? "" : work->name();
}

std::string base_name(const std::string& output) {
  const std::filesystem::path path = std::filesystem::path(output).lexically_normal();
  return path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
}

}  // namespace

RunStatus describe_run(const Config& resolved, int ranks, const std::string& version, double now) {
  RunStatus status;
  status.name = base_name(resolved.output());
  status.output = resolved.output();
  status.version = version;
  status.ranks = ranks;
  status.begun = now;
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  status.begun_at = std::chrono::duration<double>(since_1970).count();
  for (const int i : job_order(resolved)) {
    const proto::Job& job = resolved.job(i);
    MonitoredJob& monitored = status.jobs.emplace_back();
    monitored.name = job.name();
    monitored.kind = kind_of(job);
    monitored.ranks = job.ranks() > 0 ? job.ranks() : ranks;
    monitored.changed = now;
    if (!job.has_train()) continue;
    monitored.steps = job.train().steps();
    monitored.metrics = JobFolder(resolved.output(), job.name()).metrics().string();
  }
  return status;
}

}  // namespace halo::launch
