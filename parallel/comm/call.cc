#include "parallel/comm/call.h"

#include "core/base/error.h"

namespace halo::comm {

std::string to_string(const Call& call) {
  std::string text = str(call.op, ' ', call.communicator, ' ', call.bytes, " bytes");
  if (call.context.step >= 0) text += str(" step ", call.context.step);
  if (call.context.micro_batch >= 0) text += str(" micro-batch ", call.context.micro_batch);
  return text;
}

double bytes_sent(const Call& call) {
  if (call.op == "exchange") return static_cast<double>(call.sent);
  const double share = (call.ranks - 1.0) / call.ranks * static_cast<double>(call.bytes);
  return call.op == "all_reduce" ? 2 * share : share;
}

}  // namespace halo::comm
