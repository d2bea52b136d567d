#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/stream.h"
#include "core/base/tensor.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/nccl/events.h"
#include "parallel/comm/nccl/group.h"

namespace halo::comm {

/// One rank's calls over all groups of one origin: puts each between the work of the rank's stream that comes before it
/// and what comes after it is waited for, sees when it has ended, and whether a peer has failed. Whoever asks for a call,
/// and whoever waits for the stream, looks after all.
class NcclEngine : public std::enable_shared_from_this<NcclEngine> {
 public:
  /// One call on the way. It keeps the group, and so the links, until it has ended.
  struct Running {
    std::shared_ptr<NcclGroup> group;
    Call call;
    std::int64_t record = 0;
    CudaEvent ready;              // what it may begin after, on the rank's stream
    std::vector<CudaEvent> ends;  // on each link that it uses
    CudaEvent reached;            // what waits for it, on the rank's stream
    bool waited = false;
    bool over = false;  // it has ended or failed
    double since = -1;  // when it was first seen to be ready and waited for
  };

  /// `gpu` and `log` must outlive it. `deadline` is of one call that the device waits for.
  NcclEngine(Stream& gpu, CallLog& log, std::chrono::milliseconds deadline);
  ~NcclEngine();
  NcclEngine(const NcclEngine&) = delete;
  NcclEngine& operator=(const NcclEngine&) = delete;

  [[nodiscard]] std::shared_ptr<NcclGroup> make_group(Communicator& host);
  [[nodiscard]] std::shared_ptr<NcclGroup> make_group(std::unique_ptr<Communicator> host,
                                                      const NcclGroup& parent);
  [[nodiscard]] Stream& gpu() const { return gpu_; }
  [[nodiscard]] CallLog& log() const { return log_; }

  using Issue = std::function<void(NcclLink&)>;
  struct Part {
    NcclLink* link;
    Issue issue;  // queues its calls of NCCL's on the link
  };
  /// Starts a call, whose parts go on side by side but for those of one link. Throws PeerFailed when the group has failed.
  [[nodiscard]] Work start(std::shared_ptr<NcclGroup> group, Call call,
                           const std::vector<Part>& parts);

  bool test(Running& running);
  void wait(Running& running);
  void withdraw(Running& running) noexcept;
  /// Throws PeerFailed when the group has failed.
  void check(const NcclGroup& group);
  /// The group fails here and at its other members.
  void abort(NcclGroup& group, const std::string& reason) noexcept;

 private:
  void watch();  // while the host waits for the stream
  void look_after_all(bool now);
  void find_failures();
  void find_late_calls();
  void retire();
  void finish(Running& running, bool done);
  void report(const Running& running);
  void move_anchor(CudaEvent& end);
  /// The group and all that come of it.
  void fail(const NcclGroup& group, int rank, const std::string& reason);
  void end_failed_calls();
  [[noreturn]] static void raise(const NcclGroup::Failure& failure);
  [[nodiscard]] std::vector<std::shared_ptr<NcclGroup>> groups();
  [[nodiscard]] cudaStream_t stream() const {
    return static_cast<cudaStream_t>(gpu_.queue().native());
  }

  Stream& gpu_;
  CallLog& log_;
  double deadline_;  // seconds
  Tensor probe_;
  std::shared_ptr<NcclLinkEnds> ends_ = std::make_shared<NcclLinkEnds>();
  CudaEvents events_;
  CudaEvent anchor_;        // has passed
  double anchor_time_ = 0;  // when, as of steady_seconds()
  int next_group_ = 0;
  double looked_ = 0;
  std::vector<std::weak_ptr<NcclGroup>> groups_;
  std::vector<std::shared_ptr<Running>> active_;  // in the order they were started
  std::optional<NcclGroup::Failure> unheard_;     // ended calls, and was not thrown yet
};

}  // namespace halo::comm
