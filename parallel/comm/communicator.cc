#include "parallel/comm/communicator.h"

#include <glog/logging.h>

#include <exception>
#include <utility>

#include "parallel/comm/local_communicator.h"

namespace halo::comm {

Work& Work::operator=(Work&& other) noexcept {
  if (this != &other) {
    finish();
    state_ = std::move(other.state_);
  }
  return *this;
}

Work::~Work() { finish(); }

bool Work::test() {
  if (state_ == nullptr) return true;
  auto state = std::move(state_);  // dropped when the test throws or says done
  if (state->test()) return true;
  state_ = std::move(state);
  return false;
}

void Work::wait() {
  if (auto state = std::move(state_)) state->wait();
}

void Work::finish() noexcept {
  if (state_ != nullptr && std::uncaught_exceptions() == 0) {
    try {
      wait();
    } catch (const std::exception& failure) {
      LOG(ERROR) << "an operation that nobody waited for failed: " << failure.what();
    }
  }
  state_.reset();
}

std::unique_ptr<Communicator> Communicator::alone(std::string name) const {
  return make_self_communicator(std::move(name));
}

}  // namespace halo::comm
