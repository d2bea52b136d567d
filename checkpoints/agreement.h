#pragma once
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"

namespace halo::checkpoints {

/// Every rank's text, by rank, on every rank. Collective.
[[nodiscard]] std::vector<std::string> gather_texts(comm::Communicator& ranks,
                                                    const std::string& text);

/// The first failure among all ranks as "rank 3: reason", empty when no rank has one. `failure` is this rank's reason,
/// empty without one. Collective.
[[nodiscard]] std::string first_failure(comm::Communicator& ranks, const std::string& failure);

/// What `work` threw, for a person; empty when it did not.
template <class Work>
[[nodiscard]] std::string failure_of(Work&& work) {
  try {
    work();
    return {};
  } catch (const comm::PeerFailed&) {
    throw;
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    return reason.empty() ? "failed without a reason" : reason;
  }
}

}  // namespace halo::checkpoints
