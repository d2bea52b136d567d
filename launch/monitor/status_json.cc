#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "launch/monitor/status_text.h"

namespace halo::launch {
namespace {

using Json = nlohmann::ordered_json;

/// Text of the user's or of the system's may be no UTF-8, which JSON must be.
std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json metrics_or_null(const std::optional<StepMetrics>& metrics) {
  return metrics ? Json::parse(to_json_line(*metrics)) : Json(nullptr);
}

Json to_json(const RunStatus& status, const MonitoredJob& job, double now) {
  Json json;
  json["name"] = job.name;
  json["kind"] = job.kind;
  json["state"] = state_of(status, job);
  json["reason"] = job.reason;
  json["ranks"] = job.ranks;
  json["steps"] = job.steps;
  json["step"] = job.progress.step();
  const auto left = job.progress.seconds_left(job.steps);
  const bool runs = job.state == JobState::kRunning && !status.ended;
  json["seconds_left"] = runs && job.steps > 0 && left ? Json(*left) : Json(nullptr);
  json["seconds_since_change"] = now - job.changed;
  json["last"] = metrics_or_null(job.progress.last);
  json["last_validation"] = metrics_or_null(job.progress.last_validation);
  return json;
}

/// Its newest call, a line of the flight recorder.
std::string last_call(const proto::Heartbeat& beat) {
  std::string_view calls = beat.last_calls();
  while (calls.ends_with('\n')) calls.remove_suffix(1);
  return std::string(calls.substr(calls.rfind('\n') + 1));
}

Json to_json(const MonitoredRank& rank, double now) {
  const proto::Heartbeat& beat = rank.beat;
  Json json;
  json["rank"] = beat.rank();
  json["host"] = beat.host();
  json["pid"] = beat.pid();
  json["state"] = to_string(state_of(rank, now));
  json["reason"] = reason_of(rank, now);
  json["job"] = beat.phase() == "idle" ? "" : beat.job();
  json["step"] = beat.step();
  json["phase"] = beat.phase();
  json["phase_seconds"] = beat.phase_seconds() + now - rank.heard;
  json["calls"] = beat.calls();
  json["last_call"] = last_call(beat);
  json["waits_for"] = beat.waits_for();
  json["own_seconds"] = beat.own_seconds() < 0 ? Json(nullptr) : Json(beat.own_seconds());
  json["seconds_since_heard"] = now - rank.heard;
  json["seconds_since_progress"] = now - rank.got_on;
  return json;
}

Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

std::string status_json(const RunStatus& status, double now) {
  const Health health = health_of(status, now);
  Json json;
  json["run"] = {{"name", status.name},         {"output", status.output},
                 {"version", status.version},   {"ranks", status.ranks},
                 {"begun_at", status.begun_at}, {"seconds", now - status.begun},
                 {"ended", status.ended}};
  json["health"] = {{"ok", health.ok}, {"reason", health.reason}};
  json["jobs"] = Json::array();
  for (const MonitoredJob& job : status.jobs) json["jobs"].push_back(to_json(status, job, now));
  json["ranks"] = Json::array();
  for (const MonitoredRank& rank : status.heard) json["ranks"].push_back(to_json(rank, now));
  return dumped(json);
}

std::string curve_json(const std::string& job, const MetricsTail& tail, std::size_t points,
                       bool complete) {
  Json json;
  json["job"] = job;
  json["steps"] = tail.curve().count();
  json["complete"] = complete;
  json["columns"] = {"step", "loss", "grad_norm", "lr", "step_ms", "tokens_per_s", "mfu"};
  json["points"] = Json::array();
  for (const CurvePoint& p : tail.curve().values(points)) {
    json["points"].push_back(
        Json::array({p.step, finite(p.loss), finite(p.grad_norm), finite(p.lr), finite(p.step_ms),
                     finite(p.tokens_per_s), finite(p.mfu)}));
  }
  json["validation"] = Json::array();
  for (const ValidationPoint& p : tail.validation().values(points))
    json["validation"].push_back(Json::array({p.step, finite(p.loss)}));
  return dumped(json);
}

}  // namespace halo::launch
