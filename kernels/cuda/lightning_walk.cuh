#pragma once
#include <initializer_list>

#include "kernels/cuda/lightning_chunks.cuh"

namespace halo::kernels::cuda {

// Lightning attention in bfloat16 with products by groups of four warps. Every pass over a sequence is one op,
//   out_i = sum over the tokens j that i sees of scale e^(-slope |i - j|) (x_i . y_j) z_j,
// forward in time (j <= i) as (q, k, v) -> o and (do, v, k) -> dq, or backward (j >= i) as (k, q, do) -> dv and
// (v, do, q) -> dk. A block walks along a segment of one head's chunks with the state in registers. The states before
// segments are made first, from the tokens that still show there (kernels/lightning_waiting.h): blocks walk along pieces of
// a few chunks each, whose states are then summed. So inputs are read once, but for those near the ends of segments.

struct Pass {
  HeadRows<__nv_bfloat16> x, y, z, out;
  StateRows initial;     // before the first chunk, as the pass goes
  StateRows final;       // after the last chunk of the head's window
  bool reverse = false;  // backward in time
  bool rows_are_keys =
      false;  // z is of keys' channels, y of values': otherwise the other way round
  bool begins_at_window =
      false;                // `initial` is the state before the window, not before the sequence
  float* pieces = nullptr;  // (segments - 1, B, slot[H], K, K), by run_passes
};

/// Chunks of a head, counted from where a pass begins: its initial state is that before `origin`, and it writes outputs in
/// [begin, end). `last` is the segment where it ends.
struct HeadWindow {
  int origin, begin, end, last;
};

/// A parameter of all kernels.
struct Walk {
  Sequence x;
  Windows written;                // chunks that receive outputs, counted in time
  int segment, segments;          // chunks of a segment, and how many there are
  int piece;                      // chunks of a piece; divides `segment`
  int reach[kMaxLightningHeads];  // how many chunks before one show in it
  int slot[kMaxLightningHeads +
           1];  // head h has pieces slot[h] to slot[h + 1] - 1, the last chunks' first
  int passes;
  Pass pass[3];

  [[nodiscard]] __device__ HeadWindow window(const Pass& of, int h) const {
    const int n = x.chunks();
    const int begin = of.reverse ? n - written.end[h] : written.begin[h];
    const int end = of.reverse ? n - written.begin[h] : written.end[h];
    return {of.begins_at_window ? begin : 0, begin, end, max(end - 1, 0) / segment};
  }
  /// Of the i-th piece that ends in the state before segment s; the first of them becomes that state.
  [[nodiscard]] __device__ StateMatrix state(const Pass& of, int b, int h, int s, int i) const {
    const std::int64_t K = x.channels;
    const std::int64_t index = (std::int64_t{s - 1} * x.batch + b) * slot[x.heads] + slot[h] + i;
    return {of.pieces + index * K * K, K};
  }
};

/// Chunks [from, end), of which outputs are written from `first` on. Nothing to do where end < from.
struct Span {
  int from = 0, first = 0, end = -1;
  StateMatrix initial{}, final{};  // no data: zero, not wanted
};

/// Outputs of segment s.
__device__ __forceinline__ Span span_of_segment(const Walk& w, const Pass& pass, int b, int h,
                                                int s) {
  const HeadWindow window = w.window(pass, h);
  const int first = max(window.begin, s * w.segment), end = min((s + 1) * w.segment, window.end);
  const bool finishes = s == window.last && pass.final.data != nullptr;
  Span span;
  if (s > window.last || (first >= end && !finishes)) return span;
  span.from = max(max(window.origin, s * w.segment), first - w.reach[h]);
  span.first = first, span.end = end;
  if (span.from == window.origin)
    span.initial = pass.initial.of(b, h);
  else if (span.from == s * w.segment)
    span.initial = w.state(pass, b, h, s, 0);
  if (finishes) span.final = pass.final.of(b, h);
  return span;
}

/// The i-th piece before segment s, for its state.
__device__ __forceinline__ Span span_of_piece(const Walk& w, const Pass& pass, int b, int h, int s,
                                              int i) {
  const HeadWindow window = w.window(pass, h);
  const int end = s * w.segment - i * w.piece;
  Span span;
  if (s > window.last || end <= window.origin) return span;
  span.from = max(max(window.origin, end - w.piece), s * w.segment - w.reach[h]);
  span.first = span.end = end;
  if (span.from == window.origin) span.initial = pass.initial.of(b, h);
  span.final = w.state(pass, b, h, s, i);
  return span;
}

/// Whether passes can be run: on this device, over rows of K channels that all can be read in packs.
[[nodiscard]] bool can_walk(const TensorView& q, std::initializer_list<TensorView> rows);

/// Runs passes side by side over a sequence that can_walk. Those of one direction have the same states.
void run_passes(const Sequence& sequence, const Windows& written,
                std::initializer_list<Pass> passes, const LightningOptions& options,
                Stream& stream);

}  // namespace halo::kernels::cuda
