// Plan. A task owns up to kChunkRows queries of one head, or several small heads. It packs up to
// kBlockKeys of the keys that the mask leaves (K transposed and scaled, V row by row), and walks
// over its queries in tiles whose scores stay in L1: S = Q K^T, bias, softmax, O = P V. With more
// keys the softmax is the online one, O and the row statistics held in scratch. Masked keys are
// never read. The order of sums depends on shapes alone, never on threads.
// Roofline: 2 (D + Dv) flops and one exp a weight.
#include "attention_block.h"
#include "threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int64_t kChunkRows = 256;
constexpr int kTogether = kMaxVecs;  // rows of the softmax at once: 4 with 32 registers, else 2

template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float lowest = -3.402823466e38f;
};
template <>
struct Limits<double> {
  static constexpr double lowest = -1.7976931348623157e308;
};

template <class T>
struct ForwardScratch {
  int32_t* columns;
  Padded<T> key_t, value, scores, sum;
  T *top, *total, *corrections, *factors;

  ForwardScratch(Arena& arena, const AttentionArgs& a) {
    const int64_t block = padded<T>(least(a.keys, kBlockKeys)), wide = padded<T>(a.value_dim);
    const int64_t rows = padded<T>(least(a.rows, kChunkRows));
    columns = arena.take<int32_t>(a.keys + 1);
    key_t = {arena.take<T>(a.dim * block), block};
    value = {arena.take<T>(block * wide), wide};
    scores = {arena.take<T>(tile_rows<T>(a.keys) * block), block};
    sum = {arena.take<T>(rows * wide), wide};
    top = arena.take<T>(rows);
    total = arena.take<T>(rows);
    corrections = arena.take<T>(tile_rows<T>(a.keys));
    factors = arena.take<T>(block);
  }
};

// kRows rows of scores to exp(score - top), their statistics brought up to date, and what earlier
// blocks' sums are to be multiplied with. Several rows at once hide the chains of the reductions.
template <class T, int kRows>
void softmax_rows(Padded<T> scores, int64_t count, T* top, T* total, T* corrections) {
  constexpr int kWide = kLanes<T>;
  const int64_t last = (count - 1) / kWide * kWide;
  const auto valid = lane_numbers<T>() < static_cast<int>(count - last);
  Vec<T> highest[kRows], shift[kRows], sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    T* row = scores.data + r * scores.stride;
    const Vec<T> end = valid ? load(row + last) : splat(-T(__builtin_inf()));
    store(row + last, end);
    highest[r] = max<T>(end, splat(top[r]));
    for (int64_t c = 0; c < last; c += kWide) highest[r] = max<T>(load(row + c), highest[r]);
  }
  T before[kRows];
  for (int r = 0; r < kRows; ++r) {
    before[r] = top[r];
    top[r] = reduce_max<T>(highest[r]);
    shift[r] = splat(top[r]);
    sum[r] = Vec<T>{};
  }
  for (int64_t c = 0; c <= last; c += kWide) {
    for (int r = 0; r < kRows; ++r) {
      T* at = scores.data + r * scores.stride + c;
      const Vec<T> weight = exp<T>(load(at) - shift[r]);
      store(at, weight);
      sum[r] += weight;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    corrections[r] = total[r] == T(0) ? T(0) : exp<T>(splat(before[r] - top[r]))[0];
    total[r] = total[r] * corrections[r] + reduce_sum<T>(sum[r]);
  }
}

template <class T>
struct ForwardRows {
  const AttentionArgs& a;
  const Head& head;
  int64_t first, count;  // queries
  ForwardScratch<T>& s;
};

template <class T>
void forward_tile(const ForwardRows<T>& f, int64_t start, int64_t rows, const int32_t* columns,
                  int64_t count, bool first_block) {
  const AttentionArgs& a = f.a;
  const ForwardScratch<T>& s = f.s;
  const T* query = slice<T>(a, a.query, f.head) + (f.first + start) * a.query.row;
  product<T>(rows, count, a.dim, {query, a.query.row, a.query.col}, {s.key_t.data, s.key_t.stride},
             s.scores, false);
  const T* bias = a.bias.data ? slice<T>(a, a.bias, f.head) : nullptr;
  if (bias) {
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = bias + (f.first + start + r) * a.bias.row;
      add_bias(row, a.bias.col, columns, count, s.scores.data + r * s.scores.stride);
    }
  }
  for (int64_t r = 0; r < rows;) {
    const Padded<T> scores{s.scores.data + r * s.scores.stride, s.scores.stride};
    T *top = s.top + start + r, *total = s.total + start + r, *corrections = s.corrections + r;
    if (rows - r >= kTogether) {
      softmax_rows<T, kTogether>(scores, count, top, total, corrections);
      r += kTogether;
    } else {
      softmax_rows<T, 1>(scores, count, top, total, corrections);
      ++r;
    }
  }
  for (int64_t r = 0; r < rows && !first_block; ++r) {
    T* sum = s.sum.data + (start + r) * s.sum.stride;
    for (int64_t d = 0; d < s.sum.stride; ++d) sum[d] *= s.corrections[r];
  }
  for (int64_t r = 0; r < rows && a.seed; ++r) {
    T* scores = s.scores.data + r * s.scores.stride;
    const DropoutRow key = dropout_row(*a.seed, f.head.number * a.rows + f.first + start + r);
    dropout_factors(key, a.dropout_p, columns, count, s.factors);
    for (int64_t c = 0; c < count; ++c) scores[c] *= s.factors[c];
  }
  product<T>(rows, a.value_dim, count, {s.scores.data, s.scores.stride, 1},
             {s.value.data, s.value.stride}, {s.sum.data + start * s.sum.stride, s.sum.stride},
             !first_block);
}

template <class T>
void finish_rows(const ForwardRows<T>& f) {
  const AttentionArgs& a = f.a;
  const ForwardScratch<T>& s = f.s;
  const int64_t origin = f.head.number * a.rows + f.first;
  T* out = static_cast<T*>(a.out) + origin * a.value_dim;
  T* lse = static_cast<T*>(a.lse) + origin;
  for (int64_t r = 0; r < f.count; r += kLanes<T>) {
    const Vec<T> total = load(s.total + r);
    const Vec<T> value = load(s.top + r) + log<T>(total);
    const Vec<T> known = total == T(0) ? splat(T(__builtin_inf())) : total == total ? value : total;
    const int64_t lanes = least(kLanes<T>, f.count - r);
    for (int64_t i = 0; i < lanes; ++i) lse[r + i] = known[i];
  }
  for (int64_t r = 0; r < f.count; ++r) {
    const T inverse = s.total[r] == T(0) ? T(0) : T(1) / s.total[r];
    // Rows are written in order, so that the next ones overwrite what a vector leaves behind.
    scale_row<T>(s.sum.data + r * s.sum.stride, a.value_dim, (f.count - r) * a.value_dim, inverse,
                 out + r * a.value_dim);
  }
}

template <class T>
void forward_rows(const ForwardRows<T>& f) {
  const AttentionArgs& a = f.a;
  const ForwardScratch<T>& s = f.s;
  const int64_t rows = padded<T>(f.count);
  for (int64_t r = 0; r < rows; ++r) {
    s.top[r] = Limits<T>::lowest;
    s.total[r] = T(0);
  }
  const int64_t left = keys_left(a, f.head, s.columns);
  const int64_t blocks = (left + kBlockKeys - 1) / kBlockKeys;
  if (left == 0) {
    for (int64_t i = 0; i < f.count * s.sum.stride; ++i) s.sum.data[i] = T(0);
  }
  const T* key = slice<T>(a, a.key, f.head);
  const T* value = slice<T>(a, a.value, f.head);
  const int64_t tile = tile_rows<T>(a.keys);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t from = left * b / blocks, count = left * (b + 1) / blocks - from;
    const int32_t* columns = s.columns + from;
    const Padded<T> key_t{s.key_t.data, padded<T>(count)};
    pack_transposed(key, a.key, a.keys, columns, count, a.dim, T(a.scale), key_t);
    pack_rows(value, a.value, a.keys, columns, count, a.value_dim, T(1), s.value);
    f.s.key_t = key_t;
    f.s.scores.stride = key_t.stride;
    for (int64_t r = 0; r < f.count; r += tile) {
      forward_tile(f, r, least(tile, f.count - r), columns, count, b == 0);
    }
  }
  finish_rows(f);
}

template <class T>
struct Job {
  const AttentionArgs& args;
  int64_t per_task, chunks;
  bool failed;
};

template <class T>
void forward_task(int64_t task, void* context) {
  Job<T>& job = *static_cast<Job<T>*>(context);
  const AttentionArgs& a = job.args;
  Arena arena;
  {
    ForwardScratch<T> measured(arena, a);
  }
  if (!arena.allocate()) {
    job.failed = true;
    return;
  }
  ForwardScratch<T> scratch(arena, a);
  const int64_t first = task / job.chunks * job.per_task, chunk = task % job.chunks;
  for (int64_t h = first; h < least(first + job.per_task, a.heads); ++h) {
    const Head head = head_at(a, h);
    const int64_t row = chunk * kChunkRows;
    forward_rows<T>({a, head, row, least(kChunkRows, a.rows - row), scratch});
  }
}

template <class T>
bool forward(const AttentionArgs& a) {
  const int64_t per_task = heads_per_task(a);
  Job<T> job{a, per_task, (a.rows + kChunkRows - 1) / kChunkRows, false};
  const int64_t tasks = (a.heads + per_task - 1) / per_task * job.chunks;
  parallel_for(tasks, usable_threads(a), forward_task<T>, &job);
  return !job.failed;
}

}  // namespace

const AttentionKernels attention = {forward<float>, forward<double>};

}  // namespace clmer::CLMER_LEVEL
