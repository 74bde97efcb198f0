// Plan. A task owns a chunk of samples and walks over it in tiles of whole samples, about 64
// tokens, which pass all stages of the layer while they are in L1 and L2. Kept for the backward:
// queries, keys, values, what attention gives, u and the hidden rows after dropout; norms and
// attention's weights are taken again, masks are hashed again. The forward reads the weights
// transposed, once per call, so that both passes multiply by rows of memory; a chunk sums its
// weights' gradients in memory of its own, and the chunks' number goes by shape alone, so that
// threads change no bit. Roofline: the products, 2 flops a weight and row forward, 4 backward.
#include "common/arena.h"
#include "common/threads.h"
#include "sublayer/cpu_layer.h"

namespace clmer::CLMER_LEVEL {

namespace {

template <class T>
struct ForwardScratch {
  Padded<T> input, output;
  T* scores;

  ForwardScratch(Arena& arena, const LayerArgs& a, const LayerPlan& plan) {
    const int64_t tokens = plan.tile * a.length;
    input = {arena.take<T>(tokens * a.dim), a.dim};
    output = {arena.take<T>(tokens * a.dim), a.dim};
    scores = arena.take<T>(a.queries * a.length + kLanes<T>);
  }
};

template <class T>
struct BackwardScratch {
  Padded<T> normed, input, grad, grad_hidden, grad_input, grad_u, grad_heads, grad_query;
  Padded<T> grad_key_value;
  T *factors, *scores, *grad_scores;

  BackwardScratch(Arena& arena, const LayerArgs& a, const LayerPlan& plan) {
    const int64_t tokens = plan.tile * a.length, queries = plan.tile * a.queries;
    normed = rows(arena, tokens, a.dim);
    input = rows(arena, tokens, a.dim);
    grad_input = rows(arena, tokens, a.dim);
    grad_key_value = rows(arena, tokens, 2 * a.dim);
    grad = rows(arena, queries, a.dim);
    grad_u = rows(arena, queries, a.dim);
    grad_heads = rows(arena, queries, a.dim);
    grad_query = rows(arena, queries, a.dim);
    grad_hidden = rows(arena, queries, a.hidden);
    factors = arena.take<T>(tokens);
    scores = arena.take<T>(a.queries * a.length + kLanes<T>);
    grad_scores = arena.take<T>(a.queries * a.length + kLanes<T>);
  }

 private:
  static Padded<T> rows(Arena& arena, int64_t count, int64_t cols) {
    return {arena.take<T>(count * cols), cols};
  }
};

// to = bias + from W^T for `rows` rows
template <class T>
void affine(const LayerTile<T>& t, int64_t rows, Left<T> from, LayerWeight weight, const T* bias,
            Padded<T> to) {
  const int64_t inputs = t.a.inputs_of(weight), outputs = t.a.outputs_of(weight);
  if (bias) fill_rows<T>(bias, to, rows, outputs);
  product<T>(rows, outputs, inputs, from, {t.transposed(weight), outputs}, to, bias != nullptr);
}

template <class T>
void forward_tile(const LayerTile<T>& t, const ForwardScratch<T>& s) {
  const LayerArgs& a = t.a;
  const int64_t queries = t.queries(), step = t.query_step();
  normalise_rows<T>(t.x(), t.tokens(), t.weight(kGain1), t.weight(kOffset1), a.dim, s.input,
                    s.input, nullptr);
  affine<T>(t, t.tokens(), {s.input.data, a.dim, 1}, kKeyValue, nullptr, t.key_value());
  affine<T>(t, queries, {s.input.data, step * a.dim, 1}, kQuery, nullptr, t.query());
  for (int64_t sample = 0; sample < t.samples; ++sample) attend<T>(t, sample, s.scores);
  affine<T>(t, queries, {t.heads().data, a.dim, 1}, kOut, t.weight(kOutBias), s.output);
  drop_and_add<T>(t, 0, s.output, {t.x().data, step * a.dim}, t.u());
  normalise_rows<T>(t.u(), queries, t.weight(kGain2), t.weight(kOffset2), a.dim, s.input, s.input,
                    nullptr);
  affine<T>(t, queries, {s.input.data, a.dim, 1}, kWeight1, t.weight(kBias1), t.hidden());
  for (int64_t r = 0; r < queries; ++r) {
    T* row = t.hidden().data + r * a.hidden;
    for (int64_t c = 0; c < a.hidden; ++c) row[c] = row[c] < T(0) ? T(0) : row[c];  // NaN stays
    drop_row<T>(row, a.hidden, t.seed(1), a.dropout, t.number(r));
  }
  affine<T>(t, queries, {t.hidden().data, a.hidden, 1}, kWeight2, t.weight(kBias2), s.output);
  drop_and_add<T>(t, 2, s.output, t.u(), t.y());
}

// A chunk's gradients of the weights. Its first tile writes, the others add.
template <class T>
struct WeightSums {
  const LayerArgs& a;
  T* data;
  bool first;

  T* of(LayerWeight weight) const { return data + a.start_of(weight); }
  // W's += grad^T from
  void add_product(LayerWeight weight, int64_t rows, Padded<T> grad, Padded<const T> from) const {
    const int64_t inputs = a.inputs_of(weight), outputs = a.outputs_of(weight);
    product<T>(outputs, inputs, rows, {grad.data, 1, grad.stride}, from, {of(weight), inputs},
               !first);
  }
  void add_columns(LayerWeight weight, int64_t rows, Padded<T> grad) const {
    T* sums = of(weight);
    const int64_t cols = a.size_of(weight);
    if (first)
      for (int64_t c = 0; c < cols; ++c) sums[c] = T(0);
    add_column_sums<T>({grad.data, grad.stride}, rows, cols, sums);
  }
  // Through the gain and offset behind a norm: their gradients, and grad *= gain.
  void add_norm(LayerWeight gain, int64_t rows, Padded<T> normed, const T* gains,
                Padded<T> grad) const {
    add_columns(LayerWeight(gain + 1), rows, grad);
    T* __restrict sums = of(gain);
    if (first)
      for (int64_t c = 0; c < a.dim; ++c) sums[c] = T(0);
    for (int64_t r = 0; r < rows; ++r) {
      T* __restrict row = grad.data + r * grad.stride;
      const T* __restrict n = normed.data + r * normed.stride;
      for (int64_t c = 0; c < a.dim; ++c) {
        sums[c] += row[c] * n[c];
        row[c] *= gains[c];
      }
    }
  }
};

// y = u + drop(W_2 hidden + b_2): from grad_y to grad_u.
template <class T>
void feed_forward_gradient(const LayerTile<T>& t, Padded<const T> grad_y, const WeightSums<T>& sums,
                           const BackwardScratch<T>& s) {
  const LayerArgs& a = t.a;
  const int64_t queries = t.queries();
  drop_rows<T>(t, 2, grad_y, s.grad);
  sums.add_product(kWeight2, queries, s.grad, {t.hidden().data, a.hidden});
  sums.add_columns(kBias2, queries, s.grad);
  product<T>(queries, a.hidden, a.dim, {s.grad.data, a.dim, 1}, {t.weight(kWeight2), a.hidden},
             s.grad_hidden, false);
  const T grown = a.seeds ? T(1.0 / (1.0 - a.dropout)) : T(1);
  const T* kept = t.hidden().data;
  for (int64_t i = 0; i < queries * a.hidden; ++i) {
    s.grad_hidden.data[i] *= kept[i] > T(0) ? grown : T(0);
  }
  normalise_rows<T>(t.u(), queries, t.weight(kGain2), t.weight(kOffset2), a.dim, s.normed, s.input,
                    s.factors);
  sums.add_product(kWeight1, queries, s.grad_hidden, {s.input.data, a.dim});
  sums.add_columns(kBias1, queries, s.grad_hidden);
  product<T>(queries, a.dim, a.hidden, {s.grad_hidden.data, a.hidden, 1},
             {t.weight(kWeight1), a.dim}, s.grad_input, false);
  sums.add_norm(kGain2, queries, s.normed, t.weight(kGain2), s.grad_input);
  for (int64_t r = 0; r < queries; ++r) {
    T* to = s.grad_u.data + r * a.dim;
    copy_row<T>(grad_y.data + r * a.dim, to, a.dim);
    add_norm_gradient<T>(s.normed.data + r * a.dim, s.grad_input.data + r * a.dim, s.factors[r],
                         a.dim, to);
  }
}

// u = x + drop(W_o attention + b_o): from grad_u to grad_x.
template <class T>
void attention_gradient(const LayerTile<T>& t, Padded<T> grad_x, const WeightSums<T>& sums,
                        const BackwardScratch<T>& s) {
  const LayerArgs& a = t.a;
  const int64_t queries = t.queries(), tokens = t.tokens(), step = t.query_step();
  drop_rows<T>(t, 0, {s.grad_u.data, a.dim}, s.grad);
  sums.add_product(kOut, queries, s.grad, {t.heads().data, a.dim});
  sums.add_columns(kOutBias, queries, s.grad);
  product<T>(queries, a.dim, a.dim, {s.grad.data, a.dim, 1}, {t.weight(kOut), a.dim}, s.grad_heads,
             false);
  for (int64_t sample = 0; sample < t.samples; ++sample) {
    attend_backward<T>(t, sample, s.grad_heads, s.scores, s.grad_scores, s.grad_query,
                       s.grad_key_value);
  }
  normalise_rows<T>(t.x(), tokens, t.weight(kGain1), t.weight(kOffset1), a.dim, s.normed, s.input,
                    s.factors);
  sums.add_product(kKeyValue, tokens, s.grad_key_value, {s.input.data, a.dim});
  sums.add_product(kQuery, queries, s.grad_query, {s.input.data, step * a.dim});
  product<T>(tokens, a.dim, 2 * a.dim, {s.grad_key_value.data, 2 * a.dim, 1},
             {t.weight(kKeyValue), a.dim}, s.grad_input, false);
  product<T>(queries, a.dim, a.dim, {s.grad_query.data, a.dim, 1}, {t.weight(kQuery), a.dim},
             {s.grad_input.data, step * a.dim}, true);
  sums.add_norm(kGain1, tokens, s.normed, t.weight(kGain1), s.grad_input);
  for (int64_t r = 0; r < tokens; ++r) {
    T* to = grad_x.data + r * a.dim;
    if (r % step == 0) copy_row<T>(s.grad_u.data + r / step * a.dim, to, a.dim);
    if (r % step != 0)
      for (int64_t c = 0; c < a.dim; ++c) to[c] = T(0);
    add_norm_gradient<T>(s.normed.data + r * a.dim, s.grad_input.data + r * a.dim, s.factors[r],
                         a.dim, to);
  }
}

// What all tasks of a call share.
template <class Args>
struct Job {
  const Args& a;
  LayerPlan plan;
  void* shared;  // forward: the transposed weights; backward: the sums of chunks but the first
  bool failed;
};

template <class T>
void run_chunk(const Job<LayerArgs>& job, int64_t chunk, const ForwardScratch<T>& s) {
  const LayerPlan& plan = job.plan;
  const int64_t last = least((chunk + 1) * plan.chunk, job.a.batch);
  for (int64_t first = chunk * plan.chunk; first < last; first += plan.tile) {
    const T* transposed = static_cast<const T*>(job.shared);
    forward_tile<T>({job.a, first, least(plan.tile, last - first), transposed}, s);
  }
}

template <class T>
void run_chunk(const Job<LayerGradArgs>& job, int64_t chunk, const BackwardScratch<T>& s) {
  const LayerGradArgs& a = job.a;
  const LayerPlan& plan = job.plan;
  const int64_t total = a.start_of(kLayerWeights);
  T* sums = chunk == 0 ? static_cast<T*>(a.grad_weights)
                       : static_cast<T*>(job.shared) + (chunk - 1) * total;
  const int64_t begin = chunk * plan.chunk, last = least(begin + plan.chunk, a.batch);
  for (int64_t first = begin; first < last; first += plan.tile) {
    const LayerTile<T> tile{a, first, least(plan.tile, last - first), nullptr};
    const WeightSums<T> to{a, sums, first == begin};
    feed_forward_gradient<T>(tile, {tile.at(a.grad_y, a.queries * a.dim), a.dim}, to, s);
    attention_gradient<T>(tile, {tile.at(a.grad_x, a.length * a.dim), a.dim}, to, s);
  }
}

template <class T, class Scratch, class Args>
void task(int64_t chunk, void* context) {
  auto& job = *static_cast<Job<Args>*>(context);
  Arena arena;
  {
    Scratch measured(arena, job.a, job.plan);
  }
  if (!arena.allocate()) {
    __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
    return;
  }
  run_chunk<T>(job, chunk, Scratch(arena, job.a, job.plan));
}

template <class T>
void transpose_weight(const LayerArgs& a, int weight, T* to) {
  constexpr int64_t kBlock = 16;
  const int64_t rows = a.outputs_of(weight), cols = a.inputs_of(weight);
  const T* from = static_cast<const T*>(a.weights[weight]);
  for (int64_t start = 0; start < rows; start += kBlock) {
    const int64_t end = least(start + kBlock, rows);
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = start; r < end; ++r) to[c * rows + r] = from[r * cols + c];
    }
  }
}

template <class T>
bool forward(const LayerArgs& a) {
  Arena arena;
  arena.take<T>(a.start_of(kLayerWeights));
  if (!arena.allocate()) return false;
  T* transposed = arena.take<T>(a.start_of(kLayerWeights));
  for (int weight = 0; weight < kLayerWeights; ++weight) {
    if (a.is_matrix(weight)) transpose_weight<T>(a, weight, transposed + a.start_of(weight));
  }
  Job<LayerArgs> job{a, LayerPlan(a), transposed, false};
  parallel_for(job.plan.chunks, a.threads, task<T, ForwardScratch<T>, LayerArgs>, &job);
  return !job.failed;
}

constexpr int64_t kSlice = 4096;

// A slice of the weights' gradients, over the chunks in order.
template <class T>
void sum_slice(int64_t slice, void* context) {
  const auto& job = *static_cast<const Job<LayerGradArgs>*>(context);
  const int64_t total = job.a.start_of(kLayerWeights);
  const int64_t begin = slice * kSlice, end = least(begin + kSlice, total);
  T* __restrict sums = static_cast<T*>(job.a.grad_weights);
  for (int64_t chunk = 1; chunk < job.plan.chunks; ++chunk) {
    const T* __restrict more = static_cast<const T*>(job.shared) + (chunk - 1) * total;
    for (int64_t i = begin; i < end; ++i) sums[i] += more[i];
  }
}

template <class T>
bool backward(const LayerGradArgs& a) {
  const LayerPlan plan(a);
  const int64_t total = a.start_of(kLayerWeights);
  if (plan.chunks == 0) {
    for (int64_t i = 0; i < total; ++i) static_cast<T*>(a.grad_weights)[i] = T(0);
    return true;
  }
  Arena arena;
  arena.take<T>((plan.chunks - 1) * total);
  if (!arena.allocate()) return false;
  Job<LayerGradArgs> job{a, plan, arena.take<T>((plan.chunks - 1) * total), false};
  parallel_for(plan.chunks, a.threads, task<T, BackwardScratch<T>, LayerGradArgs>, &job);
  if (job.failed) return false;
  if (plan.chunks > 1) parallel_for(ceil_div(total, kSlice), a.threads, sum_slice<T>, &job);
  return true;
}

}  // namespace

const LayerKernels layer = {forward<float>, forward<double>, backward<float>, backward<double>};

}  // namespace clmer::CLMER_LEVEL
