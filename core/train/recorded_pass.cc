#include "core/train/recorded_pass.h"

#include <glog/logging.h>

#include <utility>

#include "core/base/error.h"

namespace halo::train {

RecordedPass::RecordedPass(Stream& stream) : stream_(stream) {
  stream_.allocator()->on_shortage([this] { return release(); });
}

RecordedPass::~RecordedPass() { stream_.allocator()->on_shortage({}); }

bool RecordedPass::release() {
  if (graph_ == nullptr) return false;
  LOG(INFO) << "memory is short: the passes of a step are queued call by call again";
  recordings_ = kMostRecordings;
  graph_.reset();
  return true;
}

void RecordedPass::record(const std::function<void()>& pass) {
  ++recordings_;
  try {
    graph_ = stream_.queue().record(pass);
  } catch (const Error& error) {
    recordings_ = kMostRecordings;
    LOG(WARNING) << "the passes of a step are not recorded as a CUDA graph: " << error.what();
  }
}

void RecordedPass::run(const PassKey& key, const std::function<void()>& pass) {
  if (key != key_) {
    graph_.reset();
    key_ = key;
    calls_ = 0;
  }
  if (graph_ == nullptr && calls_ >= kUnrecorded && recordings_ < kMostRecordings) record(pass);
  if (graph_ != nullptr) return graph_->launch();
  ++calls_;
  pass();
}

}  // namespace halo::train
