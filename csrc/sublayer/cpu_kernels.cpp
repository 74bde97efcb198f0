// Plan. A task owns a chunk of one stream's rows and walks over it in tiles of 48, whose rows pass
// every stage while they are in L1 and L2: norm or heads in, product, relu and dropout, product,
// dropout and residual or heads out. Only the hidden rows after dropout are kept for the backward,
// where a zero says what relu and dropout took; norms are taken again, and the residual's mask is
// hashed again. Weights (102 KB each at 80 features) stay in L2, their gradients are summed a
// chunk. Roofline: the products, 2 flops a weight and row forward, 4 backward; x is read and out
// written once, the hidden rows written and read once.
#include "common/arena.h"
#include "sublayer/cpu_rows.h"
#include "common/threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

// Rows of a tensor [S, rows, cols] that a tile stands for.
template <class T>
Padded<T> rows_of(const RowTile& t, const void* data, int64_t cols) {
  return {static_cast<T*>(const_cast<void*>(data)) + t.number() * cols, cols};
}

// A stream's part of a tensor [S, ...].
template <class T>
Padded<const T> stream_of(const RowTile& t, const void* data, int64_t rows, int64_t cols) {
  return {static_cast<const T*>(data) + t.stream * rows * cols, cols};
}

template <class T>
struct TileScratch {
  Padded<T> input, hidden, output, grad_input;
  T* factors;

  TileScratch(Arena& arena, const SublayerArgs& a) {
    constexpr int64_t kRows = kSublayerTile;
    input = {arena.take<T>(kRows * a.dim), a.dim};
    hidden = {arena.take<T>(kRows * a.hidden), a.hidden};
    output = {arena.take<T>(kRows * a.outputs), a.outputs};
    grad_input = {arena.take<T>(kRows * a.dim), a.dim};
    factors = arena.take<T>(kRows);
  }
};

// Normed rows of x, or the heads' rows.
template <class T>
void take_input(const RowTile& t, TileScratch<T>& s) {
  if (t.a.kind == Sublayer::merge) {
    move_heads<T, false>(t, t.a.parts, 1, s.input);
    return;
  }
  const Padded<T> x = rows_of<T>(t, t.a.x, t.a.dim);
  for (int64_t r = 0; r < t.rows; ++r) {
    s.factors[r] =
        normalise_row<T>(x.data + r * x.stride, t.a.dim, s.input.data + r * s.input.stride);
  }
}

// to = bias + from W
template <class T>
void affine(const RowTile& t, Padded<const T> from, int64_t inputs, Padded<T> to, int64_t outputs,
            const void* weight, const void* bias) {
  fill_rows<T>(stream_of<T>(t, bias, 1, outputs).data, to, t.rows, outputs);
  product<T>(t.rows, outputs, inputs, {from.data, from.stride, 1},
             stream_of<T>(t, weight, inputs, outputs), to, true);
}

template <class T>
Padded<const T> forward_hidden(const RowTile& t, TileScratch<T>& s) {
  const SublayerArgs& a = t.a;
  const Padded<T> hidden = a.kept ? rows_of<T>(t, a.kept, a.hidden) : s.hidden;
  affine<T>(t, {s.input.data, s.input.stride}, a.dim, hidden, a.hidden, a.weight1, a.bias1);
  for (int64_t r = 0; r < t.rows; ++r) {
    T* row = hidden.data + r * hidden.stride;
    for (int64_t c = 0; c < a.hidden; ++c) row[c] = row[c] < T(0) ? T(0) : row[c];  // NaN stays
    drop_row<T>(row, a.hidden, a.hidden_seed, a.hidden_dropout, t.number() + r);
  }
  return {hidden.data, hidden.stride};
}

template <class T>
void forward_tile(const RowTile& t, TileScratch<T>& s) {
  const SublayerArgs& a = t.a;
  take_input(t, s);
  Padded<const T> from{s.input.data, s.input.stride};
  if (a.kind == Sublayer::feed_forward) from = forward_hidden(t, s);
  affine<T>(t, from, from.stride, s.output, a.outputs, a.weight2, a.bias2);
  if (a.kind == Sublayer::project) {
    move_heads<T, true>(t, a.parts, a.part_count, s.output);
    return;
  }
  const Padded<T> x = rows_of<T>(t, a.x, a.dim), out = rows_of<T>(t, a.out, a.dim);
  for (int64_t r = 0; r < t.rows; ++r) {
    T* row = s.output.data + r * s.output.stride;
    drop_row<T>(row, a.dim, a.out_seed, a.out_dropout, t.number() + r);
    const T* before = x.data + r * a.dim;
    T* after = out.data + r * a.dim;
    for (int64_t c = 0; c < a.dim; ++c) after[c] = before[c] + row[c];
  }
}

// The sums of a chunk: where its gradients of weights and biases stand.
template <class T>
struct ChunkSums {
  Padded<T> weight1, weight2;
  T *bias1, *bias2;

  ChunkSums(const SublayerGradArgs& a, int64_t chunk, int64_t stream) {
    const int64_t part = chunk * a.streams + stream, inner = a.hidden ? a.hidden : a.dim;
    weight1 = {zeroed(a.grad_weight1, part, a.dim * a.hidden), a.hidden};
    bias1 = zeroed(a.grad_bias1, part, a.hidden);
    weight2 = {zeroed(a.grad_weight2, part, inner * a.outputs), a.outputs};
    bias2 = zeroed(a.grad_bias2, part, a.outputs);
  }

 private:
  static T* zeroed(void* data, int64_t part, int64_t size) {
    T* at = static_cast<T*>(data) + part * size;
    for (int64_t i = 0; i < size; ++i) at[i] = T(0);
    return at;
  }
};

// The gradient behind W2 and b2, to s.output.
template <class T>
void take_gradient(const RowTile& t, const SublayerGradArgs& a, TileScratch<T>& s) {
  if (a.kind == Sublayer::project) {
    move_heads<T, false>(t, a.parts, a.part_count, s.output);
    return;
  }
  const Padded<T> grad = rows_of<T>(t, a.grad_out, a.dim);
  for (int64_t r = 0; r < t.rows; ++r) {
    T* row = s.output.data + r * s.output.stride;
    copy_row<T>(grad.data + r * a.dim, row, a.dim);
    drop_row<T>(row, a.dim, a.out_seed, a.out_dropout, t.number() + r);
  }
}

// Through a product: to = grad W^T, and the gradients of W and b.
template <class T>
void affine_gradient(const RowTile& t, Padded<const T> from, int64_t inputs, Padded<const T> grad,
                     int64_t outputs, const void* weight_t, Padded<T> grad_weight, T* grad_bias,
                     Padded<T> to) {
  add_column_sums<T>(grad, t.rows, outputs, grad_bias);
  product<T>(inputs, outputs, t.rows, {from.data, 1, from.stride}, grad, grad_weight, true);
  product<T>(t.rows, inputs, outputs, {grad.data, grad.stride, 1},
             stream_of<T>(t, weight_t, outputs, inputs), to, false);
}

template <class T>
void backward_tile(const RowTile& t, const SublayerGradArgs& a, const ChunkSums<T>& sums,
                   TileScratch<T>& s) {
  take_input(t, s);
  take_gradient(t, a, s);
  const Padded<const T> input{s.input.data, a.dim}, grad{s.output.data, a.outputs};
  if (a.kind == Sublayer::feed_forward) {
    const Padded<T> kept = rows_of<T>(t, a.kept, a.hidden);
    affine_gradient<T>(t, {kept.data, a.hidden}, a.hidden, grad, a.outputs, a.weight2_t,
                       sums.weight2, sums.bias2, s.hidden);
    const T grown = a.hidden_seed ? T(1.0 / (1.0 - a.hidden_dropout)) : T(1);
    for (int64_t i = 0; i < t.rows * a.hidden; ++i) {
      s.hidden.data[i] *= kept.data[i] > T(0) ? grown : T(0);
    }
    affine_gradient<T>(t, input, a.dim, {s.hidden.data, a.hidden}, a.hidden, a.weight1_t,
                       sums.weight1, sums.bias1, s.grad_input);
  } else {
    affine_gradient<T>(t, input, a.dim, grad, a.outputs, a.weight2_t, sums.weight2, sums.bias2,
                       s.grad_input);
  }
  if (a.kind == Sublayer::merge) {
    move_heads<T, true>(t, &a.grad_part, 1, s.grad_input);
    return;
  }
  const Padded<T> grad_x = rows_of<T>(t, a.grad_x, a.dim);
  for (int64_t r = 0; r < t.rows; ++r) {
    T* to = grad_x.data + r * a.dim;
    if (a.grad_out) copy_row<T>(rows_of<T>(t, a.grad_out, a.dim).data + r * a.dim, to, a.dim);
    if (!a.grad_out)
      for (int64_t c = 0; c < a.dim; ++c) to[c] = T(0);
    add_norm_gradient<T>(s.input.data + r * a.dim, s.grad_input.data + r * a.dim, s.factors[r],
                         a.dim, to);
  }
}

struct Chunk {
  int64_t number, stream, first, last;
};

template <class T>
void run_chunk(const SublayerArgs& a, const Chunk& chunk, TileScratch<T>& s) {
  for (int64_t row = chunk.first; row < chunk.last; row += kSublayerTile) {
    forward_tile<T>({a, chunk.stream, row, least(kSublayerTile, chunk.last - row)}, s);
  }
}

template <class T>
void run_chunk(const SublayerGradArgs& a, const Chunk& chunk, TileScratch<T>& s) {
  const ChunkSums<T> sums(a, chunk.number, chunk.stream);
  for (int64_t row = chunk.first; row < chunk.last; row += kSublayerTile) {
    const RowTile tile{a, chunk.stream, row, least(kSublayerTile, chunk.last - row)};
    backward_tile<T>(tile, a, sums, s);
  }
}

template <class Args>
struct Job {
  const Args& args;
  bool failed;
};

template <class T, class Args>
void task(int64_t number, void* context) {
  Job<Args>& job = *static_cast<Job<Args>*>(context);
  const Args& a = job.args;
  Arena arena;
  {
    TileScratch<T> measured(arena, a);
  }
  if (!arena.allocate()) {
    __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
    return;
  }
  TileScratch<T> scratch(arena, a);
  const int64_t rows = a.chunk_rows, first = number / a.streams * rows;
  run_chunk<T>(a, {number / a.streams, number % a.streams, first, least(first + rows, a.rows)},
               scratch);
}

template <class T, class Args>
bool run(const Args& a) {
  Job<Args> job{a, false};
  parallel_for(ceil_div(a.rows, a.chunk_rows) * a.streams, a.threads, task<T, Args>, &job);
  return !job.failed;
}

}  // namespace

const SublayerKernels sublayer = {run<float, SublayerArgs>, run<double, SublayerArgs>,
                                  run<float, SublayerGradArgs>, run<double, SublayerGradArgs>};

}  // namespace clmer::CLMER_LEVEL
