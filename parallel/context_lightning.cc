#include "parallel/context_lightning.h"

#include <algorithm>
#include <cmath>

#include "core/base/host_access.h"

namespace halo::parallel {
namespace {

/// Query heads [q_begin, q_end) with the key heads [k_begin, k_end) that they read.
struct HeadGroup {
  std::int64_t q_begin, q_end, k_begin, k_end;
  [[nodiscard]] std::int64_t heads() const { return q_end - q_begin; }
};

/// Neighbouring heads whose states travel together, while other groups are computed: 4 to 8 groups, in which a kernel's
/// threads have something to share. Few heads wait long for a state that enters: those that forget slowly. Their groups come
/// first, so that their states are the first to arrive.
std::vector<HeadGroup> head_groups(std::int64_t B, std::int64_t H, std::int64_t G,
                                   const std::vector<double>& slopes) {
  constexpr std::int64_t kFewest = 4, kMost = 8, kItems = 4;  // items: batch element and key head
  const auto divide = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t shared = divide(kItems, std::max<std::int64_t>(B, 1));
  const std::int64_t each = std::max(divide(G, kMost), std::min(divide(G, kFewest), shared));
  const std::int64_t repeats = H / G;
  std::vector<HeadGroup> groups;
  for (std::int64_t g = 0; g < G; g += each) {
    const std::int64_t end = std::min(G, g + each);
    groups.push_back({g * repeats, end * repeats, g, end});
  }
  std::ranges::stable_sort(groups, {}, [&](const HeadGroup& x) {
    return *std::min_element(slopes.begin() + x.q_begin, slopes.begin() + x.q_end);
  });
  return groups;
}

/// Whether states go from each to the next. Two ranks have no shorter way, whatever is asked for.
bool by_ring(const ContextLightningCall& call, const SequenceCut& cut) {
  return call.method == ContextStateMethod::kRing || cut.ranks() <= 2;
}

/// The stretches that states go through: fragments, those that touch on one rank as one, but for a scan, which goes through
/// as many on each.
std::vector<Fragment> stretches(const SequenceCut& cut, bool joined) {
  std::vector<Fragment> all;
  for (const Fragment& x : cut.fragments()) {
    if (joined && !all.empty() && all.back().rank == x.rank)
      all.back().end = x.end;
    else
      all.push_back(x);
  }
  return all;
}

/// A stretch with its document starts counted from its first token: below 0 they lie before it.
struct LocalStretch {
  Fragment tokens;
  std::vector<std::int32_t> starts;  // (tokens, B), or empty
  Tensor on_device;                  // likewise
};

/// One stretch of one group of heads: what a kernel is called for.
struct Piece {
  const HeadGroup& heads;
  const Fragment& stretch;
  std::int64_t slot;  // of its first fragment among those of its rank
  kernels::LightningOptions options;

  [[nodiscard]] TensorView tokens(const TensorView& x) const {
    return x.slice(0, stretch.local_begin, stretch.local_end());
  }
  [[nodiscard]] TensorView queries(const TensorView& x) const {
    return tokens(x).slice(2, heads.q_begin, heads.q_end);
  }
  [[nodiscard]] TensorView keys(const TensorView& x) const {
    return tokens(x).slice(2, heads.k_begin, heads.k_end);
  }
  /// Of the states of all fragments and heads of this rank; none for none.
  [[nodiscard]] TensorView state(const TensorView& all) const {
    return all.empty() ? all : all.select(0, slot).slice(1, heads.q_begin, heads.q_end);
  }
};

/// The order in which states go through the sequence.
enum class Direction : std::uint8_t { kForward, kBackward };

class Call {
 public:
  Call(const ContextLightningCall& call, const TensorView& q, const TensorView& k,
       const SequenceCut& cut, comm::Communicator& ranks, Stream& stream)
      : call_(call),
        B_(q.dim(1)),
        K_(q.dim(3)),
        stream_(stream),
        groups_(head_groups(q.dim(1), q.dim(2), k.dim(2), call.slopes)),
        fragment_(cut.fragments().front().length()) {
    way_.method = by_ring(call, cut) ? ContextStateMethod::kRing : ContextStateMethod::kScan;
    way_.dtype = wide_dtype(q.dtype);
    for (const HeadGroup& g : groups_) way_.groups.push_back({B_, g.heads(), K_, K_});
    for (const Fragment& x : stretches(cut, by_ring(call, cut))) {
      way_.owners.push_back(x.rank);
      if (x.rank == ranks.rank()) stretches_.push_back(local_stretch(x));
    }
  }

  [[nodiscard]] int groups() const { return static_cast<int>(groups_.size()); }
  [[nodiscard]] int slots() const { return static_cast<int>(stretches_.size()); }
  [[nodiscard]] StateWay way(Direction direction) const {
    StateWay way = way_;
    if (direction == Direction::kBackward) std::ranges::reverse(way.owners);
    return way;
  }
  /// How many groups of a stretch, the last ones, begin before their state is there: as long as the first group's takes to
  /// get to this place of the way, about a group's time of one fragment from each place to the next, and one more, so that
  /// nobody stands still. Chunks that wait are worked on twice, but those of the last groups are few. A scan takes what
  /// every stretch gives by itself.
  [[nodiscard]] int groups_that_begin(int slot, int place) const {
    if (way_.method == ContextStateMethod::kScan || groups() == 1) return groups();
    if (place == 0) return 0;
    const std::int64_t length = stretches_[static_cast<std::size_t>(slot)].tokens.length();
    const auto fragments = static_cast<int>(fragment_ > 0 ? length / fragment_ : 1);
    return std::min(groups(), (place + fragments) / fragments);
  }
  [[nodiscard]] Piece piece(int group, int slot) const {
    const HeadGroup& g = groups_[static_cast<std::size_t>(group)];
    const LocalStretch& x = stretches_[static_cast<std::size_t>(slot)];
    Piece piece{g, x.tokens, slot, {}};
    piece.options.slopes.assign(call_.slopes.begin() + g.q_begin, call_.slopes.begin() + g.q_end);
    piece.options.scale = call_.scale;
    if (!x.starts.empty()) piece.options.document_start = x.on_device;
    return piece;
  }
  /// An uninitialised state of a group.
  [[nodiscard]] Tensor state(int group) const {
    return {stream_, way_.groups[static_cast<std::size_t>(group)], way_.dtype};
  }
  /// (B, heads): the part of the state before a stretch that is left after it.
  [[nodiscard]] Tensor kept(int group, int slot) const {
    const HeadGroup& g = groups_[static_cast<std::size_t>(group)];
    const LocalStretch& x = stretches_[static_cast<std::size_t>(slot)];
    const auto length = static_cast<double>(x.tokens.length());
    Tensor all;
    dispatch_cpu_float(way_.dtype, [&](auto zero) {
      std::vector<decltype(zero)> values;
      for (std::int64_t b = 0; b < B_; ++b) {
        const bool resets =
            !x.starts.empty() && x.starts[x.starts.size() - static_cast<std::size_t>(B_ - b)] >= 0;
        for (std::int64_t h = g.q_begin; h < g.q_end; ++h) {
          const double slope = call_.slopes[static_cast<std::size_t>(h)];
          values.push_back(static_cast<decltype(zero)>(resets ? 0.0 : std::exp(-slope * length)));
        }
      }
      all = Tensor::copy_of(stream_, view(values.data(), {B_, g.heads()}));
    });
    return all;
  }

 private:
  [[nodiscard]] LocalStretch local_stretch(const Fragment& tokens) const {
    LocalStretch local{tokens, starts_of(tokens), {}};
    if (!local.starts.empty())
      local.on_device = Tensor::copy_of(stream_, view(local.starts.data(), {tokens.length(), B_}));
    return local;
  }
  [[nodiscard]] std::vector<std::int32_t> starts_of(const Fragment& tokens) const {
    if (call_.document_start.empty()) return {};
    const OnHost on_host(call_.document_start.slice(0, tokens.local_begin, tokens.local_end()),
                         stream_);
    const TensorView& global = on_host;
    std::vector<std::int32_t> starts;
    for (std::int64_t t = 0; t < tokens.length(); ++t) {
      for (std::int64_t b = 0; b < B_; ++b) {
        const auto start = static_cast<const std::int32_t*>(
            global.data)[t * global.stride(0) + b * global.stride(1)];
        starts.push_back(static_cast<std::int32_t>(start - tokens.begin));
      }
    }
    return starts;
  }

  const ContextLightningCall& call_;
  std::int64_t B_, K_;
  Stream& stream_;
  std::vector<HeadGroup> groups_;
  std::int64_t fragment_;  // its length
  StateWay way_;
  std::vector<LocalStretch> stretches_;  // of this rank
};

kernels::LightningOptions whole_sequence(const ContextLightningCall& call) {
  return {call.slopes, call.scale, call.document_start};
}

void require_cut(const TensorView& q, const TensorView& k, const std::vector<double>& slopes,
                 const SequenceCut& cut, const comm::Communicator& ranks) {
  HALO_REQUIRE(cut.ranks() == ranks.size(),
               str("a sequence cut for ", cut.ranks(), " ranks on ", ranks.size()));
  HALO_REQUIRE(
      q.rank() == 4 && k.rank() == 4 && q.dim(0) == cut.tokens_per_rank() && k.dim(2) > 0 &&
          q.dim(2) % k.dim(2) == 0 && std::ssize(slopes) == q.dim(2),
      str("context lightning attention: q is ", to_string(q.shape), ", k ", to_string(k.shape),
          " for ", cut.tokens_per_rank(), " tokens and ", slopes.size(), " slopes"));
}

/// The forward pass of the pieces of one rank.
struct Forward {
  TensorView o, incoming, q, k, v;
  Stream& stream;

  /// With the state before the piece, all of it; writes the state after it to `after`, unless that is empty.
  void whole(const Piece& x, TensorView state, TensorView after) const {
    kernels::lightning_attention(x.queries(o), after, x.queries(q), x.keys(k), x.keys(v), state,
                                 x.options, stream);
    keep(x, state);
  }

  /// Writes to `own` what the piece adds to the state.
  void begin(const Piece& x, TensorView own) const {
    kernels::lightning_attention_begin(x.queries(o), own, x.queries(q), x.keys(k), x.keys(v),
                                       x.options, stream);
  }
  void finish(const Piece& x, TensorView state) const {
    kernels::lightning_attention_finish(x.queries(o), x.queries(q), x.keys(k), x.keys(v), state,
                                        x.options, stream);
    keep(x, state);
  }
  /// For the backward pass.
  void keep(const Piece& x, TensorView state) const {
    if (!incoming.empty() && !state.empty()) copy(x.state(incoming), state, stream);
  }
};

struct Backward {
  const ContextLightningGradients& gradients;
  TensorView d_o;
  const ContextLightningForward& forward;
  TensorView waiting;  // as forward.incoming
  Stream& stream;

  /// With the gradient of the state after the piece, all of it; writes that of the state before it.
  void whole(const Piece& x, TensorView dstate, TensorView before) const {
    kernels::lightning_attention_backward(of(x, before), x.queries(d_o), dstate, operands(x),
                                          x.options, stream);
  }

  /// Writes to `own` what the piece adds to the gradient of the state before it.
  void begin(const Piece& x, TensorView own) const {
    kernels::lightning_attention_backward_begin(of(x, own), x.state(waiting), x.queries(d_o),
                                                operands(x), x.options, stream);
  }
  void finish(const Piece& x, TensorView dstate) const {
    kernels::lightning_attention_backward_finish(of(x, {}), x.state(waiting), x.queries(d_o),
                                                 dstate, operands(x), x.options, stream);
  }
  [[nodiscard]] kernels::LightningForward operands(const Piece& x) const {
    return {x.queries(forward.q), x.keys(forward.k), x.keys(forward.v),
            x.stretch.begin == 0 ? TensorView{} : x.state(forward.incoming)};
  }
  [[nodiscard]] kernels::LightningGradients of(const Piece& x, TensorView dstate) const {
    return {x.queries(gradients.dq), x.keys(gradients.dk), x.keys(gradients.dv), dstate};
  }
};

/// Begins the last groups of each stretch, does the others' work with the state that has arrived meanwhile, and finishes
/// what has begun. The order depends on sizes alone, and so do the bits.
template <class Pass>
void run_pieces(const Call& local, const Pass& pass, Direction direction, comm::Communicator& ranks,
                Stream& stream) {
  StateExchange exchange(local.way(direction), ranks, stream);
  const auto stretch = [&](int slot) {
    return direction == Direction::kForward ? slot : local.slots() - 1 - slot;
  };
  const auto piece = [&](int g, int slot) { return local.piece(g, stretch(slot)); };
  const auto first_begun = [&](int slot) {
    return local.groups() - local.groups_that_begin(stretch(slot), exchange.place(slot));
  };
  for (int slot = 0; slot < local.slots(); ++slot) {
    for (int g = first_begun(slot); g < local.groups(); ++g) {
      Tensor own = local.state(g);
      pass.begin(piece(g, slot), own);
      exchange.give_own(g, slot, std::move(own), local.kept(g, stretch(slot)));
    }
    for (int g = 0; g < first_begun(slot); ++g) {
      Tensor after;
      if (!exchange.is_last(slot)) after = local.state(g);
      pass.whole(piece(g, slot), exchange.arrived(g, slot), after);
      exchange.give_after(g, slot, std::move(after));
    }
  }
  for (int slot = 0; slot < local.slots(); ++slot)
    for (int g = first_begun(slot); g < local.groups(); ++g)
      pass.finish(piece(g, slot), exchange.arrived(g, slot));
  exchange.finish();
}

}  // namespace

void context_lightning(TensorView o, TensorView incoming, TensorView q, TensorView k, TensorView v,
                       const ContextLightningCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream) {
  require_cut(q, k, call.slopes, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::lightning_attention(o, {}, q, k, v, {}, whole_sequence(call), stream);
    return;
  }
  run_pieces(Call(call, q, k, cut, ranks, stream), Forward{o, incoming, q, k, v, stream},
             Direction::kForward, ranks, stream);
}

void context_lightning_backward(const ContextLightningGradients& gradients, TensorView d_o,
                                const ContextLightningForward& forward,
                                const ContextLightningCall& call, const SequenceCut& cut,
                                comm::Communicator& ranks, Stream& stream) {
  const TensorView &q = forward.q, &k = forward.k, &v = forward.v;
  require_cut(q, k, call.slopes, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::lightning_attention_backward({gradients.dq, gradients.dk, gradients.dv, {}}, d_o, {},
                                          {q, k, v, {}}, whole_sequence(call), stream);
    return;
  }
  const Tensor waiting(stream, forward.incoming.shape, forward.incoming.dtype);
  run_pieces(Call(call, q, k, cut, ranks, stream),
             Backward{gradients, d_o, forward, waiting, stream}, Direction::kBackward, ranks,
             stream);
}

}  // namespace halo::parallel
