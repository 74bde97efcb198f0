// Plan. A task owns whole heads. P is recomputed from the scores and the stored log-sum-exp, so
// that no row needs a reduction; five products a tile of queries: S, dP, dV, dK, dQ. dK and dV of a
// block of keys are summed over the tiles, dQ over the blocks. Masked keys are never read. The
// order of sums depends on shapes alone: the bias gradient has a fixed number of partial sums.
// Roofline: 2 (3 D + 2 Dv) flops and one exp a weight.
#include "attention_block.h"
#include "threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

template <class T>
struct BackwardScratch {
  int32_t* columns;
  Padded<T> key_t, key, value_t;                     // a block of keys
  Padded<T> query, grad_out, weights, grad_weights;  // a tile of queries
  Padded<T> grad_key, grad_value, grad_query;  // sums: of the block, of the block, of the head
  T *delta, *factors;

  BackwardScratch(Arena& arena, const AttentionArgs& a) {
    const int64_t block = padded<T>(least(a.keys, kBlockKeys)), tile = tile_rows<T>(a.keys);
    const int64_t dim = padded<T>(a.dim), wide = padded<T>(a.value_dim);
    columns = arena.take<int32_t>(a.keys + 1);
    key_t = {arena.take<T>(a.dim * block), block};
    key = {arena.take<T>(block * dim), dim};
    value_t = {arena.take<T>(a.value_dim * block), block};
    query = {arena.take<T>(tile * dim), dim};
    grad_out = {arena.take<T>(tile * wide), wide};
    weights = {arena.take<T>(tile * block), block};
    grad_weights = {arena.take<T>(tile * block), block};
    grad_key = {arena.take<T>(block * dim), dim};
    grad_value = {arena.take<T>(block * wide), wide};
    grad_query = {arena.take<T>(a.rows * dim), dim};
    delta = arena.take<T>(a.rows);
    factors = arena.take<T>(block);
  }
};

template <class T>
struct BackwardHead {
  const AttentionGradArgs& a;
  const Head& head;
  BackwardScratch<T>& s;
  T* grad_bias;  // this head's slice of its part, or null
};

// P, the dropped P that made O, and dS of one row; weights holds scores and grad_weights O's
// gradient times V^T on entry, dropped P and dS on return.
template <class T>
void weights_row(T* weights, T* grad_weights, int64_t count, T lse, T delta, const T* factors) {
  for (int64_t c = 0; c < count; c += kLanes<T>) {
    const Vec<T> weight = exp<T>(load(weights + c) - splat(lse));
    const Vec<T> grad = load(grad_weights + c);
    if (factors) {
      const Vec<T> factor = load(factors + c);
      store(weights + c, weight * factor);
      store(grad_weights + c, weight * (grad * factor - splat(delta)));
    } else {
      store(weights + c, weight);
      store(grad_weights + c, weight * (grad - splat(delta)));
    }
  }
}

template <class T>
void backward_tile(const BackwardHead<T>& h, int64_t start, int64_t rows, const int32_t* columns,
                   int64_t count, bool first_block) {
  const AttentionGradArgs& a = h.a;
  const BackwardScratch<T>& s = h.s;
  const T* query = slice<T>(a, a.query, h.head) + start * a.query.row;
  const T* grad_out = slice<T>(a, a.grad_out, h.head) + start * a.grad_out.row;
  const T* lse = static_cast<const T*>(a.lse) + h.head.number * a.rows + start;
  const T* bias = a.bias.data ? slice<T>(a, a.bias, h.head) + start * a.bias.row : nullptr;
  pack_rows<T>(query, a.query, a.rows - start, nullptr, rows, a.dim, T(1), s.query);
  pack_rows<T>(grad_out, a.grad_out, a.rows - start, nullptr, rows, a.value_dim, T(1), s.grad_out);
  product<T>(rows, count, a.dim, {s.query.data, s.query.stride, 1}, {s.key_t.data, s.key_t.stride},
             s.weights, false);
  product<T>(rows, count, a.value_dim, {s.grad_out.data, s.grad_out.stride, 1},
             {s.value_t.data, s.value_t.stride}, s.grad_weights, false);
  for (int64_t r = 0; r < rows; ++r) {
    T* weights = s.weights.data + r * s.weights.stride;
    T* grad_weights = s.grad_weights.data + r * s.grad_weights.stride;
    if (bias) add_bias(bias + r * a.bias.row, a.bias.col, columns, count, weights);
    if (a.seed) {
      const DropoutRow key = dropout_row(*a.seed, h.head.number * a.rows + start + r);
      dropout_factors(key, a.dropout_p, columns, count, s.factors);
    }
    weights_row<T>(weights, grad_weights, count, lse[r], s.delta[start + r],
                   a.seed ? s.factors : nullptr);
    if (h.grad_bias) {
      T* grad_bias = h.grad_bias + (start + r) * a.grad_bias.row;
      for (int64_t c = 0; c < count; ++c)
        grad_bias[columns[c] * a.grad_bias.col] += grad_weights[c];
    }
  }
  product<T>(count, a.value_dim, rows, {s.weights.data, 1, s.weights.stride},
             {s.grad_out.data, s.grad_out.stride}, s.grad_value, start > 0);
  product<T>(count, a.dim, rows, {s.grad_weights.data, 1, s.grad_weights.stride},
             {s.query.data, s.query.stride}, s.grad_key, start > 0);
  product<T>(rows, a.dim, count, {s.grad_weights.data, s.grad_weights.stride, 1},
             {s.key.data, s.key.stride},
             {s.grad_query.data + start * s.grad_query.stride, s.grad_query.stride}, !first_block);
}

// delta = sum over channels of dO * O: what softmax's gradient subtracts, dropout or not.
template <class T>
void output_dots(const BackwardHead<T>& h) {
  const AttentionGradArgs& a = h.a;
  const T* out = static_cast<const T*>(a.out) + h.head.number * a.rows * a.value_dim;
  const T* grad_out = slice<T>(a, a.grad_out, h.head);
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* x = out + r * a.value_dim;
    const T* y = grad_out + r * a.grad_out.row;
    T dot = 0;
    int64_t d = 0;
    if (a.grad_out.col == 1) {
      Vec<T> sum = {};
      for (; d + kLanes<T> <= a.value_dim; d += kLanes<T>) sum += load(x + d) * load(y + d);
      dot = reduce_sum<T>(sum);
    }
    for (; d < a.value_dim; ++d) dot += x[d] * y[d * a.grad_out.col];
    h.s.delta[r] = dot;
  }
}

// Without index the rows are all there are, in order: the next ones overwrite what a vector leaves.
template <class T>
void write_rows(Padded<const T> x, int64_t count, int64_t cols, const int32_t* index, T factor,
                T* to) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t room = index ? cols : (count - i) * cols;
    scale_row<T>(x.data + i * x.stride, cols, room, factor, to + (index ? index[i] : i) * cols);
  }
}

template <class T>
void fill_zero(T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = T(0);
}

template <class T>
void backward_head(const BackwardHead<T>& h) {
  const AttentionGradArgs& a = h.a;
  BackwardScratch<T>& s = h.s;
  const int64_t n = h.head.number;
  T* grad_query = static_cast<T*>(a.grad_query) + n * a.rows * a.dim;
  T* grad_key = static_cast<T*>(a.grad_key) + n * a.keys * a.dim;
  T* grad_value = static_cast<T*>(a.grad_value) + n * a.keys * a.value_dim;
  const int64_t left = keys_left(a, h.head, s.columns);
  if (left < a.keys || a.rows == 0) {
    fill_zero(grad_key, a.keys * a.dim);
    fill_zero(grad_value, a.keys * a.value_dim);
  }
  if (left == 0) fill_zero(grad_query, a.rows * a.dim);
  if (left == 0 || a.rows == 0) return;
  output_dots(h);
  const T* key = slice<T>(a, a.key, h.head);
  const T* value = slice<T>(a, a.value, h.head);
  const int64_t blocks = (left + kBlockKeys - 1) / kBlockKeys, tile = tile_rows<T>(a.keys);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t from = left * b / blocks, count = left * (b + 1) / blocks - from;
    const int32_t* columns = s.columns + from;
    s.key_t.stride = s.value_t.stride = s.weights.stride = s.grad_weights.stride = padded<T>(count);
    pack_transposed(key, a.key, a.keys, columns, count, a.dim, T(a.scale), s.key_t);
    pack_transposed(value, a.value, a.keys, columns, count, a.value_dim, T(1), s.value_t);
    pack_rows(key, a.key, a.keys, columns, count, a.dim, T(a.scale), s.key);
    for (int64_t r = 0; r < a.rows; r += tile) {
      backward_tile(h, r, least(tile, a.rows - r), columns, count, b == 0);
    }
    // All keys left and in one block: their gradients are the whole matrix.
    const int32_t* index = count == a.keys ? nullptr : columns;
    write_rows<T>({s.grad_key.data, s.grad_key.stride}, count, a.dim, index, T(a.scale), grad_key);
    write_rows<T>({s.grad_value.data, s.grad_value.stride}, count, a.value_dim, index, T(1),
                  grad_value);
  }
  write_rows<T>({s.grad_query.data, s.grad_query.stride}, a.rows, a.dim, nullptr, T(1), grad_query);
}

// Heads are walked group by group: a group shares one slice of the bias, and is cut into `parts`,
// each with its own partial sum of the bias gradient.
struct Groups {
  int64_t groups, members;
};

Groups bias_groups(const AttentionGradArgs& a) {
  Groups g{1, 1};
  for (int d = 0; d < a.lead_dims; ++d) {
    (a.grad_bias.lead[d] ? g.groups : g.members) *= a.lead[d];
  }
  return g;
}

Head member_at(const AttentionGradArgs& a, int64_t group, int64_t member) {
  Head head;
  for (int d = a.lead_dims - 1; d >= 0; --d) {
    int64_t& rest = a.grad_bias.lead[d] ? group : member;
    head.index[d] = rest % a.lead[d];
    rest /= a.lead[d];
  }
  for (int d = 0; d < a.lead_dims; ++d) head.number = head.number * a.lead[d] + head.index[d];
  return head;
}

template <class T>
struct GradJob {
  const AttentionGradArgs& args;
  int64_t per_task;
  Groups groups;
  bool failed;
};

template <class T>
void backward_task(int64_t task, void* context) {
  GradJob<T>& job = *static_cast<GradJob<T>*>(context);
  const AttentionGradArgs& a = job.args;
  Arena arena;
  {
    BackwardScratch<T> measured(arena, a);
  }
  if (!arena.allocate()) {
    job.failed = true;
    return;
  }
  BackwardScratch<T> scratch(arena, a);
  if (!a.grad_bias.data) {
    const int64_t first = task * job.per_task;
    for (int64_t n = first; n < least(first + job.per_task, a.heads); ++n) {
      const Head head = head_at(a, n);
      backward_head<T>({a, head, scratch, nullptr});
    }
    return;
  }
  const int64_t group = task / a.parts, part = task % a.parts, members = job.groups.members;
  for (int64_t m = members * part / a.parts; m < members * (part + 1) / a.parts; ++m) {
    const Head head = member_at(a, group, m);
    T* grad_bias = slice<T>(a, a.grad_bias, head) + part * a.part_stride;
    backward_head<T>({a, head, scratch, grad_bias});
  }
}

template <class T>
bool backward(const AttentionGradArgs& a) {
  const int64_t per_task = heads_per_task(a);
  GradJob<T> job{a, per_task, bias_groups(a), false};
  const int64_t tasks = a.grad_bias.data ? (a.heads ? job.groups.groups * a.parts : 0)
                                         : (a.heads + per_task - 1) / per_task;
  parallel_for(tasks, usable_threads(a), backward_task<T>, &job);
  return !job.failed;
}

}  // namespace

const AttentionGradKernels attention_backward = {backward<float>, backward<double>};

}  // namespace clmer::CLMER_LEVEL
