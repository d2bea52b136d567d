#include "kernels/lightning_attention.h"

#include "kernels/cpu/lightning_chunks.h"

namespace halo::kernels::cpu {
namespace {

template <class T>
class Forward {
 public:
  Forward(const TensorView& o, const TensorView& state_out, const LightningForward& x,
          const LightningOptions& options, Part part, Stream& stream)
      : o_(o),
        state_out_(state_out),
        x_(x),
        scale_(static_cast<T>(options.scale)),
        stream_(stream),
        B_(x.q.dim(1)),
        H_(x.q.dim(2)),
        G_(x.k.dim(2)),
        K_(x.q.dim(3)),
        chunks_(x.q.dim(0), B_, options.document_start) {
    for (const double slope : options.slopes) {
      decays_.emplace_back(slope);
      const std::int64_t n = chunks_.count();
      const std::int64_t waiting = chunks_seeing_start(x.q.dim(0), slope, x.q.dtype);
      written_.push_back(part == Part::kAll     ? Window{0, n}
                         : part == Part::kBegin ? Window{waiting, n}
                                                : Window{0, waiting});
    }
  }

  void run() {
    if (chunks_.walked_by(B_ * H_, stream_.threads())) {
      each_with_workspace<T>(
          stream_, B_ * H_, Rows::elements(K_) + 2 * K_ * K_,
          [&](std::int64_t i, Workspace<T>& memory) { walk(i / H_, i % H_, memory); });
    } else {
      by_chunks();
    }
  }

 private:
  /// The dense rows of one chunk and room for what is made of them.
  struct Rows {
    T *q, *k, *v, *decayed, *products;
    static std::int64_t elements(std::int64_t K) { return kChunk * (4 * K + kChunk); }
    Rows(Workspace<T>& memory, std::int64_t K)
        : q(memory.take(kChunk * K)),
          k(memory.take(kChunk * K)),
          v(memory.take(kChunk * K)),
          decayed(memory.take(kChunk * K)),
          products(memory.take(kChunk * kChunk)) {}
  };

  void gather_keys(Rows& rows, const Chunk& chunk, std::int64_t h) const {
    gather(rows.k, x_.k, chunk.rows(h * G_ / H_));
    gather(rows.v, x_.v, chunk.rows(h * G_ / H_));
  }

  /// One head along its chunks, with one state.
  void walk(std::int64_t b, std::int64_t h, Workspace<T>& memory) {
    Rows rows(memory, K_);
    T *state = memory.take(K_ * K_), *own = memory.take(K_ * K_);
    read_state(state, x_.state_in, b, h, K_);
    const Window& written = written_[static_cast<std::size_t>(h)];
    for (std::int64_t c = 0; c < written.end; ++c) {
      const Chunk chunk = chunks_.at(b, c);
      gather_keys(rows, chunk, h);
      if (written.contains(c))
        write_output(rows, chunk, h, c == 0 && x_.state_in.empty() ? nullptr : state);
      if (c + 1 == written.end && state_out_.empty()) break;
      chunk_state(own, rows.k, rows.v, rows.decayed, chunk, K_, decay(h));
      carry_state(state, own, state, chunk, K_, decay(h));
    }
    write_state(state_out_, b, h, state, K_);
  }

  /// Every chunk's own contribution to the state, their running sums, then every chunk's output.
  void by_chunks() {
    const std::int64_t n = chunks_.count(), size = K_ * K_;
    const Tensor states(stream_, {B_ * H_, n + 1, size}, x_.q.dtype);
    T* all = states.view().template as<T>();
    const auto each_chunk = [&](auto&& body) {
      each_with_workspace<T>(stream_, B_ * H_ * n, Rows::elements(K_), body);
    };
    each_chunk([&](std::int64_t i, Workspace<T>& memory) {
      const std::int64_t b = i / n / H_, h = i / n % H_;
      if (i % n >= written_[static_cast<std::size_t>(h)].end) return;
      Chunk own = chunks_.at(b, i % n);
      Rows rows(memory, K_);
      gather_keys(rows, own, h);
      T* after = all + (i / n * (n + 1) + i % n + 1) * size;
      chunk_state(after, rows.k, rows.v, rows.decayed, own, K_, decay(h));
    });
    stream_.parallel_each(B_ * H_, [&](std::int64_t i) {
      T* state = all + i * (n + 1) * size;
      read_state(state, x_.state_in, i / H_, i % H_, K_);
      const Window& written = written_[static_cast<std::size_t>(i % H_)];
      for (std::int64_t c = 0; c < written.end; ++c, state += size) {
        T* const after = state + size;
        carry_state(after, after, state, chunks_.at(i / H_, c), K_, decay(i % H_));
      }
      write_state(state_out_, i / H_, i % H_, state, K_);
    });
    each_chunk([&](std::int64_t i, Workspace<T>& memory) {
      const std::int64_t b = i / n / H_, h = i / n % H_;
      if (!written_[static_cast<std::size_t>(h)].contains(i % n)) return;
      const Chunk chunk = chunks_.at(b, i % n);
      Rows rows(memory, K_);
      gather_keys(rows, chunk, h);
      write_output(rows, chunk, h, all + (i / n * (n + 1) + i % n) * size);
    });
  }

  /// o = (scale q k^T with decays) v + the state before the chunk, read by decayed queries; null is a zero state.
  void write_output(Rows& rows, const Chunk& chunk, std::int64_t h, const T* state) const {
    const std::int64_t n = chunk.count;
    gather(rows.q, x_.q, chunk.rows(h));
    T* o = head_row<T>(o_, chunk.begin, chunk.batch, h);
    const std::int64_t stride = o_.dim(0) > 1 ? o_.stride(0) : K_;
    matmul_block(MatmulBlock<T>{n, n, K_, rows.q, K_, false, rows.k, K_, true, rows.products, n,
                                scale_, T{0}});
    decay_products(rows.products, chunks_, chunk, decay(h));
    matmul_block(MatmulBlock<T>{n, K_, n, rows.products, n, false, rows.v, K_, false, o, stride});
    if (state == nullptr) return;
    decay_from_start(rows.decayed, rows.q, chunk.continuing, K_, scale_, decay(h));
    if (chunk.continuing > 0)
      matmul_block(MatmulBlock<T>{chunk.continuing, K_, K_, rows.decayed, K_, false, state, K_,
                                  false, o, stride, T{1}, T{1}});
  }

  [[nodiscard]] const Decays<T>& decay(std::int64_t h) const {
    return decays_[static_cast<std::size_t>(h)];
  }

  const TensorView& o_;
  const TensorView& state_out_;
  const LightningForward& x_;
  T scale_;
  Stream& stream_;
  std::int64_t B_, H_, G_, K_;
  Chunks chunks_;
  std::vector<Decays<T>> decays_;  // one a query head, like
  std::vector<Window> written_;    // the chunks whose output is written; those before it make their states alone
};

}  // namespace

void lightning_attention(TensorView o, TensorView state_out, TensorView q, TensorView k,
                         TensorView v, TensorView state_in, const LightningOptions& options,
                         Stream& stream) {
  const LightningForward x{q, k, v, state_in};
  dispatch_cpu_float(q.dtype, [&](auto zero) {
    Forward<decltype(zero)>(o, state_out, x, options, Part::kAll, stream).run();
  });
}

void lightning_attention_begin(TensorView o, TensorView state_out, TensorView q, TensorView k,
                               TensorView v, const LightningOptions& options, Stream& stream) {
  const LightningForward x{q, k, v, {}};
  dispatch_cpu_float(q.dtype, [&](auto zero) {
    Forward<decltype(zero)>(o, state_out, x, options, Part::kBegin, stream).run();
  });
}

void lightning_attention_finish(TensorView o, TensorView q, TensorView k, TensorView v,
                                TensorView state_in, const LightningOptions& options,
                                Stream& stream) {
  const LightningForward x{q, k, v, state_in};
  dispatch_cpu_float(q.dtype, [&](auto zero) {
    Forward<decltype(zero)>(o, {}, x, options, Part::kFinish, stream).run();
  });
}

}  // namespace halo::kernels::cpu
