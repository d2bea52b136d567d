#include "parallel/pipeline_links.h"

namespace halo::parallel {

using Kind = PipelineAction::Kind;

PipelineLinks::PipelineLinks(comm::Communicator& pipeline)
    : stage_(pipeline.rank()), stages_(pipeline.size()) {
  for (const auto& [kind, name] : {std::pair{Kind::kTeacherForward, "pipeline teacher"},
                                   std::pair{Kind::kForward, "pipeline forward"},
                                   std::pair{Kind::kBackward, "pipeline backward"}})
    link(kind).ranks = pipeline.split(0, stage_, name);
}

void PipelineLinks::send(Kind kind, Tensor x, Pace pace) {
  Link& to = link(kind);
  if (stages_ > 1 && pace == Pace::kOneAtATime) {
    for (Sent& sent : to.sent) sent.work.wait();
    to.sent.clear();
  }
  while (!to.sent.empty() && stages_ > 1 && to.sent.front().work.test()) to.sent.pop_front();
  comm::Work work;
  if (stages_ > 1) {
    const int step = kind == Kind::kBackward ? stages_ - 1 : 1;
    const comm::Message message{(stage_ + step) % stages_, x};
    work = to.ranks->exchange({&message, 1}, {});
  }
  to.sent.push_back({std::move(x), std::move(work)});
}

Tensor PipelineLinks::receive(Kind kind, const Shape& shape, DType dtype, Stream& stream) {
  Link& from = link(kind);
  if (stages_ == 1) {
    HALO_REQUIRE(!from.sent.empty(), "a pass that nothing has been sent to");
    Tensor x = std::move(from.sent.front().x);
    from.sent.pop_front();
    return x;
  }
  Tensor x(stream, shape, dtype);
  const int step = kind == Kind::kBackward ? 1 : stages_ - 1;
  const comm::Message message{(stage_ + step) % stages_, x};
  from.ranks->exchange({}, {&message, 1}).wait();
  return x;
}

void PipelineLinks::finish() {
  for (Link& each : links_) {
    for (Sent& sent : each.sent) sent.work.wait();
    each.sent.clear();
  }
}

}  // namespace halo::parallel
