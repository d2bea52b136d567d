#pragma once
#include <string>

#if HALO_CUDA_ENABLED
#include <nvtx3/nvToolsExt.h>
#endif

namespace halo {

// Stretches of a rank's work by name, for Nsight Systems, which shows them above the GPU's own work. Only builds with CUDA
// have them; there each costs some tens of nanoseconds where no profiler listens. A name is what `name()` returns, so that
// other builds do not make it.

/// What the calling thread does during its life; these nest.
class ProfilerRange {
 public:
#if HALO_CUDA_ENABLED
  template <class Name>
  explicit ProfilerRange(const Name& name) {
    nvtxRangePushA(std::string(name()).c_str());
  }
  ~ProfilerRange() { nvtxRangePop(); }
#else
  template <class Name>
  explicit ProfilerRange(const Name& /*name*/) {}
#endif
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

/// What is under way from start() to end(), or to the end of its life; any number may overlap.
class ProfilerSpan {
 public:
  ProfilerSpan() = default;
  ProfilerSpan(const ProfilerSpan&) = delete;
  ProfilerSpan& operator=(const ProfilerSpan&) = delete;
#if HALO_CUDA_ENABLED
  ~ProfilerSpan() { end(); }
  template <class Name>
  void start(const Name& name) {
    end();
    id_ = nvtxRangeStartA(std::string(name()).c_str());
    under_way_ = true;
  }
  void end() {
    if (under_way_) nvtxRangeEnd(id_);
    under_way_ = false;
  }

 private:
  nvtxRangeId_t id_ = 0;
  bool under_way_ = false;
#else
  template <class Name>
  void start(const Name& /*name*/) {}
  void end() {}
#endif
};

}  // namespace halo
