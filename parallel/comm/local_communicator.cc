#include "parallel/comm/local_communicator.h"

#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/comm/local_transport.h"
#include "parallel/comm/transport_communicator.h"

namespace halo::comm {
namespace {

/// The failure to report of several threads: the first, but rather the first that is no PeerFailed.
class FirstFailure {
 public:
  void add(std::exception_ptr failure, bool of_a_peer) {
    const std::lock_guard lock(mutex_);
    std::exception_ptr& first = of_a_peer ? peer_ : own_;
    if (!first) first = std::move(failure);
  }
  void rethrow() const {
    if (own_) std::rethrow_exception(own_);
    if (peer_) std::rethrow_exception(peer_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr own_, peer_;
};

void run_rank(Communicator& world, const std::function<void(Communicator&)>& body,
              FirstFailure& failures) noexcept {
  try {
    body(world);
  } catch (const PeerFailed& failure) {
    failures.add(std::current_exception(), /*of_a_peer=*/true);
    world.abort(failure.what());
  } catch (const std::exception& failure) {
    failures.add(std::current_exception(), /*of_a_peer=*/false);
    world.abort(failure.what());
  } catch (...) {
    failures.add(std::current_exception(), /*of_a_peer=*/false);
    world.abort("an exception that is no std::exception");
  }
}

}  // namespace

void run_ranks(int size, const std::function<void(Communicator&)>& body,
               const CommunicatorOptions& options) {
  std::vector<std::unique_ptr<Communicator>> worlds;
  for (auto& transport : make_local_transports(size)) {
    worlds.push_back(make_transport_communicator(std::move(transport), "world", options));
  }
  FirstFailure failures;
  std::vector<std::jthread> threads;
  for (auto& world : worlds) {
    threads.emplace_back([&] { run_rank(*world, body, failures); });
  }
  threads.clear();  // joins
  failures.rethrow();
}

std::unique_ptr<Communicator> make_self_communicator(std::string name) {
  return make_transport_communicator(std::move(make_local_transports(1)[0]), std::move(name), {});
}

}  // namespace halo::comm
