#include "parallel/comm/operation.h"

#include <utility>

#include "parallel/comm/communicator.h"

namespace halo::comm {

bool Pending::ready() {
  std::erase_if(messages_, [](const Message& message) {
    try {
      return message.request->test();
    } catch (const Error& failure) {
      throw PeerFailed(message.peer, failure.what());
    }
  });
  return messages_.empty();
}

bool Operation::ready() {
  const auto coroutine = handle_.get();
  promise_type& promise = coroutine.promise();
  while (!coroutine.done()) {
    if (promise.awaited_ != nullptr && !promise.awaited_->ready()) return false;
    promise.awaited_ = nullptr;
    coroutine.resume();
  }
  if (promise.failure_) std::rethrow_exception(std::exchange(promise.failure_, nullptr));
  return true;
}

int Operation::peer() const {
  const Awaited* awaited = handle_.get().promise().awaited_;
  return awaited == nullptr ? -1 : awaited->peer();
}

}  // namespace halo::comm
