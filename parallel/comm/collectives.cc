#include "parallel/comm/collectives.h"

#include <algorithm>
#include <array>

namespace halo::comm {
namespace {

constexpr std::size_t kSmall =
    8 << 10;  // bytes up to which the number of steps counts, not the volume
constexpr int kFew =
    8;  // ranks up to which everybody to everybody is the quickest for small buffers
constexpr std::size_t kStaging = std::size_t{4}
                                 << 20;  // temporary bytes of one reduce_scatter, a buffer
constexpr std::size_t kSmallestPiece = 16 << 10;

std::size_t index(int i) { return static_cast<std::size_t>(i); }

Tensor staging_of(const Channel& channel, std::size_t bytes) {
  return {*channel.stream, {static_cast<std::int64_t>(bytes)}, DType::kUint8};
}

template <class Span>
Span piece_of(Span block, std::size_t step, std::size_t piece) {
  const std::size_t begin = std::min(block.size(), step * piece);
  return block.subspan(begin, std::min(piece, block.size() - begin));
}

/// The pieces of a reduce_scatter, of which two steps are under way at once.
class PieceReducer {
 public:
  PieceReducer(const Channel& channel, Bytes out, const std::vector<ConstBytes>& blocks,
               Reduction reduction)
      : channel_(channel), out_(out), blocks_(blocks), reduction_(reduction) {
    const auto peers = index(channel.size() - 1);
    const std::size_t wanted = std::clamp(kStaging / peers, kSmallestPiece, std::size_t{1} << 40);
    piece_ = std::max<std::size_t>(std::min(wanted, channel.piece_bytes) / 64 * 64, 64);
    std::size_t longest = 0;
    for (const ConstBytes block : blocks) longest = std::max(longest, block.size());
    steps_ = (longest + piece_ - 1) / piece_;
    slot_ = std::min(piece_, out.size());
    for (Tensor& half : staging_) half = staging_of(channel, index(channel.size()) * slot_);
  }

  [[nodiscard]] std::size_t steps() const { return steps_; }
  [[nodiscard]] Pending& pending(std::size_t step) { return pending_[step % 2]; }

  void post(std::size_t step) {
    if (step >= steps_) return;
    const std::size_t bytes = piece_of(out_, step, piece_).size();
    for (int i = 1; i < channel_.size(); ++i) {
      const int from = channel_.after(channel_.size() - i);
      channel_.receive(pending(step), from, slot(step, from).first(bytes));
      const int to = channel_.after(i);
      channel_.send(pending(step), to, piece_of(blocks_[index(to)], step, piece_));
    }
  }

  void reduce(std::size_t step) {
    const Bytes out = piece_of(out_, step, piece_);
    std::vector<const std::byte*> sources(index(channel_.size()));
    for (int r = 0; r < channel_.size(); ++r) sources[index(r)] = slot(step, r).data();
    sources[index(channel_.rank())] =
        piece_of(blocks_[index(channel_.rank())], step, piece_).data();
    reduce_in_rank_order(out.data(), sources, out.size() / dtype_size(reduction_.dtype),
                         reduction_);
  }

 private:
  [[nodiscard]] Bytes slot(std::size_t step, int from) const {
    return bytes_of(staging_[step % 2]).subspan(index(from) * slot_, slot_);
  }

  const Channel& channel_;
  Bytes out_;
  const std::vector<ConstBytes>& blocks_;
  Reduction reduction_;
  std::size_t piece_ = 0, steps_ = 0, slot_ = 0;  // slot_: bytes of staging a rank
  std::array<Tensor, 2> staging_;
  std::array<Pending, 2> pending_;  // last, so that receives are withdrawn before their memory goes
};

/// Sums what `staging` holds of every rank, one buffer after the other, and `own` in place of this rank's.
void reduce_staged(const Channel& channel, Bytes out, Bytes staging, Reduction reduction) {
  std::vector<const std::byte*> sources(index(channel.size()));
  for (int r = 0; r < channel.size(); ++r)
    sources[index(r)] = staging.data() + index(r) * out.size();
  sources[index(channel.rank())] = out.data();
  reduce_in_rank_order(out.data(), sources, out.size() / dtype_size(reduction.dtype), reduction);
}

Operation all_reduce_direct(Channel channel, Bytes buffer, Reduction reduction) {
  const Tensor staging = staging_of(channel, index(channel.size()) * buffer.size());
  Pending pending;
  for (int i = 1; i < channel.size(); ++i) {
    const int from = channel.after(channel.size() - i);
    channel.receive(pending, from,
                    bytes_of(staging).subspan(index(from) * buffer.size(), buffer.size()));
    channel.send(pending, channel.after(i), buffer);
  }
  co_await pending;
  reduce_staged(channel, buffer, bytes_of(staging), reduction);
}

Operation all_reduce_over_root(Channel channel, Bytes buffer, Reduction reduction) {
  const bool root = channel.rank() == 0;
  const Tensor staging = staging_of(channel, root ? index(channel.size()) * buffer.size() : 0);
  Pending pending;
  if (root) {
    for (int r = 1; r < channel.size(); ++r) {
      channel.receive(pending, r,
                      bytes_of(staging).subspan(index(r) * buffer.size(), buffer.size()));
    }
  } else {
    channel.send(pending, 0, buffer);
  }
  co_await pending;
  if (root) reduce_staged(channel, buffer, bytes_of(staging), reduction);
  Operation result = broadcast(channel, buffer, 0);
  co_await result;
}

Operation all_reduce_in_blocks(Channel channel, Bytes buffer, Reduction reduction) {
  const std::size_t element = dtype_size(reduction.dtype);
  const std::size_t count = buffer.size() / element;
  const auto ranks = index(channel.size());
  std::vector<Bytes> blocks;
  for (std::size_t r = 0; r < ranks; ++r) {
    const std::size_t begin = count * r / ranks;
    blocks.push_back(buffer.subspan(begin * element, (count * (r + 1) / ranks - begin) * element));
  }
  const Bytes own = blocks[index(channel.rank())];
  Operation sums = reduce_scatter(channel, own,
                                  std::vector<ConstBytes>(blocks.begin(), blocks.end()), reduction);
  co_await sums;
  Operation whole = all_gather(channel, std::move(blocks));
  co_await whole;
}

}  // namespace

int Scope::member_of_world_rank(int world_rank) const {
  const auto found = std::find(members.begin(), members.end(), world_rank);
  return found == members.end() ? -1 : static_cast<int>(found - members.begin());
}

void Channel::send(Pending& pending, int to, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto message = bytes.first(std::min(bytes.size(), message_bytes));
    pending.add(to, transport->send(scope->world_rank(to), tag, message));
    bytes = bytes.subspan(message.size());
  }
}

void Channel::receive(Pending& pending, int from, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const auto message = bytes.first(std::min(bytes.size(), message_bytes));
    pending.add(from, transport->receive(scope->world_rank(from), tag, message));
    bytes = bytes.subspan(message.size());
  }
}

Operation all_gather(Channel channel, std::vector<Bytes> blocks) {
  Pending pending;
  for (int i = 1; i < channel.size(); ++i) {
    const int from = channel.after(channel.size() - i);
    channel.receive(pending, from, blocks[index(from)]);
    channel.send(pending, channel.after(i), blocks[index(channel.rank())]);
  }
  co_await pending;
}

Operation reduce_scatter(Channel channel, Bytes out, std::vector<ConstBytes> blocks,
                         Reduction reduction) {
  PieceReducer pieces(channel, out, blocks, reduction);
  pieces.post(0);
  for (std::size_t step = 0; step < pieces.steps(); ++step) {
    pieces.post(step + 1);
    co_await pieces.pending(step);
    pieces.reduce(step);
  }
}

Operation all_reduce(Channel channel, Bytes buffer, Reduction reduction) {
  const int ranks = channel.size();
  if (buffer.size() <= kSmall) {
    return ranks <= kFew ? all_reduce_direct(std::move(channel), buffer, reduction)
                         : all_reduce_over_root(std::move(channel), buffer, reduction);
  }
  return all_reduce_in_blocks(std::move(channel), buffer, reduction);
}

Operation broadcast(Channel channel, Bytes buffer, int root) {
  const int ranks = channel.size();
  const int place =
      (channel.rank() - root + ranks) % ranks;  // of this rank in the tree, 0 at the root
  int reach = 1;  // the place's lowest set bit: its parent is `reach` before it
  while (reach < ranks && (place & reach) == 0) reach *= 2;
  Pending pending;
  if (place != 0) channel.receive(pending, channel.after(ranks - reach), buffer);
  co_await pending;
  for (int distance = reach / 2; distance >= 1; distance /= 2) {
    if (place + distance < ranks) channel.send(pending, channel.after(distance), buffer);
  }
  co_await pending;
}

Operation barrier(Channel channel) {
  std::array<std::byte, 2> signal{};
  for (int distance = 1; distance < channel.size(); distance *= 2) {
    Pending pending;
    channel.receive(pending, channel.after(channel.size() - distance), Bytes(signal).first(1));
    channel.send(pending, channel.after(distance), Bytes(signal).last(1));
    co_await pending;
  }
}

Operation exchange(Channel channel, std::vector<PeerBytes> sends, std::vector<PeerBytes> receives) {
  Pending pending;
  for (const PeerBytes& message : receives) channel.receive(pending, message.peer, message.bytes);
  for (const PeerBytes& message : sends) channel.send(pending, message.peer, message.bytes);
  co_await pending;
}

}  // namespace halo::comm
