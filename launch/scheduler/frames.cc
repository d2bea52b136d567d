#include "launch/scheduler/frames.h"

#include "core/base/error.h"

namespace halo::launch {
namespace {

constexpr std::int64_t kLongestText = std::int64_t{1} << 20;

TensorView bytes_of(std::string& text) {
  return view(reinterpret_cast<std::uint8_t*>(text.data()), {std::ssize(text)});
}

}  // namespace

void Inbox::receive(TensorView buffer) {
  const comm::Message message{peer_, buffer};
  work_ = ranks_.exchange({}, {&message, 1});
}

std::optional<std::string> Inbox::poll() {
  if (!asked_) {
    asked_ = true;
    receive(view(&length_, {1}));
  }
  if (!work_.test()) return std::nullopt;  // what is received into is not looked at before
  if (text_.empty() && length_ != 0) {
    HALO_REQUIRE(length_ > 0 && length_ <= kLongestText,
                 str("a text of ", length_, " bytes from rank ", peer_));
    text_.resize(static_cast<std::size_t>(length_));
    receive(bytes_of(text_));
    if (!work_.test()) return std::nullopt;
  }
  asked_ = false;
  return std::exchange(text_, {});
}

void Outbox::send(int peer, std::string text) {
  auto frame = std::make_unique<Frame>(std::ssize(text), std::move(text), comm::Work());
  // Two messages of one call keep their order; an empty one is not sent.
  const comm::Message messages[]{{peer, view(&frame->length, {1})}, {peer, bytes_of(frame->text)}};
  frame->work = ranks_.exchange(messages, {});
  frames_.push_back(std::move(frame));
}

void Outbox::look_after(bool all) {
  while (!frames_.empty()) {
    if (all) frames_.front()->work.wait();
    if (!frames_.front()->work.test()) return;
    frames_.pop_front();
  }
}

}  // namespace halo::launch
