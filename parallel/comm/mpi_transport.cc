#include "parallel/comm/mpi_transport.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "parallel/comm/grace.h"

namespace halo::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAbortTag = 0;

/// An AbortNotice as it travels: short enough to be sent eagerly by every MPI transport.
struct AbortWire {
  int origin = 0;
  int scope = 0;
  std::array<char, 1000> reason{};  // ends with 0
};

struct AbortSend {
  AbortWire wire;
  MPI_Request request = MPI_REQUEST_NULL;
};

class MpiTransport;

class MpiRequest final : public Request {
 public:
  MpiRequest(MpiTransport& transport, std::size_t bytes, bool receive)
      : transport_(transport), bytes_(bytes), receive_(receive) {}
  ~MpiRequest() override;
  bool test() override;
  [[nodiscard]] MPI_Request* raw() { return &request_; }

 private:
  MpiTransport& transport_;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::size_t bytes_;
  bool receive_;
};

class MpiTransport final : public Transport {
 public:
  explicit MpiTransport(std::shared_ptr<MpiSession::State> session) : session_(std::move(session)) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm_), "MPI_Comm_dup");
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    int* limit = nullptr;
    int found = 0;
    check_mpi(MPI_Comm_get_attr(comm_, MPI_TAG_UB, &limit, &found), "MPI_Comm_get_attr");
    max_tag_ = found != 0 ? *limit : 32767;  // what the standard promises
  }
  // The communicator is left to MPI_Finalize, since MPI_Comm_free is collective. An abort that is still on its way
  // keeps its memory for good.
  ~MpiTransport() override {
    for (auto& abort : aborts_) {
      if (abort->request != MPI_REQUEST_NULL) static_cast<void>(abort.release());
    }
  }

  [[nodiscard]] int rank() const noexcept override { return session_->rank; }
  [[nodiscard]] int size() const noexcept override { return session_->size; }
  [[nodiscard]] int max_tag() const noexcept override { return max_tag_; }

  std::unique_ptr<Request> send(int to, int tag, std::span<const std::byte> bytes) override {
    auto request = std::make_unique<MpiRequest>(*this, bytes.size(), false);
    check_mpi(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, comm_,
                        request->raw()),
              "MPI_Isend");
    return request;
  }

  std::unique_ptr<Request> receive(int from, int tag, std::span<std::byte> bytes) override {
    auto request = std::make_unique<MpiRequest>(*this, bytes.size(), true);
    check_mpi(MPI_Irecv(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, from, tag, comm_,
                        request->raw()),
              "MPI_Irecv");
    return request;
  }

  void send_abort(int to, const AbortNotice& notice) override {
    session_->failed = true;
    auto abort = std::make_unique<AbortSend>();
    abort->wire.origin = notice.origin;
    abort->wire.scope = notice.scope;
    notice.reason.copy(abort->wire.reason.data(), abort->wire.reason.size() - 1);
    check_mpi(
        MPI_Isend(&abort->wire, sizeof(AbortWire), MPI_BYTE, to, kAbortTag, comm_, &abort->request),
        "MPI_Isend");
    aborts_.push_back(std::move(abort));
    while (!finished(aborts_.back()->request) && grace_left()) {
    }
  }

  std::optional<AbortNotice> poll_abort() override {
    int found = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, kAbortTag, comm_, &found, MPI_STATUS_IGNORE),
              "MPI_Iprobe");
    if (found == 0) return std::nullopt;
    AbortWire wire;  // it is here already, so the receive does not wait
    check_mpi(MPI_Recv(&wire, sizeof(AbortWire), MPI_BYTE, MPI_ANY_SOURCE, kAbortTag, comm_,
                       MPI_STATUS_IGNORE),
              "MPI_Recv");
    session_->failed = true;
    wire.reason.back() = 0;
    return AbortNotice{wire.origin, wire.scope, wire.reason.data()};
  }

  void watch() override {}
  void pause(Clock::time_point begin) override {
    const auto now = Clock::now();
    if (std::exchange(moved_, false)) moved_at_ = now;
    back_off(now - std::max(begin, moved_at_));
  }
  void note_failure(bool peer_lost) noexcept override {
    session_->failed = true;
    session_->suspected = session_->suspected || peer_lost;
  }

  void message_ended() { moved_ = true; }

  /// Takes a message out of MPI's hands. A receive is cancelled, unless it has met its send: then, and for sends, which
  /// Open MPI does not cancel, there is a little time to end. What does not end is left behind unfreed: nothing that
  /// belongs to it arrives any more unless the peer goes on with the communicator that was given up.
  void withdraw(MPI_Request request, bool receive) noexcept {
    int finalized = 0;
    if (MPI_Finalized(&finalized) != MPI_SUCCESS || finalized != 0) return;
    if (receive) MPI_Cancel(&request);
    while (!finished(request) && grace_left()) {
    }
  }

 private:
  static bool finished(MPI_Request& request) noexcept {
    int done = 0;
    return MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done != 0;
  }

  bool grace_left() noexcept {
    const auto begin = Clock::now();
    back_off(grace_.spent());
    return grace_.spend(begin, Clock::now());
  }

  std::shared_ptr<MpiSession::State> session_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int max_tag_ = 0;
  std::deque<std::unique_ptr<AbortSend>> aborts_;
  bool moved_ = false;  // a message ended since the last pause
  Clock::time_point moved_at_{};
  Grace grace_;  // of abort() and withdrawn messages, to get through
};

MpiRequest::~MpiRequest() {
  if (request_ != MPI_REQUEST_NULL) transport_.withdraw(request_, receive_);
}

bool MpiRequest::test() {
  int done = 0;
  MPI_Status status;
  if (const int code = MPI_Test(&request_, &done, &status); code != MPI_SUCCESS) {
    int kind = MPI_ERR_OTHER;
    MPI_Error_class(code, &kind);
    transport_.note_failure(/*peer_lost=*/kind != MPI_ERR_TRUNCATE);
    check_mpi(code, "the message");
  }
  if (done == 0) return false;
  transport_.message_ended();
  if (receive_) {
    int count = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &count), "MPI_Get_count");
    HALO_REQUIRE(static_cast<std::size_t>(count) == bytes_,
                 str("sent ", count, " bytes where ", bytes_, " are expected"));
  }
  return true;
}

}  // namespace

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw Error(str(call, " failed: ", text.data()));
}

std::unique_ptr<Transport> make_mpi_transport(std::shared_ptr<MpiSession::State> session) {
  return std::make_unique<MpiTransport>(std::move(session));
}

void back_off(std::chrono::nanoseconds idle) {
  constexpr std::chrono::nanoseconds kYielding = std::chrono::microseconds(20);
  constexpr std::chrono::nanoseconds kLongest = std::chrono::milliseconds(1);
  if (idle < kYielding) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::min(idle / 4, kLongest));
  }
}

}  // namespace halo::comm
