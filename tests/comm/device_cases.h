#pragma once
#include <memory>

#include "core/base/stream.h"
#include "parallel/comm/communicator.h"

namespace halo::comm {

/// Takes the calls of tests on host memory to the memory of a GPU: uploads what a call reads, lets `device` do it there,
/// and brings the results down when it is waited for. So one suite tests both. Both must outlive it.
[[nodiscard]] std::unique_ptr<Communicator> make_uploading_communicator(Communicator& device,
                                                                        Stream& gpu);

}  // namespace halo::comm
