#include "launch/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"

namespace halo::launch {
namespace {

constexpr std::string_view kNonfinite = "_nonfinite";

void put(nlohmann::ordered_json& object, const std::string& key, double value) {
  if (std::isfinite(value)) {
    object[key] = value;
    return;
  }
  object[key] = nullptr;
  object[key + std::string(kNonfinite)] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

double get(const JsonValue& object, const std::string& key) {
  if (const auto value = object.find(key)) return value->number();
  const JsonValue word = object.at(key + std::string(kNonfinite));
  if (word.string() == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (word.string() == "inf") return std::numeric_limits<double>::infinity();
  if (word.string() == "-inf") return -std::numeric_limits<double>::infinity();
  word.fail("expected nan, inf or -inf");
}

/// A file's lines that end in a newline, each with the offset behind it, up to the first that never reached the disk
/// whole (a crash of the system leaves zeros).
template <class Visit>
void for_each_line(std::string_view text, const Visit& visit) {
  std::size_t begin = 0;
  for (std::size_t line = 1;; ++line) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos ||
        text.substr(begin, end - begin).find('\0') != std::string_view::npos)
      return;
    if (!visit(line, text.substr(begin, end - begin), end + 1)) return;
    begin = end + 1;
  }
}

std::string system_reason() { return std::strerror(errno); }

}  // namespace

std::string to_json_line(const StepMetrics& metrics) {
  nlohmann::ordered_json object;
  object["step"] = metrics.step;
  put(object, "loss", metrics.loss);
  put(object, "grad_norm", metrics.grad_norm);
  put(object, "lr", metrics.lr);
  object["tokens"] = metrics.tokens;
  put(object, "step_ms", metrics.step_ms);
  put(object, "tokens_per_s", metrics.tokens_per_s);
  put(object, "mfu", metrics.mfu);
  put(object, "memory_gib", metrics.memory_gib);
  if (metrics.validation_loss) put(object, "validation_loss", *metrics.validation_loss);
  if (metrics.skipped) object["skipped"] = true;
  for (const StepMetrics::Axis& axis : metrics.axes) {
    nlohmann::ordered_json& of = object["axes"][axis.name];
    of["bytes"] = axis.bytes;
    of["ms"] = axis.ms;
    of["wait_ms"] = axis.wait_ms;
  }
  return object.dump();
}

StepMetrics parse_json_line(std::string_view line, std::string_view place) {
  const nlohmann::json document = parse_json(line, place);
  const JsonValue object(document, std::string(place));
  constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
  StepMetrics metrics;
  metrics.step = object.at("step").integer(0, kAny);
  metrics.loss = get(object, "loss");
  metrics.grad_norm = get(object, "grad_norm");
  metrics.lr = get(object, "lr");
  metrics.tokens = object.at("tokens").integer(0, kAny);
  metrics.step_ms = get(object, "step_ms");
  metrics.tokens_per_s = get(object, "tokens_per_s");
  metrics.mfu = get(object, "mfu");
  metrics.memory_gib = get(object, "memory_gib");
  if (document.contains("validation_loss"))
    metrics.validation_loss = get(object, "validation_loss");
  if (const auto skipped = object.find("skipped")) metrics.skipped = skipped->boolean();
  if (document.contains("axes")) {
    for (const auto& [name, value] : document["axes"].items()) {
      const JsonValue axis(value, str(place, ".axes.", name));
      metrics.axes.push_back({name, get(axis, "bytes"), get(axis, "ms"), get(axis, "wait_ms")});
    }
  }
  return metrics;
}

std::vector<StepMetrics> read_metrics(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::vector<StepMetrics> steps;
  for_each_line(text, [&](std::size_t number, std::string_view line, std::size_t) {
    steps.push_back(parse_json_line(line, str(path.string(), ":", number)));
    return true;
  });
  return steps;
}

MetricsWriter::MetricsWriter(std::filesystem::path path, std::int64_t next_step)
    : path_(std::move(path)) {
  std::size_t keep = 0;
  std::int64_t kept_steps = 0;
  if (std::filesystem::exists(path_)) {
    HALO_REQUIRE_INPUT(std::filesystem::is_regular_file(path_),
                       str(path_.string(), ": no regular file"));
    const std::string text = read_file(path_);
    for_each_line(text, [&](std::size_t number, std::string_view line, std::size_t end) {
      if (cut_steps_ > 0 ||
          parse_json_line(line, str(path_.string(), ":", number)).step >= next_step) {
        ++cut_steps_;
        return true;
      }
      keep = end;
      ++kept_steps;
      return true;
    });
  }
  missing_steps_ = std::max<std::int64_t>(next_step - kept_steps, 0);
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND, 0644);
  if (file_ < 0) throw Error(str(path_.string(), ": cannot be written: ", system_reason()));
  if (::ftruncate(file_, static_cast<off_t>(keep)) != 0) {
    const std::string reason = system_reason();
    ::close(std::exchange(file_, -1));
    throw Error(str(path_.string(), ": cannot be cut to ", keep, " bytes: ", reason));
  }
}

MetricsWriter::~MetricsWriter() {
  if (file_ >= 0) ::close(file_);
}

void MetricsWriter::append(const StepMetrics& metrics) {
  const std::string line = to_json_line(metrics) + "\n";
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = ::write(file_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      throw Error(
          str(path_.string(), ": step ", metrics.step, " cannot be written: ", system_reason()));
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

void MetricsWriter::sync() {
  if (::fsync(file_) != 0) {
    throw Error(str(path_.string(), ": cannot be made durable: ", system_reason()));
  }
}

}  // namespace halo::launch
