// Plan. A task owns whole heads, or a part of the keys of a long one. P is recomputed from the
// scores and the stored log-sum-exp, so that no row needs a reduction; five products per tile of
// queries: S^T, dP^T, dV, dK, dQ. dK and dV of a block of keys are summed over the tiles, dQ over
// the blocks, and over the parts where there are several. Keys hidden from the whole head are never
// read. The order of sums depends on shapes alone: partial sums of dQ and of the bias gradient are
// fixed in number. Roofline: 2 (3 D + 2 Dv) flops and one exp a weight.
#include "attention/cpu_backward_tile.h"
#include "common/threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

// A result can take the sums themselves if it has their type.
template <class T, class S>
Padded<T> in_place(S* to, int64_t row_stride, Padded<T> scratch) {
  if constexpr (kSame<T, S>) {
    return {to, row_stride};
  } else {
    return scratch;
  }
}

template <class T, class S>
void write_rows(Padded<T> from, const int32_t* columns, int64_t count, int64_t cols, S* to,
                int64_t row_stride) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < cols; d += kLanes<T>) {
      store_part(to + columns[i] * row_stride + d, load(from.data + i * from.stride + d), cols - d);
    }
  }
}

template <class T, class S>
void backward_block(const BackwardHead<T, S>& h, const int32_t* columns, int64_t count,
                    const int32_t* queries, const Sums<T>& grad_query, bool first) {
  const AttentionGradArgs& a = h.a;
  BackwardScratch<T>& s = h.s;
  S* grad_key = slice<S>(a, a.grad_key, h.head);
  S* grad_value = slice<S>(a, a.grad_value, h.head);
  const int64_t tile = tile_rows<T>(a, a.rows);
  const int32_t* index = adjacent(columns, count) ? nullptr : columns;
  KeyBlock<T> b{columns, count, {}, {}, s.grad_key, s.grad_value, grad_query, first};
  const auto key = h.template rows_of<S>(a.key, a.dim, index, columns[0]);
  const auto value = h.template rows_of<S>(a.value, a.value_dim, index, columns[0]);
  b.key = operand<T>(key, count, !grad_query.transposed, s.key);
  if (s.weights.across) {
    const int64_t lanes = padded<T>(count);
    s.packed_left.stride = s.packed_right.stride = lanes;
    s.weights.stride = s.grad_weights.stride = lanes;
    pack_transposed(key, count, T(a.scale), s.packed_left);
    pack_transposed(value, count, T(1), s.packed_right);
  } else {
    s.weights.stride = s.grad_weights.stride = tile;
    b.value = operand<T>(value, count, false, s.value);
  }
  if (!index) {
    b.grad_key = in_place(grad_key + columns[0] * a.grad_key.row, a.grad_key.row, s.grad_key);
    b.grad_value =
        in_place(grad_value + columns[0] * a.grad_value.row, a.grad_value.row, s.grad_value);
  }
  // From the last tile on, which under a causal mask sees the most keys and begins all their sums.
  int64_t begun = 0;
  const auto begin_until = [&](int64_t end) {
    const auto clear = [&](Padded<T> sums, int64_t cols) {
      fill_zero(sums.data + begun * sums.stride, end - begun, sums.stride, cols);
    };
    clear(b.grad_key, a.dim);
    clear(b.grad_value, a.value_dim);
  };
  for (int64_t r = (a.rows - 1) / tile * tile; r >= 0; r -= tile) {
    const int64_t rows = least(tile, a.rows - r);
    const int64_t seen = keys_before(columns, count, h.left->end(r, rows));
    if (seen == 0) {
      if (first) grad_query.clear(r, rows);
      continue;
    }
    if (begun && seen > begun) begin_until(seen);
    backward_tile(h, b, queries, r, rows, seen, begun > 0);
    begun = most(begun, seen);
  }
  if (begun < count) begin_until(count);  // a bias of -inf hid them
  if (b.grad_key.data == s.grad_key.data) {
    write_rows(b.grad_key, columns, count, a.dim, grad_key, a.grad_key.row);
  }
  if (b.grad_value.data == s.grad_value.data) {
    write_rows(b.grad_value, columns, count, a.value_dim, grad_value, a.grad_value.row);
  }
}

// The whole head, or one part of its keys: dK and dV of these, and their share of dQ.
template <class T, class S>
void backward_head(BackwardHead<T, S> h) {
  const AttentionGradArgs& a = h.a;
  BackwardScratch<T>& s = h.s;
  const Visible left = look<T>(a, h.head, 0, a.rows, s.sight);
  h.left = &left;
  s.terms.update(a, h.head, a.rows, s.sight);
  const int64_t first = left.count * h.part / h.parts, end = left.count * (h.part + 1) / h.parts;
  if (left.count < a.keys || a.rows == 0) {
    // From this part's first key to the next part's, hidden ones included: no other task's rows.
    const int64_t from = h.part == 0 ? 0 : first < left.count ? left.keys[first] : a.keys;
    const int64_t to = end < left.count ? left.keys[end] : a.keys;
    const auto clear = [&](const Strided& grad, int64_t cols) {
      fill_zero(slice<S>(a, grad, h.head) + from * grad.row, to - from, grad.row, cols);
    };
    clear(a.grad_key, a.dim);
    clear(a.grad_value, a.value_dim);
  }
  S* grad_query = slice<S>(a, a.grad_query, h.head);
  T* partial = h.partial ? h.partial + h.head.number * a.rows * a.dim : nullptr;
  const auto clear_rows = [&](int64_t row, int64_t rows) {
    if (partial) return fill_zero(partial + row * a.dim, rows, a.dim, a.dim);
    fill_zero(grad_query + row * a.grad_query.row, rows, a.grad_query.row, a.dim);
  };
  if (first == end || a.rows == 0) return clear_rows(0, a.rows);
  output_dots(h);
  const int32_t* queries = copy_statistics(h);
  Sums<T> sums = Sums<T>::make(s.grad_query, a.rows, a.dim, s.weights.across);
  const Padded<T> scratch{sums.data, sums.stride};
  if (!sums.transposed) {
    const Padded<T> to =
        partial ? Padded<T>{partial, a.dim} : in_place(grad_query, a.grad_query.row, scratch);
    sums.data = to.data;
    sums.stride = to.stride;
    sums.whole = to.data == scratch.data;
  }
  const int64_t blocks = ceil_div(end - first, kBlockKeys);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t from = first + (end - first) * b / blocks;
    const int64_t to = first + (end - first) * (b + 1) / blocks;
    backward_block(h, left.keys + from, to - from, queries, sums, b == 0);
  }
  if (sums.data == scratch.data) {
    partial ? sums.write(a.rows, nullptr, partial, a.dim)
            : sums.write(a.rows, nullptr, grad_query, a.grad_query.row);
  }
  for (int64_t r = 0; queries && r < a.rows; ++r) {
    if (queries[r] < 0) clear_rows(r, 1);
  }
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

// Few long heads are cut along their keys, by shape alone, so that there is work for 16 cores. Not
// where all keys share one gradient of the bias.
int64_t key_parts(const AttentionGradArgs& a) {
  if (a.grad_bias.data && a.grad_bias.col == 0) return 1;
  const int64_t wanted = a.heads ? 16 / a.heads : 1;
  return most(1, least(wanted, ceil_div(a.keys, kBlockKeys)));
}

struct GradJob {
  const AttentionGradArgs& args;
  int64_t per_task, parts;
  Groups groups;
  void* partial;
  bool small, failed;
};

template <class T, class S>
void backward_task(int64_t task, void* context) {
  GradJob& job = *static_cast<GradJob*>(context);
  const AttentionGradArgs& a = job.args;
  Arena arena;
  {
    BackwardScratch<T> measured(arena, a);
  }
  if (!arena.allocate()) {
    __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
    return;
  }
  BackwardScratch<T> scratch(arena, a);
  const int64_t part = task % job.parts;
  task /= job.parts;
  T* partial = static_cast<T*>(job.partial);
  if (partial) partial += part * a.heads * a.rows * a.dim;
  if (!a.grad_bias.data) {
    const int64_t first = task * job.per_task;
    const int64_t last = least(first + job.per_task, a.heads);
    for (int64_t n = first; n < last; ++n) {
      const Head head = head_at(a, n);
      Ahead ahead;
      if (n + 1 < last && job.small) {
        const Head next = head_at(a, n + 1);
        add_ahead<S>(a, a.out, next, a.rows, a.value_dim, &ahead);
        add_ahead<S>(a, a.grad_out, next, a.rows, a.value_dim, &ahead);
        add_ahead<S>(a, a.query, next, a.rows, a.dim, &ahead);
        add_ahead<S>(a, a.key, next, a.keys, a.dim, &ahead);
        add_ahead<S>(a, a.value, next, a.keys, a.value_dim, &ahead);
        add_ahead<S>(a, a.grad_query, next, a.rows, a.dim, &ahead);
        add_ahead<S>(a, a.grad_key, next, a.keys, a.dim, &ahead);
        add_ahead<S>(a, a.grad_value, next, a.keys, a.value_dim, &ahead);
        ahead.spread(a.rows * a.keys * (3 * a.dim + 2 * a.value_dim));
      }
      backward_head<T, S>({a, head, scratch, nullptr, partial, part, job.parts, nullptr, ahead});
    }
    return;
  }
  const int64_t group = task / a.parts, bias_part = task % a.parts, members = job.groups.members;
  for (int64_t m = members * bias_part / a.parts; m < members * (bias_part + 1) / a.parts; ++m) {
    const Head head = member_at(a, group, m);
    T* grad_bias = slice<T>(a, a.grad_bias, head) + bias_part * a.part_stride;
    Ahead ahead;
    backward_head<T, S>({a, head, scratch, grad_bias, partial, part, job.parts, nullptr, ahead});
  }
}

// dQ of one head: its parts in order.
template <class T, class S>
void add_parts(int64_t n, void* context) {
  const GradJob& job = *static_cast<GradJob*>(context);
  const AttentionGradArgs& a = job.args;
  const int64_t size = a.rows * a.dim;
  const T* partial = static_cast<const T*>(job.partial) + n * size;
  S* to = slice<S>(a, a.grad_query, head_at(a, n));
  for (int64_t r = 0; r < a.rows; ++r, partial += a.dim, to += a.grad_query.row) {
    for (int64_t d = 0; d < a.dim; d += kLanes<T>) {
      Vec<T> sum = {};
      for (int64_t p = 0; p < job.parts; ++p) {
        sum += load_part(partial + p * a.heads * size + d, a.dim - d);
      }
      store_part(to + d, sum, a.dim - d);
    }
  }
}

template <class T, class S>
bool backward(const AttentionGradArgs& a) {
  const int64_t parts = key_parts(a), per_task = heads_per_task(a);
  const int64_t bytes = (2 * a.rows + a.keys) * (a.dim + a.value_dim) * int64_t(sizeof(S));
  GradJob job{a, per_task, parts, bias_groups(a), nullptr, bytes <= kAheadBytes, false};
  Arena arena;
  if (parts > 1) {
    const int64_t size = parts * a.heads * a.rows * a.dim;
    arena.take<T>(size);
    if (!arena.allocate()) return false;
    job.partial = arena.take<T>(size);
  }
  const int64_t tasks =
      a.grad_bias.data ? (a.heads ? job.groups.groups * a.parts : 0) : ceil_div(a.heads, per_task);
  parallel_for(tasks * parts, usable_threads(a), backward_task<T, S>, &job);
  if (parts > 1 && !job.failed) {
    parallel_for(a.heads, usable_threads(a), add_parts<T, S>, &job);
  }
  return !job.failed;
}

}  // namespace

const AttentionGradKernels attention_backward = {backward<float, float>, backward<double, double>,
                                                 backward<float, BFloat16>,
                                                 backward<float, Float16>};

}  // namespace clmer::CLMER_LEVEL
