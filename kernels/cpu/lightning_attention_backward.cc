#include "kernels/cpu/lightning_chunks.h"
#include "kernels/lightning_attention.h"

namespace halo::kernels::cpu {
namespace {

/// With many heads each key/value head is walked along its chunks, forwards for the states and back for the gradients:
/// what it needs stays in the caches. With few, three passes over all chunks: their own contributions to the states and
/// to the states' gradients; running sums of both; then dq, dk, dv, which need only the states at a chunk's ends. Every
/// sum has one order, whichever of the two is taken.
template <class T>
class Backward {
 public:
  /// `x.state_in` is the state before the first chunk that is written, `state_out` receives that after the last of them.
  Backward(const LightningGradients& gradients, const TensorView& d_o, const TensorView& dstate_out,
           const TensorView& state_out, const LightningForward& x, const LightningOptions& options,
           Part part, Stream& stream)
      : gradients_(gradients),
        d_o_(d_o),
        dstate_out_(dstate_out),
        state_out_(state_out),
        x_(x),
        scale_(static_cast<T>(options.scale)),
        stream_(stream),
        B_(x.q.dim(1)),
        H_(x.q.dim(2)),
        G_(x.k.dim(2)),
        K_(x.q.dim(3)),
        chunks_(x.q.dim(0), B_, options.document_start),
        n_(chunks_.count()) {
    for (const double slope : options.slopes) decays_.emplace_back(slope);
    for (std::int64_t g = 0; g < G_; ++g) {
      const auto first = options.slopes.begin() + g * (H_ / G_);
      const std::int64_t waiting =
          n_ - chunks_entering_end(x.q.dim(0), {first, first + H_ / G_}, x.q.dtype);
      written_.push_back(part == Part::kAll     ? Window{0, n_}
                         : part == Part::kBegin ? Window{0, waiting}
                                                : Window{waiting, n_});
    }
  }

  void run() {
    if (chunks_.walked_by(B_ * G_, stream_.threads())) {
      each_with_workspace<T>(
          stream_, B_ * G_, Rows::elements(K_) + (H_ / G_ * (n_ + 2) + 1) * K_ * K_,
          [&](std::int64_t i, Workspace<T>& memory) { walk(i / G_, i % G_, memory); });
    } else {
      by_chunks();
    }
  }

 private:
  void by_chunks() {
    before_ = Tensor(stream_, {B_ * H_, n_ + 1, K_ * K_}, x_.q.dtype);
    after_ = Tensor(stream_, {B_ * H_, n_ + 1, K_ * K_}, x_.q.dtype);
    const auto each_chunk = [&](auto&& body) {
      each_with_workspace<T>(stream_, B_ * G_ * n_, Rows::elements(K_), body);
    };
    each_chunk([&](std::int64_t i, Workspace<T>& memory) { contribute(i / n_, i % n_, memory); });
    stream_.parallel_each(B_ * H_, [&](std::int64_t i) { sum_states(i / H_, i % H_); });
    each_chunk([&](std::int64_t i, Workspace<T>& memory) { write_chunk(i / n_, i % n_, memory); });
  }

  /// The dense rows of one chunk of one key/value head, and of one of its query heads at a time.
  struct Rows {
    T *q, *d_o, *decayed_do, *dq, *k, *v, *dk, *dv, *decayed, *products, *dproducts;
    static std::int64_t elements(std::int64_t K) { return kChunk * (9 * K + 2 * kChunk); }
    Rows(Workspace<T>& memory, std::int64_t K)
        : q(memory.take(kChunk * K)),
          d_o(memory.take(kChunk * K)),
          decayed_do(memory.take(kChunk * K)),
          dq(memory.take(kChunk * K)),
          k(memory.take(kChunk * K)),
          v(memory.take(kChunk * K)),
          dk(memory.take(kChunk * K)),
          dv(memory.take(kChunk * K)),
          decayed(memory.take(kChunk * K)),
          products(memory.take(kChunk * kChunk)),
          dproducts(memory.take(kChunk * kChunk)) {}
  };

  void gather_keys(Rows& rows, const Chunk& chunk, std::int64_t g) const {
    gather(rows.k, x_.k, chunk.rows(g));
    gather(rows.v, x_.v, chunk.rows(g));
  }
  void gather_queries(Rows& rows, const Chunk& chunk, std::int64_t h) const {
    gather(rows.q, x_.q, chunk.rows(h));
    gather(rows.d_o, d_o_, chunk.rows(h));
    decay_from_start(rows.decayed_do, rows.d_o, chunk.continuing, K_, scale_, decay(h));
  }

  /// What the chunk's tokens, whose queries are gathered, give to the gradient of the state before it.
  void chunk_gradient(T* own, const Rows& rows, const Chunk& chunk) const {
    matmul_block(MatmulBlock<T>{K_, K_, chunk.continuing, rows.q, K_, true, rows.decayed_do, K_,
                                false, own, K_});
  }

  /// One key/value head: the states before its chunks, then from the last chunk to the first all gradients, with the
  /// gradient of the state after the chunk at hand. Chunks after those that are written give to it alone.
  void walk(std::int64_t b, std::int64_t g, Workspace<T>& memory) {
    const std::int64_t R = H_ / G_, size = K_ * K_;
    const Window& written = written_[static_cast<std::size_t>(g)];
    Rows rows(memory, K_);
    T* const states = memory.take(R * (n_ + 1) * size);
    T *const dstates = memory.take(R * size), *const own = memory.take(size);
    const auto before = [&](std::int64_t r, std::int64_t c) {
      return states + (r * (n_ + 1) + c - written.begin) * size;
    };
    for (std::int64_t r = 0; r < R; ++r) {
      read_state(before(r, written.begin), x_.state_in, b, g * R + r, K_);
      read_state(dstates + r * size, dstate_out_, b, g * R + r, K_);
    }
    const std::int64_t needed = state_out_.empty() ? written.end - 1 : written.end;
    for (std::int64_t c = written.begin; c < needed; ++c) {
      const Chunk chunk = chunks_.at(b, c);
      gather_keys(rows, chunk, g);
      for (std::int64_t r = 0; r < R; ++r) {
        chunk_state(own, rows.k, rows.v, rows.decayed, chunk, K_, decay(g * R + r));
        carry_state(before(r, c + 1), own, before(r, c), chunk, K_, decay(g * R + r));
      }
    }
    for (std::int64_t c = n_ - 1; c >= written.begin; --c) {
      const Chunk chunk = chunks_.at(b, c);
      if (written.contains(c)) begin_keys(rows, chunk, g);
      for (std::int64_t r = 0; r < R; ++r) {
        T* const dstate = dstates + r * size;
        gather_queries(rows, chunk, g * R + r);
        if (written.contains(c)) write_query_head(rows, chunk, g * R + r, before(r, c), dstate);
        chunk_gradient(own, rows, chunk);
        carry_state(dstate, own, dstate, chunk, K_, decay(g * R + r));
      }
      if (written.contains(c)) write_keys(rows, chunk, g);
    }
    for (std::int64_t r = 0; r < R; ++r) {
      write_state(gradients_.dstate_in, b, g * R + r, dstates + r * size, K_);
      write_state(state_out_, b, g * R + r, before(r, written.end), K_);
    }
  }

  /// before[c + 1] = the state that chunk c alone makes; after[c] = the gradient that chunk c alone gives to the state
  /// before it. sum_states makes of them the state before chunk c and the gradient of the state before chunk c.
  void contribute(std::int64_t group, std::int64_t c, Workspace<T>& memory) {
    const std::int64_t b = group / G_, g = group % G_;
    const Window& written = written_[static_cast<std::size_t>(g)];
    if (c < written.begin) return;
    const Chunk chunk = chunks_.at(b, c);
    Rows rows(memory, K_);
    if (written.contains(c)) gather_keys(rows, chunk, g);
    for (std::int64_t h = g * H_ / G_; h < (g + 1) * H_ / G_; ++h) {
      if (written.contains(c)) {
        chunk_state(at(before_, b, h, c + 1), rows.k, rows.v, rows.decayed, chunk, K_, decay(h));
      }
      gather_queries(rows, chunk, h);
      chunk_gradient(at(after_, b, h, c), rows, chunk);
    }
  }

  void sum_states(std::int64_t b, std::int64_t h) {
    const Window& written = written_[static_cast<std::size_t>(h * G_ / H_)];
    read_state(at(before_, b, h, written.begin), x_.state_in, b, h, K_);
    read_state(at(after_, b, h, n_), dstate_out_, b, h, K_);
    for (std::int64_t c = written.begin; c < written.end; ++c) {
      T* const after = at(before_, b, h, c + 1);
      carry_state(after, after, at(before_, b, h, c), chunks_.at(b, c), K_, decay(h));
    }
    for (std::int64_t c = n_ - 1; c >= written.begin; --c) {
      T* const before = at(after_, b, h, c);
      carry_state(before, before, at(after_, b, h, c + 1), chunks_.at(b, c), K_, decay(h));
    }
    write_state(gradients_.dstate_in, b, h, at(after_, b, h, 0), K_);
    write_state(state_out_, b, h, at(before_, b, h, written.end), K_);
  }

  void write_chunk(std::int64_t group, std::int64_t c, Workspace<T>& memory) {
    const std::int64_t b = group / G_, g = group % G_;
    if (!written_[static_cast<std::size_t>(g)].contains(c)) return;
    const Chunk chunk = chunks_.at(b, c);
    Rows rows(memory, K_);
    begin_keys(rows, chunk, g);
    for (std::int64_t h = g * H_ / G_; h < (g + 1) * H_ / G_; ++h) {
      gather_queries(rows, chunk, h);
      write_query_head(rows, chunk, h, at(before_, b, h, c), at(after_, b, h, c + 1));
    }
    write_keys(rows, chunk, g);
  }

  void begin_keys(Rows& rows, const Chunk& chunk, std::int64_t g) const {
    gather_keys(rows, chunk, g);
    std::fill_n(rows.dk, chunk.count * K_, T{0});
    std::fill_n(rows.dv, chunk.count * K_, T{0});
  }
  void write_keys(const Rows& rows, const Chunk& chunk, std::int64_t g) const {
    scatter(gradients_.dk, chunk.rows(g), rows.dk);
    scatter(gradients_.dv, chunk.rows(g), rows.dv);
  }
  /// dq of a head, whose rows are gathered, and its share of dk and dv, from the state before the chunk and the gradient
  /// of the state after it.
  void write_query_head(Rows& rows, const Chunk& chunk, std::int64_t h, const T* state,
                        const T* dstate) const {
    add_within(rows, chunk, h);
    add_between(rows, chunk, h, state, dstate);
    scatter(gradients_.dq, chunk.rows(h), rows.dq);
  }

  /// What tokens of the chunk give each other.
  void add_within(Rows& rows, const Chunk& chunk, std::int64_t h) const {
    const std::int64_t n = chunk.count;
    T *a = rows.products, *da = rows.dproducts;
    matmul_block(MatmulBlock<T>{n, n, K_, rows.q, K_, false, rows.k, K_, true, a, n, scale_, T{0}});
    matmul_block(
        MatmulBlock<T>{n, n, K_, rows.d_o, K_, false, rows.v, K_, true, da, n, scale_, T{0}});
    decay_products(a, chunks_, chunk, decay(h));
    decay_products(da, chunks_, chunk, decay(h));
    matmul_block(MatmulBlock<T>{n, K_, n, da, n, false, rows.k, K_, false, rows.dq, K_});
    matmul_block(MatmulBlock<T>{n, K_, n, da, n, true, rows.q, K_, false, rows.dk, K_, T{1}, T{1}});
    matmul_block(
        MatmulBlock<T>{n, K_, n, a, n, true, rows.d_o, K_, false, rows.dv, K_, T{1}, T{1}});
  }

  /// What comes through the state before the chunk and the gradient of the state after it.
  void add_between(Rows& rows, const Chunk& chunk, std::int64_t h, const T* state,
                   const T* dstate) const {
    matmul_block(MatmulBlock<T>{chunk.continuing, K_, K_, rows.decayed_do, K_, false, state, K_,
                                true, rows.dq, K_, T{1}, T{1}});
    const std::int64_t from = chunk.tail * K_, n = chunk.count - chunk.tail;
    decay_to_end(rows.decayed, rows.v, chunk.count, K_, decay(h));
    matmul_block(MatmulBlock<T>{n, K_, K_, rows.decayed + from, K_, false, dstate, K_, true,
                                rows.dk + from, K_, T{1}, T{1}});
    decay_to_end(rows.decayed, rows.k, chunk.count, K_, decay(h));
    matmul_block(MatmulBlock<T>{n, K_, K_, rows.decayed + from, K_, false, dstate, K_, false,
                                rows.dv + from, K_, T{1}, T{1}});
  }

  [[nodiscard]] T* at(const Tensor& states, std::int64_t b, std::int64_t h, std::int64_t c) const {
    return states.view().template as<T>() + ((b * H_ + h) * (n_ + 1) + c) * K_ * K_;
  }
  [[nodiscard]] const Decays<T>& decay(std::int64_t h) const {
    return decays_[static_cast<std::size_t>(h)];
  }

  const LightningGradients& gradients_;
  const TensorView& d_o_;
  const TensorView &dstate_out_, &state_out_;
  const LightningForward& x_;
  T scale_;
  Stream& stream_;
  std::int64_t B_, H_, G_, K_;
  Chunks chunks_;
  std::int64_t n_;
  std::vector<Window> written_;  // a key head's chunks whose gradients are written
  Tensor before_, after_;  // (B * H, chunks + 1, K * K), of by_chunks
  std::vector<Decays<T>> decays_;
};

}  // namespace

void lightning_attention_backward(const LightningGradients& gradients, TensorView d_o,
                                  TensorView dstate_out, const LightningForward& forward,
                                  const LightningOptions& options, Stream& stream) {
  dispatch_cpu_float(forward.q.dtype, [&](auto zero) {
    Backward<decltype(zero)>(gradients, d_o, dstate_out, {}, forward, options, Part::kAll, stream)
        .run();
  });
}

void lightning_attention_backward_begin(const LightningGradients& gradients, TensorView waiting,
                                        TensorView d_o, const LightningForward& forward,
                                        const LightningOptions& options, Stream& stream) {
  dispatch_cpu_float(forward.q.dtype, [&](auto zero) {
    Backward<decltype(zero)>(gradients, d_o, {}, waiting, forward, options, Part::kBegin, stream)
        .run();
  });
}

void lightning_attention_backward_finish(const LightningGradients& gradients, TensorView waiting,
                                         TensorView d_o, TensorView dstate_out,
                                         const LightningForward& forward,
                                         const LightningOptions& options, Stream& stream) {
  const LightningForward x{forward.q, forward.k, forward.v, waiting};
  dispatch_cpu_float(forward.q.dtype, [&](auto zero) {
    Backward<decltype(zero)>(gradients, d_o, dstate_out, {}, x, options, Part::kFinish, stream)
        .run();
  });
}

}  // namespace halo::kernels::cpu
