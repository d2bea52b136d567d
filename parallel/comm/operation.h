#pragma once
#include <coroutine>
#include <exception>
#include <memory>
#include <vector>

#include "core/base/unique_handle.h"
#include "parallel/comm/transport.h"

namespace halo::comm {

/// What an Operation can co_await.
class Awaited {
 public:
  virtual ~Awaited() = default;
  virtual bool ready() = 0;                    // progresses; throws PeerFailed
  [[nodiscard]] virtual int peer() const = 0;  // the first rank that is waited for; -1 when none is
};

/// Messages that are waited for together.
class Pending final : public Awaited {
 public:
  void add(int peer, std::unique_ptr<Request> request) {
    messages_.push_back({peer, std::move(request)});
  }
  bool ready() override;
  [[nodiscard]] int peer() const override {
    return messages_.empty() ? -1 : messages_.front().peer;
  }

 private:
  struct Message {
    int peer;
    std::unique_ptr<Request> request;
  };
  std::vector<Message> messages_;
};

/// A collective under way, written as one coroutine that co_awaits its messages or other operations. It starts
/// suspended; whoever owns it calls ready() until it is. Destroying it withdraws its messages.
class Operation final : public Awaited {
 public:
  class promise_type {  // NOLINT: names here are the language's
   public:
    Operation get_return_object() {
      return Operation(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { failure_ = std::current_exception(); }

    struct Awaiter {
      promise_type& promise;
      Awaited& awaited;
      [[nodiscard]] bool await_ready() const { return awaited.ready(); }
      void await_suspend(std::coroutine_handle<>) const { promise.awaited_ = &awaited; }
      void await_resume() const {}
    };
    Awaiter await_transform(Awaited& awaited) { return {*this, awaited}; }

   private:
    friend class Operation;
    Awaited* awaited_ = nullptr;
    std::exception_ptr failure_;
  };

  /// Resumes while what is awaited is there; true once the operation has ended. Throws what the coroutine threw.
  bool ready() override;
  [[nodiscard]] int peer() const override;

 private:
  struct HandleTraits {
    using Raw = std::coroutine_handle<promise_type>;
    static constexpr Raw kNull{};
    static void close(Raw raw) noexcept { raw.destroy(); }
  };
  explicit Operation(std::coroutine_handle<promise_type> raw) : handle_(raw) {}
  UniqueHandle<HandleTraits> handle_;
};

}  // namespace halo::comm
