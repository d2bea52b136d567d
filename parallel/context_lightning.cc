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

/// Groups large enough that each keeps a kernel's threads and caches busy.
std::vector<HeadGroup> head_groups(std::int64_t B, std::int64_t H, std::int64_t G) {
  constexpr std::int64_t kItems = 8;  // of batch element and key head
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
  [[nodiscard]] TensorView tokens(const TensorView& x) const {
    return x.slice(0, fragment.local_begin, fragment.local_end());
  }
  [[nodiscard]] TensorView tokens(const TensorView& x, std::int64_t begin, std::int64_t end) const {
    return tokens(x).slice(2, begin, end);
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
  [[nodiscard]] const std::vector<LocalFragment>& fragments() const { return fragments_; }

  [[nodiscard]] kernels::LightningOptions options(const LocalFragment& x,
                                                  const HeadGroup& g) const {
    kernels::LightningOptions options;
    options.slopes.assign(call_.slopes.begin() + g.q_begin, call_.slopes.begin() + g.q_end);
    options.scale = call_.scale;
    if (!x.starts.empty())
      options.document_start = view(x.starts.data(), {x.fragment.length(), B_});
    return options;
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
            values.push_back(
                static_cast<decltype(zero)>(resets ? 0.0 : std::exp(-slope * length)));
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

}  // namespace

void context_lightning(TensorView o, TensorView incoming, TensorView q, TensorView k, TensorView v,
                       const ContextLightningCall& call, const SequenceCut& cut,
                       comm::Communicator& ranks, Stream& stream) {
  require_cut(q, k, cut, ranks);
  if (cut.ranks() == 1) {
    kernels::lightning_attention(o, {}, q, k, v, {}, whole_sequence(call), stream);
    return;
  }
  const Call local(call, q, k, cut, ranks, stream);
  StateExchange exchange(cut, ranks, call.method, StateExchange::Direction::kForward,
                         static_cast<int>(local.groups().size()), stream);
  for (const HeadGroup& g : local.groups()) {
    Tensor own = local.states(g);
    for (std::size_t i = 0; i < local.fragments().size(); ++i) {
      const LocalFragment& x = local.fragments()[i];
      kernels::lightning_attention(
          x.tokens(o, g.q_begin, g.q_end), own.view().select(0, static_cast<std::int64_t>(i)),
          x.tokens(q, g.q_begin, g.q_end), x.tokens(k, g.k_begin, g.k_end),
          x.tokens(v, g.k_begin, g.k_end), {}, local.options(x, g), stream);
    }
    exchange.start(std::move(own), local.kept(g));
  }
  exchange.finish();
  for (std::size_t i = 0; i < local.groups().size(); ++i) {
    const HeadGroup& g = local.groups()[i];
    for (std::size_t slot = 0; slot < local.fragments().size(); ++slot) {
      const LocalFragment& x = local.fragments()[slot];
      const TensorView state = exchange.incoming(static_cast<int>(i), static_cast<int>(slot));
      const TensorView kept =
          incoming.empty()
              ? TensorView{}
              : incoming.select(0, static_cast<std::int64_t>(slot)).slice(1, g.q_begin, g.q_end);
      if (state.empty()) continue;
      kernels::lightning_add_state(x.tokens(o, g.q_begin, g.q_end), x.tokens(q, g.q_begin, g.q_end),
                                   state, local.options(x, g), stream);
      if (!kept.empty()) copy(kept, state, stream);
    }
  }
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
  const Call local(call, q, k, cut, ranks, stream);
  StateExchange exchange(cut, ranks, call.method, StateExchange::Direction::kBackward,
                         static_cast<int>(local.groups().size()), stream);
  for (const HeadGroup& g : local.groups()) {
    Tensor own = local.states(g);
    for (std::size_t i = 0; i < local.fragments().size(); ++i) {
      const LocalFragment& x = local.fragments()[i];
      const auto slot = static_cast<std::int64_t>(i);
      const bool first = x.fragment.index == 0;
      const TensorView before =
          first ? TensorView{} : forward.incoming.select(0, slot).slice(1, g.q_begin, g.q_end);
      kernels::lightning_attention_backward(
          {x.tokens(gradients.dq, g.q_begin, g.q_end), x.tokens(gradients.dk, g.k_begin, g.k_end),
           x.tokens(gradients.dv, g.k_begin, g.k_end), own.view().select(0, slot)},
          x.tokens(d_o, g.q_begin, g.q_end), {},
          {x.tokens(q, g.q_begin, g.q_end), x.tokens(k, g.k_begin, g.k_end),
           x.tokens(v, g.k_begin, g.k_end), before},
          local.options(x, g), stream);
    }
    exchange.start(std::move(own), local.kept(g));
  }
  exchange.finish();
  for (std::size_t i = 0; i < local.groups().size(); ++i) {
    const HeadGroup& g = local.groups()[i];
    for (std::size_t slot = 0; slot < local.fragments().size(); ++slot) {
      const LocalFragment& x = local.fragments()[slot];
      const TensorView state = exchange.incoming(static_cast<int>(i), static_cast<int>(slot));
      if (state.empty()) continue;
      kernels::lightning_add_state_gradient(
          x.tokens(gradients.dk, g.k_begin, g.k_end), x.tokens(gradients.dv, g.k_begin, g.k_end),
          x.tokens(k, g.k_begin, g.k_end), x.tokens(v, g.k_begin, g.k_end), state,
          local.options(x, g), stream);
    }
  }
}

}  // namespace halo::parallel
