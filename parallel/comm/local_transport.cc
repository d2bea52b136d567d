#include "parallel/comm/local_transport.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

#include "core/base/error.h"

namespace halo::comm {
namespace {

constexpr std::size_t kEager = 16 << 10;  // bytes up to which a send does not wait for its receive
constexpr std::chrono::milliseconds kLongestPause{20};  // so that deadlines are seen

/// One side of a message. What is not atomic is written before `done` by whoever meets the other side.
struct Post {
  std::span<const std::byte> source;  // a send's
  std::span<std::byte> target;        // a receive's
  std::vector<std::byte> eager;       // what `source` views when it was copied
  std::size_t sent = 0;               // bytes the sender had, for a receive
  std::atomic<bool> done = false;
};
using PostPtr = std::shared_ptr<Post>;

struct Queue {
  std::deque<PostPtr> sends;  // one of the two is empty
  std::deque<PostPtr> receives;
};

/// What happens to one rank.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable rung;
  std::uint64_t events = 0;
  std::deque<AbortNotice> notices;
  std::map<std::pair<int, int>, Queue> queues;  // of messages to this rank, by sender and tag

  void ring() {  // without the mutex
    {
      const std::lock_guard lock(mutex);
      ++events;
    }
    rung.notify_one();
  }
};

struct World {
  explicit World(int size) : mailboxes(static_cast<std::size_t>(size)) {}
  Mailbox& mailbox(int rank) { return mailboxes[static_cast<std::size_t>(rank)]; }
  std::vector<Mailbox> mailboxes;
};

/// With the receiver's mailbox locked, so that neither side can be withdrawn meanwhile.
void meet(Post& send, Post& receive) {
  receive.sent = send.source.size();
  if (receive.sent == receive.target.size()) {
    std::memcpy(receive.target.data(), send.source.data(), send.source.size());
  }
  send.done.store(true, std::memory_order_release);
  receive.done.store(true, std::memory_order_release);
}

class LocalRequest final : public Request {
 public:
  LocalRequest(std::shared_ptr<World> world, PostPtr post, int from, int to, int tag)
      : world_(std::move(world)), post_(std::move(post)), from_(from), to_(to), tag_(tag) {}

  ~LocalRequest() override {
    if (post_->done.load(std::memory_order_acquire)) return;
    Mailbox& box = world_->mailbox(to_);
    const std::lock_guard lock(box.mutex);
    const auto found = box.queues.find({from_, tag_});
    if (found == box.queues.end()) return;
    std::erase(found->second.sends, post_);
    std::erase(found->second.receives, post_);
  }

  bool test() override {
    if (!post_->done.load(std::memory_order_acquire)) return false;
    HALO_REQUIRE(post_->sent == post_->target.size(),
                 str("sent ", post_->sent, " bytes where ", post_->target.size(), " are expected"));
    return true;
  }

 private:
  std::shared_ptr<World> world_;
  PostPtr post_;
  int from_, to_, tag_;
};

class LocalTransport final : public Transport {
 public:
  LocalTransport(std::shared_ptr<World> world, int rank) : world_(std::move(world)), rank_(rank) {}

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int size() const noexcept override {
    return static_cast<int>(world_->mailboxes.size());
  }
  [[nodiscard]] int max_tag() const noexcept override { return std::numeric_limits<int>::max(); }

  std::unique_ptr<Request> send(int to, int tag, std::span<const std::byte> bytes) override {
    auto post = std::make_shared<Post>();
    post->source = bytes;
    Mailbox& box = world_->mailbox(to);
    if (post_or_meet(box, {rank_, tag}, post) && to != rank_) box.ring();
    return std::make_unique<LocalRequest>(world_, std::move(post), rank_, to, tag);
  }

  std::unique_ptr<Request> receive(int from, int tag, std::span<std::byte> bytes) override {
    auto post = std::make_shared<Post>();
    post->target = bytes;
    Mailbox& box = world_->mailbox(rank_);
    PostPtr send;
    {
      const std::lock_guard lock(box.mutex);
      Queue& queue = box.queues[{from, tag}];
      if (queue.sends.empty()) {
        queue.receives.push_back(post);
      } else {
        send = std::move(queue.sends.front());
        queue.sends.pop_front();
        meet(*send, *post);
        if (queue.sends.empty()) box.queues.erase({from, tag});
      }
    }
    if (send != nullptr && send->eager.empty() && from != rank_) world_->mailbox(from).ring();
    return std::make_unique<LocalRequest>(world_, std::move(post), from, rank_, tag);
  }

  void send_abort(int to, const AbortNotice& notice) override {
    Mailbox& box = world_->mailbox(to);
    {
      const std::lock_guard lock(box.mutex);
      box.notices.push_back(notice);
    }
    box.ring();
  }

  std::optional<AbortNotice> poll_abort() override {
    Mailbox& box = world_->mailbox(rank_);
    const std::lock_guard lock(box.mutex);
    if (box.notices.empty()) return std::nullopt;
    AbortNotice notice = std::move(box.notices.front());
    box.notices.pop_front();
    return notice;
  }

  void watch() override {
    Mailbox& box = world_->mailbox(rank_);
    const std::lock_guard lock(box.mutex);
    seen_ = box.events;
  }

  void pause(std::chrono::steady_clock::time_point) override {
    Mailbox& box = world_->mailbox(rank_);
    std::unique_lock lock(box.mutex);
    box.rung.wait_for(lock, kLongestPause, [&] { return box.events != seen_; });
  }

  void note_failure(bool) noexcept override {}

 private:
  /// True when the send met a receive that waited.
  static bool post_or_meet(Mailbox& box, const std::pair<int, int>& key, const PostPtr& send) {
    const std::lock_guard lock(box.mutex);
    Queue& queue = box.queues[key];
    if (!queue.receives.empty()) {
      meet(*send, *queue.receives.front());
      queue.receives.pop_front();
      if (queue.receives.empty()) box.queues.erase(key);
      return true;
    }
    if (send->source.size() > kEager) {
      queue.sends.push_back(send);
      return false;
    }
    auto copy = std::make_shared<Post>();
    copy->eager.assign(send->source.begin(), send->source.end());
    copy->source = copy->eager;
    queue.sends.push_back(std::move(copy));
    send->done.store(true, std::memory_order_release);
    return false;
  }

  std::shared_ptr<World> world_;
  int rank_;
  std::uint64_t seen_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Transport>> make_local_transports(int size) {
  HALO_REQUIRE(size >= 1, str("a world of ", size, " ranks"));
  auto world = std::make_shared<World>(size);
  std::vector<std::unique_ptr<Transport>> transports;
  for (int r = 0; r < size; ++r) {
    transports.push_back(std::make_unique<LocalTransport>(world, r));
  }
  return transports;
}

}  // namespace halo::comm
