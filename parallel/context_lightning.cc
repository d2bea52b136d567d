#include "parallel/context_lightning.h"

#include <algorithm>
#include <cmath>

namespace halo::parallel {
namespace {

/// Query heads [q_begin, q_end) with the key heads [k_begin, k_end) that they read.
struct HeadGroup {
  std::int64_t q_begin, q_end, k_begin, k_end;
  [[nodiscard]] std::int64_t heads() const { return q_end - q_begin; }
};

/// Groups large enough that each keeps a kernel's threads and caches busy, small enough that most states travel while
/// other groups are computed.
std::vector<HeadGroup> head_groups(std::int64_t B, std::int64_t H, std::int64_t G) {
  constexpr std::int64_t kItems = 4;  // of batch element and key head
  const std::int64_t each = (kItems + B - 1) / std::max<std::int64_t>(B, 1), repeats = H / G;
  std::vector<HeadGroup> groups;
  for (std::int64_t g = 0; g < G; g += each) {
    const std::int64_t end = std::min(G, g + each);
    groups.push_back({g * repeats, end * repeats, g, end});
  }
  return groups;
}

/// A fragment with its document starts counted from its first token: below 0 they lie before it.
struct LocalFragment {
  Fragment fragment;
  std::vector<std::int32_t> starts;  // (tokens, B), or empty
};

/// One fragment of one group of heads: what a kernel is called for.
struct Piece {
  const HeadGroup& heads;
  const Fragment& fragment;
  std::int64_t slot;  // of the fragment on its rank
  kernels::LightningOptions options;

  [[nodiscard]] TensorView tokens(const TensorView& x) const {
    return x.slice(0, fragment.local_begin, fragment.local_end());
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

class Call {
 public:
  Call(const ContextLightningCall& call, const TensorView& q, const TensorView& k,
       const SequenceCut& cut, comm::Communicator& ranks, Stream& stream)
      : call_(call),
        B_(q.dim(1)),
        K_(q.dim(3)),
        wide_(wide_dtype(q.dtype)),
        stream_(stream),
        groups_(head_groups(q.dim(1), q.dim(2), k.dim(2))) {
    for (const Fragment& fragment : cut.of_rank(ranks.rank()))
      fragments_.push_back({fragment, starts_of(fragment)});
  }

  [[nodiscard]] const std::vector<HeadGroup>& groups() const { return groups_; }
  [[nodiscard]] int slots() const { return static_cast<int>(fragments_.size()); }
  [[nodiscard]] Piece piece(int group, int slot) const {
    const HeadGroup& g = groups_[static_cast<std::size_t>(group)];
    const LocalFragment& x = fragments_[static_cast<std::size_t>(slot)];
    Piece piece{g, x.fragment, slot, {}};
    piece.options.slopes.assign(call_.slopes.begin() + g.q_begin, call_.slopes.begin() + g.q_end);
    piece.options.scale = call_.scale;
    if (!x.starts.empty())
      piece.options.document_start = view(x.starts.data(), {x.fragment.length(), B_});
    return piece;
  }
  /// Uninitialised states of a group, one for each fragment.
  [[nodiscard]] Tensor states(const HeadGroup& g) const {
    return {stream_, {std::ssize(fragments_), B_, g.heads(), K_, K_}, wide_};
  }
  /// (fragments, B, heads): the part of a state before a fragment that is left after it.
  [[nodiscard]] Tensor kept(const HeadGroup& g) const {
    const Shape shape{std::ssize(fragments_), B_, g.heads()};
    Tensor all;
    dispatch_cpu_float(wide_, [&](auto zero) {
      std::vector<decltype(zero)> values;
      for (const LocalFragment& x : fragments_) {
        const auto length = static_cast<double>(x.fragment.length());
        for (std::int64_t b = 0; b < B_; ++b) {
          const bool resets = !x.starts.empty() &&
                              x.starts[x.starts.size() - static_cast<std::size_t>(B_ - b)] >= 0;
          for (std::int64_t h = g.q_begin; h < g.q_end; ++h) {
            const double slope = call_.slopes[static_cast<std::size_t>(h)];
            values.push_back(static_cast<decltype(zero)>(resets ? 0.0 : std::exp(-slope * length)));
          }
        }
      }
      all = Tensor::copy_of(stream_, view(values.data(), shape));
    });
    return all;
  }

 private:
  [[nodiscard]] std::vector<std::int32_t> starts_of(const Fragment& fragment) const {
    if (call_.document_start.empty()) return {};
    const TensorView global =
        call_.document_start.slice(0, fragment.local_begin, fragment.local_end());
    std::vector<std::int32_t> starts;
    for (std::int64_t t = 0; t < fragment.length(); ++t) {
      for (std::int64_t b = 0; b < B_; ++b) {
        const auto start = static_cast<const std::int32_t*>(
            global.data)[t * global.stride(0) + b * global.stride(1)];
        starts.push_back(static_cast<std::int32_t>(start - fragment.begin));
      }
    }
    return starts;
  }

  const ContextLightningCall& call_;
  std::int64_t B_, K_;
  DType wide_;
  Stream& stream_;
  std::vector<HeadGroup> groups_;
  std::vector<LocalFragment> fragments_;
};

kernels::LightningOptions whole_sequence(const ContextLightningCall& call) {
  return {call.slopes, call.scale, call.document_start};
}

void require_cut(const TensorView& q, const TensorView& k, const SequenceCut& cut,
                 const comm::Communicator& ranks) {
  HALO_REQUIRE(cut.ranks() == ranks.size(),
               str("a sequence cut for ", cut.ranks(), " ranks on ", ranks.size()));
  HALO_REQUIRE(q.rank() == 4 && k.rank() == 4 && q.dim(0) == cut.tokens_per_rank() &&
                   k.dim(2) > 0 && q.dim(2) % k.dim(2) == 0,
               str("context lightning attention: q is ", to_string(q.shape), ", k ",
                   to_string(k.shape), " for ", cut.tokens_per_rank(), " tokens"));
}

/// The forward pass of the pieces of one rank.
struct Forward {
  TensorView o, q, k, v;
  Stream& stream;

  /// Writes to `own` what the piece adds to the state.
  void begin(const Piece& x, TensorView own) const {
    kernels::lightning_attention_begin(x.queries(o), own, x.queries(q), x.keys(k), x.keys(v),
                                       x.options, stream);
  }
  void finish(const Piece& x, TensorView state) const {
    kernels::lightning_attention_finish(x.queries(o), x.queries(q), x.keys(k), x.keys(v), state,
                                        x.options, stream);
  }
};

struct Backward {
  const ContextLightningGradients& gradients;
  TensorView d_o;
  const ContextLightningForward& forward;
  TensorView waiting;  // as forward.incoming
  Stream& stream;

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
            x.fragment.index == 0 ? TensorView{} : x.state(forward.incoming)};
  }
  [[nodiscard]] kernels::LightningGradients of(const Piece& x, TensorView dstate) const {
    return {x.queries(gradients.dq), x.keys(gradients.dk), x.keys(gradients.dv), dstate};
  }
};

/// Begins every piece and sends its state on, then finishes each with the state that has arrived, while others travel;
/// `arrived(piece, state)` sees each. The piece that nothing enters waits like the others, so that no rank is late with
/// the states that others need.
template <class Pass, class Arrived>
void run_pieces(const Call& local, const Pass& pass, StateExchange& exchange,
                StateExchange::Direction direction, const Arrived& arrived) {
  const auto groups = static_cast<int>(local.groups().size());
  for (int g = 0; g < groups; ++g) {
    const HeadGroup& heads = local.groups()[static_cast<std::size_t>(g)];
    Tensor own = local.states(heads);
    for (int slot = 0; slot < local.slots(); ++slot)
      pass.begin(local.piece(g, slot), own.view().select(0, slot));
    exchange.start(std::move(own), local.kept(heads));
  }
  for (int i = 0; i < local.slots(); ++i) {
    const int slot = direction == StateExchange::Direction::kForward ? i : local.slots() - 1 - i;
    for (int g = 0; g < groups; ++g) {
      const TensorView state = exchange.arrived(g, slot);
      const Piece piece = local.piece(g, slot);
      pass.finish(piece, state);
      if (!state.empty()) arrived(piece, state);
    }
  }
  exchange.finish();
}

}  // namespace

void context_lightning(TensorView o, TensorView incoming, TensorView q, TensorView k, TensorView v,
                       const ContextLightningCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream) {
  require_cut(q, k, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::lightning_attention(o, {}, q, k, v, {}, whole_sequence(call), stream);
    return;
  }
  constexpr auto kDirection = StateExchange::Direction::kForward;
  const Call local(call, q, k, cut, ranks, stream);
  StateExchange exchange(cut, ranks, call.method, kDirection,
                         static_cast<int>(local.groups().size()), stream);
  run_pieces(local, Forward{o, q, k, v, stream}, exchange, kDirection,
             [&](const Piece& piece, TensorView state) {
               if (!incoming.empty()) copy(piece.state(incoming), state, stream);
             });
}

void context_lightning_backward(const ContextLightningGradients& gradients, TensorView d_o,
                                const ContextLightningForward& forward,
                                const ContextLightningCall& call, const SequenceCut& cut,
                                comm::Communicator& ranks, Stream& stream) {
  const TensorView &q = forward.q, &k = forward.k, &v = forward.v;
  require_cut(q, k, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::lightning_attention_backward({gradients.dq, gradients.dk, gradients.dv, {}}, d_o, {},
                                          {q, k, v, {}}, whole_sequence(call), stream);
    return;
  }
  constexpr auto kDirection = StateExchange::Direction::kBackward;
  const Call local(call, q, k, cut, ranks, stream);
  StateExchange exchange(cut, ranks, call.method, kDirection,
                         static_cast<int>(local.groups().size()), stream);
  const Tensor waiting(stream, forward.incoming.shape, forward.incoming.dtype);
  run_pieces(local, Backward{gradients, d_o, forward, waiting, stream}, exchange, kDirection,
             [](const Piece&, const TensorView&) {});
}

}  // namespace halo::parallel
