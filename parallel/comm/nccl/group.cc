#include "parallel/comm/nccl/group.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/cuda/check.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/nccl/check.h"

namespace halo::comm {
namespace {

TensorView bytes_of_ids(std::span<ncclUniqueId> ids) {
  return view(reinterpret_cast<std::uint8_t*>(ids.data()),
              {static_cast<std::int64_t>(ids.size_bytes())});
}

/// Keeps from an observer what is said about links, which belongs to no step.
class Unobserved {
 public:
  explicit Unobserved(CallLog* log) : log_(log) {
    if (log_ != nullptr) observer_ = std::exchange(log_->observer, nullptr);
  }
  Unobserved(const Unobserved&) = delete;
  Unobserved& operator=(const Unobserved&) = delete;
  ~Unobserved() {
    if (log_ != nullptr) log_->observer = observer_;
  }

 private:
  CallLog* log_;
  CallObserver* observer_ = nullptr;
};

}  // namespace

NcclGroup::NcclGroup(Communicator& host, const NcclGroup* parent, int id, TensorView probe,
                     std::shared_ptr<NcclLinkEnds> ends)
    : host_(&host),
      setup_(host.split(0, host.rank(), host.name() + " links")),
      probe_(probe),
      ends_(std::move(ends)) {
  if (parent != nullptr) lineage_ = parent->lineage_;
  lineage_.push_back(id);
}

NcclGroup::NcclGroup(std::unique_ptr<Communicator> host, const NcclGroup* parent, int id,
                     TensorView probe, std::shared_ptr<NcclLinkEnds> ends)
    : NcclGroup(*host, parent, id, probe, std::move(ends)) {
  owned_ = std::move(host);
}

NcclGroup::~NcclGroup() {
  ends_->end(std::move(all_));
  for (auto& [unused, pair] : pairs_) {
    ends_->end(std::move(pair.out));
    ends_->end(std::move(pair.in));
  }
}

bool NcclGroup::comes_of(const NcclGroup& other) const {
  return std::ranges::find(lineage_, other.lineage_.back()) != lineage_.end();
}

NcclLink& NcclGroup::all() {
  if (all_ != nullptr) return *all_;
  const Unobserved unobserved(host_->log());
  ncclUniqueId id{};
  if (rank() == 0) HALO_NCCL_CHECK(ncclGetUniqueId(&id));
  setup_->broadcast(bytes_of_ids({&id, 1}), 0).wait();
  setup_->barrier().wait();  // NCCL waits without a deadline
  auto link = std::make_unique<NcclLink>(host_->name(), id, rank(), size());
  // The first call waits on the host for all ranks: that is now, with all here.
  HALO_NCCL_CHECK(
      ncclAllReduce(probe_.data, probe_.data, 1, ncclUint8, ncclMax, link->comm(), link->stream()));
  HALO_CUDA_CHECK(cudaStreamSynchronize(link->stream()));
  all_ = std::move(link);
  return *all_;
}

NcclGroup::Pair& NcclGroup::with(int peer) {
  if (const auto found = pairs_.find(peer); found != pairs_.end()) return found->second;
  const Unobserved unobserved(host_->log());
  const bool lower =
      rank() < peer;  // makes the ids: of its messages to the peer, and of the peer's
  std::array<ncclUniqueId, 2> ids{};
  std::uint8_t came = 0;
  const Message about_ids{peer, bytes_of_ids(ids)}, answer{peer, view(&came, {1})};
  if (lower) {
    for (ncclUniqueId& id : ids) HALO_NCCL_CHECK(ncclGetUniqueId(&id));
    setup_->exchange({&about_ids, 1}, {&answer, 1}).wait();
  } else {
    setup_->exchange({}, {&about_ids, 1}).wait();
    setup_->exchange({&answer, 1}, {}).wait();
  }
  Pair pair;
  std::unique_ptr<NcclLink>&first = lower ? pair.out : pair.in,
  &second = lower ? pair.in : pair.out;
  const std::string name = str(host_->name(), ' ', std::min(rank(), peer), '-');
  for (const bool is_first : {true, false}) {
    // The lower rank is the first of both links.
    (is_first ? first : second) =
        std::make_unique<NcclLink>(str(name, std::max(rank(), peer), is_first ? ">" : "<"),
                                   ids[is_first ? 0 : 1], lower ? 0 : 1, 2);
  }
  // So does the first message on each.
  const int other = lower ? 1 : 0;
  auto* const probe = static_cast<std::byte*>(probe_.data);
  for (NcclLink* link : {first.get(), second.get()}) {
    const bool sends = link == pair.out.get();
    HALO_NCCL_CHECK(sends ? ncclSend(probe, 1, ncclUint8, other, link->comm(), link->stream())
                          : ncclRecv(probe + 1, 1, ncclUint8, other, link->comm(), link->stream()));
    HALO_CUDA_CHECK(cudaStreamSynchronize(link->stream()));
  }
  return pairs_.emplace(peer, std::move(pair)).first->second;
}

std::string NcclGroup::error() const {
  for (const NcclLink* link : links()) {
    if (std::string reason = link->error(); !reason.empty()) return reason;
  }
  return {};
}

std::vector<NcclLink*> NcclGroup::links() const {
  std::vector<NcclLink*> links;
  if (all_ != nullptr) links.push_back(all_.get());
  for (const auto& [unused, pair] : pairs_) {
    links.push_back(pair.out.get());
    links.push_back(pair.in.get());
  }
  return links;
}

}  // namespace halo::comm
