#include "launch/jobs/trace_file.h"

#include <glog/logging.h>

#include "core/base/error.h"
#include "core/base/file.h"

namespace halo::launch {

void write_trace(const train::Trace& trace, const std::filesystem::path& path,
                 comm::Communicator& world) {
  std::string own = trace.events_json(world.rank());
  const auto ranks = static_cast<std::size_t>(world.size());
  std::vector<std::int64_t> sizes(ranks), ones(ranks, 1);
  std::int64_t size = std::ssize(own);
  world.all_gather(view(sizes.data(), {world.size()}), view(&size, {1}), ones).wait();
  if (world.rank() != 0) {
    const comm::Message message{0, view(reinterpret_cast<std::uint8_t*>(own.data()), {size})};
    world.exchange({&message, 1}, {}).wait();
    return;
  }
  std::string text = "{\"traceEvents\": [\n" + own;
  for (int rank = 1; rank < world.size(); ++rank) {
    const std::int64_t n = sizes[static_cast<std::size_t>(rank)];
    std::string events(static_cast<std::size_t>(n), ' ');
    const comm::Message message{rank, view(reinterpret_cast<std::uint8_t*>(events.data()), {n})};
    world.exchange({}, {&message, 1}).wait();
    text += ",\n" + events;
  }
  try {
    write_file_atomically(path, text + "\n]}\n");
  } catch (const Error& error) {
    LOG(WARNING) << "the trace is lost: " << error.what();
  }
}

}  // namespace halo::launch
