// Plan. A task owns up to kChunkRows queries of one head, or several small heads; it packs Q^T once
// (or K^T, where keys lie across the lanes) and walks over the keys that the masks leave in blocks,
// and over its queries in tiles whose scores stay in L1: S^T = K Q^T, bias, softmax down the
// columns, O = P V. With more than a block of keys the softmax is the online one, O and the
// statistics held in scratch. K and V are read in place where type, strides and masks allow. The
// order of sums depends on shapes alone, never on threads. The weights are divided by their total
// at the end; where that gave a number that is not finite, the rows are done again with weights too
// small to overflow a sum. Roofline: 2 (D + Dv) flops and one exp a weight; Q, K, V read and O
// written once a chunk.
#include "attention/cpu_block.h"
#include "attention/cpu_softmax.h"
#include "attention/cpu_terms.h"
#include "common/threads.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int64_t kChunkRows = 128;

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
  Sight sight;
  SharedTerms<T> terms;
  Padded<T> packed, query, key, value;  // `packed`: the transposed factor of S
  Scores<T> scores;
  Sums<T> sums;
  T *top, *total, *corrections, *factors;

  ForwardScratch(Arena& arena, const AttentionArgs& a)
      : sight(arena, a, least(a.rows, kChunkRows)), terms(arena, a) {
    const int64_t chunk = least(a.rows, kChunkRows), rows = padded<T>(chunk);
    const int64_t block = least(a.keys, kBlockKeys), tile = least(rows, tile_limit<T>(a.keys));
    const bool across = keys_across<T>(a);
    const int64_t dim = padded<T>(a.dim), wide = padded<T>(a.value_dim), keys = padded<T>(block);
    packed = {arena.take<T>(a.dim * (across ? keys : rows)), across ? keys : rows};
    query = {arena.take<T>(across ? rows * dim : 0), dim};
    key = {arena.take<T>(across ? 0 : block * dim), dim};
    value = {arena.take<T>(block * wide), wide};
    scores = {arena.take<T>(across ? chunk * keys : block * tile), across ? keys : tile, across};
    sums.data = arena.take<T>(Sums<T>::size(chunk, a.value_dim));
    top = arena.take<T>(rows);
    total = arena.take<T>(rows);
    corrections = arena.take<T>(rows);
    factors = arena.take<T>(rows);
  }
};

template <class T>
struct KeyBlock {
  const int32_t* columns;
  int64_t count;
  Operand<T> key, value;  // the key's transpose is packed where keys lie across the lanes
  bool first;
};

template <class T>
void shrink_weights(const Scores<T>& scores, int64_t rows, int64_t count, T shrink) {
  const int64_t lines = scores.across ? rows : count,
                width = padded<T>(scores.across ? count : rows);
  for (int64_t i = 0; i < lines; ++i) {
    T* line = scores.data + i * scores.stride;
    for (int64_t c = 0; c < width; c += kLanes<T>) store(line + c, load(line + c) * shrink);
  }
}

// S of a tile, bias and masks included.
template <class T>
void score_tile(const Tile& t, const ForwardScratch<T>& s, int64_t start, const KeyBlock<T>& b,
                const Operand<T>& query) {
  const Padded<T> to = {s.scores.data, s.scores.stride};
  if (s.scores.across) {
    product<T>(t.rows, padded<T>(t.count), t.a.dim, query.left, {s.packed.data, s.packed.stride},
               to, false);
  } else {
    product<T>(t.count, padded<T>(t.rows), t.a.dim, b.key.left,
               {s.packed.data + start, s.packed.stride}, to, false);
  }
  add_terms(t, s.scores, s.terms);
  hide_later(t, s.scores);
}

template <class T>
void forward_tile(const Tile& t, const ForwardScratch<T>& s, int64_t start, const KeyBlock<T>& b,
                  const Operand<T>& query, T shrink, Ahead& ahead) {
  const int64_t third = ceil_div(t.rows * t.count, 3);
  score_tile(t, s, start, b, query);
  ahead.advance(third);
  softmax(s.scores, t.rows, t.count, s.top + start, s.total + start, s.corrections);
  ahead.advance(third);
  if (!b.first) s.sums.scale(start, t.rows, s.corrections);
  if (t.a.seed) drop(t, s.scores);
  if (shrink != T(1)) shrink_weights(s.scores, t.rows, t.count, shrink);
  s.sums.add(start, t.rows, t.count, s.scores, b.value, !b.first);
  ahead.advance(third);
}

// The log-sum-exp, and in `factors` what the sums of weights times `shrink` are to be multiplied
// with.
template <class T>
void finish_statistics(const ForwardScratch<T>& s, int64_t start, int64_t rows, T shrink, T* lse) {
  for (int64_t r = start; r < start + rows; r += kLanes<T>) {
    const Vec<T> total = load(s.total + r);
    const Vec<T> value = load(s.top + r) + log<T>(total);
    const Vec<T> known = total == T(0) ? splat(T(__builtin_inf())) : total == total ? value : total;
    if (lse) store_part(lse + r, known, start + rows - r);
    store(s.factors + r, total == T(0) ? Vec<T>{} : T(1) / shrink / total);
  }
}

// The weights of a tile that was scored once more, the statistics being known: as forward_tile left
// them, not yet divided by their totals.
template <class T>
void weigh_tile(const Tile& t, const ForwardScratch<T>& s, int64_t start) {
  const bool across = s.scores.across;
  const int64_t lines = across ? t.rows : t.count, width = padded<T>(across ? t.count : t.rows);
  for (int64_t i = 0; i < lines; ++i) {
    T* line = s.scores.data + i * s.scores.stride;
    for (int64_t c = 0; c < width; c += kLanes<T>) {
      const Vec<T> top = across ? splat(s.top[start + i]) : load(s.top + start + c);
      store(line + c, exp<T>(load(line + c) - top));
    }
  }
  if (t.a.seed) drop(t, s.scores);
}

// Zeros where the weights of these queries will be added: by the first of the heads that share.
template <class T>
void clear_weights(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows) {
  const int last = a.lead_dims - 1;
  const bool shared = last >= 0 && a.weights.lead[last] == 0;
  if (shared && head.index[last] > 0) return;
  T* to = slice<T>(a, a.weights, head) + first * a.weights.row;
  fill_zero(to, rows, a.weights.row, a.keys);
}

// The keys that the masks leave, walked over block by block, and the queries tile by tile.
template <class T, class S>
class Walk {
 public:
  Walk(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows, const Visible& left,
       ForwardScratch<T>& s)
      : a_(a), head_(head), first_(first), rows_(rows), left_(left), s_(s) {
    const bool across = s.scores.across;
    const Rows<S> query{
        slice<S>(a, a.query, head), a.query.row, a.query.col, a.dim, left.queries, first};
    if (left.count && across) query_rows_ = operand<T>(query, rows, false, s.query);
    if (left.count && !across) {
      s.packed.stride = padded<T>(rows);
      s.scores.stride = tile_;
      pack_transposed(query, rows, T(a.scale), s.packed);
    }
  }

  int64_t blocks() const { return ceil_div(left_.count, kBlockKeys); }

  // visit(tile, its first query in the chunk, block)
  template <class Visit>
  void over(bool with_values, Visit visit) {
    for (int64_t n = 0; n < blocks(); ++n) {
      const KeyBlock<T> block = block_at(n, with_values);
      for (int64_t r = 0; r < rows_; r += tile_) {
        const int64_t rows = least(tile_, rows_ - r), row = first_ + r;
        const int64_t count = keys_before(block.columns, block.count, left_.end(r, rows));
        if (count == 0) continue;
        visit(Tile{a_, head_, row, rows, block.columns, count, left_.hole(r, rows)}, r, block);
      }
    }
  }

  const Operand<T>& query() const { return query_rows_; }

 private:
  KeyBlock<T> block_at(int64_t n, bool with_values) {
    const int64_t from = left_.count * n / blocks(), end = left_.count * (n + 1) / blocks();
    const int64_t count = end - from;
    const int32_t* columns = left_.keys + from;
    const int32_t* index = adjacent(columns, count) ? nullptr : columns;
    const Rows<S> key{
        slice<S>(a_, a_.key, head_), a_.key.row, a_.key.col, a_.dim, index, columns[0]};
    KeyBlock<T> block{columns, count, {}, {}, n == 0};
    if (s_.scores.across) {
      s_.packed.stride = s_.scores.stride = padded<T>(count);
      pack_transposed(key, count, T(a_.scale), s_.packed);
    } else {
      block.key = operand<T>(key, count, false, s_.key);
    }
    if (!with_values) return block;
    const Rows<S> value{
        slice<S>(a_, a_.value, head_), a_.value.row, a_.value.col, a_.value_dim, index, columns[0]};
    block.value = operand<T>(value, count, !s_.sums.transposed, s_.value);
    return block;
  }

  const AttentionArgs& a_;
  const Head& head_;
  int64_t first_, rows_;
  const Visible& left_;
  ForwardScratch<T>& s_;
  int64_t tile_ = tile_rows<T>(a_, rows_);
  Operand<T> query_rows_{};
};

// Whether O of the rows came out finite, the weights being multiplied by `shrink`. The weights are
// written where they are wanted: from the tile at hand where it has all keys of its queries, else
// from scores computed once more.
template <class T, class S>
bool attend(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows,
            const Visible& left, T shrink, bool with_weights, ForwardScratch<T>& s, Ahead& ahead) {
  for (int64_t r = 0; r < padded<T>(rows); r += kLanes<T>) {
    store(s.top + r, splat(Limits<T>::lowest));
    store(s.total + r, Vec<T>{});
  }
  s.sums = Sums<T>::make(s.sums.data, rows, a.value_dim, s.scores.across);
  Walk<T, S> walk(a, head, first, rows, left, s);
  const bool at_once = walk.blocks() == 1;
  walk.over(true, [&](const Tile& t, int64_t start, const KeyBlock<T>& block) {
    forward_tile<T>(t, s, start, block, walk.query(), shrink, ahead);
    if (!with_weights || !at_once) return;
    finish_statistics<T>(s, start, t.rows, shrink, nullptr);
    add_weights(t, s.scores, s.factors + start);
  });
  const int64_t origin = head.number * a.rows + first;
  if (with_weights && !at_once) {
    finish_statistics<T>(s, 0, rows, T(1), nullptr);
    walk.over(false, [&](const Tile& t, int64_t start, const KeyBlock<T>& block) {
      score_tile(t, s, start, block, walk.query());
      weigh_tile(t, s, start);
      add_weights(t, s.scores, s.factors + start);
    });
  }
  finish_statistics(s, 0, rows, shrink, a.lse ? static_cast<T*>(a.lse) + origin : nullptr);
  S* out = slice<S>(a, a.out, head) + first * a.out.row;
  if (left.count) return s.sums.write(rows, s.factors, out, a.out.row);
  fill_zero(out, rows, a.out.row, a.value_dim);
  return true;
}

// A power of two by which no sum of weights exceeds 1, what dropout makes of them included.
template <class T>
T shrink_for(const AttentionArgs& a, int64_t keys) {
  const double most = double(keys) / (1.0 - a.dropout_p);
  double shrink = 1.0;
  while (shrink * most > 1.0) shrink /= 2;
  return T(shrink);
}

template <class T, class S>
void forward_rows(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows,
                  ForwardScratch<T>& s, Ahead& ahead) {
  const Visible left = look<T>(a, head, first, rows, s.sight);
  s.terms.update(a, head, rows, s.sight);
  const bool with_weights = a.weights.data != nullptr;
  if (with_weights) clear_weights<T>(a, head, first, rows);
  if (attend<T, S>(a, head, first, rows, left, T(1), with_weights, s, ahead)) return;
  attend<T, S>(a, head, first, rows, left, shrink_for<T>(a, left.count), false, s, ahead);
}

// Heads that share their weights are one task's.
int64_t forward_heads_per_task(const AttentionArgs& a) {
  const int last = a.lead_dims - 1;
  const int64_t shared = a.weights.data && last >= 0 && !a.weights.lead[last] ? a.lead[last] : 1;
  return most(1, heads_per_task(a) / most(1, shared)) * most(1, shared);
}

struct Job {
  const AttentionArgs& args;
  int64_t per_task, chunks;
  bool small, failed;
};

template <class T, class S>
void forward_task(int64_t task, void* context) {
  Job& job = *static_cast<Job*>(context);
  const AttentionArgs& a = job.args;
  Arena arena;
  {
    ForwardScratch<T> measured(arena, a);
  }
  if (!arena.allocate()) {
    __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
    return;
  }
  ForwardScratch<T> scratch(arena, a);
  const int64_t first = task / job.chunks * job.per_task, row = task % job.chunks * kChunkRows;
  const int64_t last = least(first + job.per_task, a.heads);
  for (int64_t h = first; h < last; ++h) {
    Ahead ahead;
    if (h + 1 < last && job.small) {
      const Head next = head_at(a, h + 1);
      add_ahead<S>(a, a.query, next, a.rows, a.dim, &ahead);
      add_ahead<S>(a, a.key, next, a.keys, a.dim, &ahead);
      add_ahead<S>(a, a.value, next, a.keys, a.value_dim, &ahead);
      add_ahead<S>(a, a.out, next, a.rows, a.value_dim, &ahead);
      ahead.spread(a.rows * a.keys);
    }
    forward_rows<T, S>(a, head_at(a, h), row, least(kChunkRows, a.rows - row), scratch, ahead);
  }
}

template <class T, class S>
bool forward(const AttentionArgs& a) {
  const int64_t per_task = forward_heads_per_task(a);
  const int64_t bytes = (a.rows + a.keys) * (a.dim + a.value_dim) * int64_t(sizeof(S));
  Job job{a, per_task, ceil_div(a.rows, kChunkRows), bytes <= kAheadBytes, false};
  parallel_for(ceil_div(a.heads, per_task) * job.chunks, usable_threads(a), forward_task<T, S>,
               &job);
  return !job.failed;
}

}  // namespace

const AttentionKernels attention = {forward<float, float>, forward<double, double>,
                                    forward<float, BFloat16>, forward<float, Float16>};

}  // namespace clmer::CLMER_LEVEL
