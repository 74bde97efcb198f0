// The backward of a tile of queries against a block of keys. Compiled once per SIMD level.
#pragma once

#include "attention/cpu_block.h"
#include "attention/cpu_terms.h"

namespace clmer::CLMER_LEVEL {

namespace {

template <class T>
struct BackwardScratch {
  Sight sight;
  SharedTerms<T> terms;
  int32_t* queries;
  Padded<T> key, value;                 // a block of keys, where they cannot be read in place
  Padded<T> packed_left, packed_right;  // transposed: a tile's Q and dO, or a block's K and V
  Padded<T> query, grad_out;            // a tile of queries, row by row
  Scores<T> weights, grad_weights;
  Padded<T> grad_key, grad_value;  // sums of a block of keys
  T* grad_query;                   // sums of the head
  T *lse, *delta;

  BackwardScratch(Arena& arena, const AttentionArgs& a) : sight(arena, a, a.rows), terms(arena, a) {
    const int64_t dim = padded<T>(a.dim), wide = padded<T>(a.value_dim), rows = padded<T>(a.rows);
    const int64_t block = least(a.keys, kBlockKeys), tile = least(rows, tile_limit<T>(a.keys));
    queries = arena.take<int32_t>(a.rows);
    key = {arena.take<T>(block * dim), dim};
    value = {arena.take<T>(block * wide), wide};
    const bool across = keys_across<T>(a);
    const int64_t lanes = across ? padded<T>(block) : tile;
    packed_left = {arena.take<T>(a.dim * lanes), lanes};
    packed_right = {arena.take<T>(a.value_dim * lanes), lanes};
    query = {arena.take<T>(tile * dim), dim};
    grad_out = {arena.take<T>(tile * wide), wide};
    weights = {arena.take<T>((across ? a.rows : block) * lanes), lanes, across};
    grad_weights = {arena.take<T>((across ? a.rows : block) * lanes), lanes, across};
    grad_key = {arena.take<T>(block * dim), dim};
    grad_value = {arena.take<T>(block * wide), wide};
    grad_query = arena.take<T>(Sums<T>::size(a.rows, a.dim));
    lse = arena.take<T>(rows);
    delta = arena.take<T>(rows);
  }
};

template <class T, class S>
struct BackwardHead {
  const AttentionGradArgs& a;
  const Head& head;
  BackwardScratch<T>& s;
  T* grad_bias;         // this head's slice of its part, or null
  T* partial;           // this part's sums of dQ for all heads, or null where there is one part
  int64_t part, parts;  // of the keys
  const Visible* left;
  Ahead& ahead;

  template <class X>
  Rows<X> rows_of(const Strided& t, int64_t cols, const int32_t* index, int64_t first) const {
    return {slice<X>(a, t, head), t.row, t.col, cols, index, first};
  }
};

// delta = sum over channels of dO * O: what softmax's gradient subtracts, dropout or not.
template <class T, class S>
void output_dots(const BackwardHead<T, S>& h) {
  constexpr int kWide = kLanes<T>;
  const AttentionGradArgs& a = h.a;
  const auto x = h.template rows_of<S>(a.out, a.value_dim, nullptr, 0);
  const auto y = h.template rows_of<S>(a.grad_out, a.value_dim, nullptr, 0);
  for (int64_t r = 0; r < a.rows; r += kWide) {
    Vec<T> dots[kWide] = {};
    for (int64_t d = 0; d < a.value_dim; d += kWide) {
      Vec<T> outs[kWide], grads[kWide];
      load_block<T>(x, r, a.rows, d, outs);
      load_block<T>(y, r, a.rows, d, grads);
#pragma GCC unroll 16
      for (int i = 0; i < kWide; ++i) dots[i] += outs[i] * grads[i];
    }
    store(h.s.delta + r, reduce_rows<T>(dots));
  }
}

// The log-sum-exp, readable in whole vectors. Returns the numbers of the queries, -1 for one that
// sees no key and may hold anything; null where all see one.
template <class T, class S>
const int32_t* copy_statistics(const BackwardHead<T, S>& h) {
  const T* lse = static_cast<const T*>(h.a.lse) + h.head.number * h.a.rows;
  bool blind = false;
  for (int64_t r = 0; r < h.a.rows; r += kLanes<T>) {
    store(h.s.lse + r, load_part(lse + r, h.a.rows - r));
  }
  for (int64_t r = 0; r < h.a.rows; ++r) blind |= lse[r] == T(__builtin_inf());
  if (!blind) return nullptr;
  for (int64_t r = 0; r < h.a.rows; ++r) {
    const bool sees = lse[r] != T(__builtin_inf());
    h.s.queries[r] = sees ? static_cast<int32_t>(r) : -1;
    if (!sees) h.s.delta[r] = T(0);
  }
  return h.s.queries;
}

// P after dropout, and dS, of kVecs vectors of queries from r on: `weights` holds scores and
// `grad_weights` dP on entry.
template <class T, int kVecs, bool kDrops>
void weights_columns(Scores<T> weights, Scores<T> grad_weights, const DropoutFactors<T>& factors,
                     int64_t r, const T* lse, const T* delta, T scale) {
  Vec<T> shift[kVecs], less[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    shift[v] = load(lse + r + v * kLanes<T>);
    less[v] = load(delta + r + v * kLanes<T>) * scale;
  }
  for (int64_t c = 0; c < factors.t.count; ++c) {
    T* row = weights.data + c * weights.stride + r;
    T* grad_row = grad_weights.data + c * grad_weights.stride + r;
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = v * kLanes<T>;
      const Vec<T> weight = exp<T>(load(row + at) - shift[v]);
      Vec<T> kept = weight, grad = load(grad_row + at);
      if constexpr (kDrops) {
        const Vec<T> by = factors.of_queries(r + at, factors.t.columns[c]);
        kept *= by;
        grad *= by;
      }
      store(row + at, kept);
      store(grad_row + at, weight * (grad * scale - less[v]));
    }
  }
}

// The same for query r, whose keys lie across the lanes.
template <class T, bool kDrops>
void weights_row(Scores<T> weights, Scores<T> grad_weights, const DropoutFactors<T>& factors,
                 int64_t r, const T* lse, const T* delta, T scale) {
  T *row = weights.data + r * weights.stride, *grad_row = grad_weights.data + r * weights.stride;
  const Vec<T> shift = splat(lse[r]), less = splat(delta[r] * scale);
  const DropoutKey key = kDrops ? factors.key_of(r) : DropoutKey{};
  for (int64_t c = 0; c < factors.t.count; c += kLanes<T>) {
    const Vec<T> weight = exp<T>(load(row + c) - shift);
    Vec<T> kept = weight, grad = load(grad_row + c);
    if constexpr (kDrops) {
      const Vec<T> by = factors.of_keys(key, c);
      kept *= by;
      grad *= by;
    }
    store(row + c, kept);
    store(grad_row + c, weight * (grad * scale - less));
  }
}

// P after dropout and scale * dS of a tile.
template <class T, bool kDrops>
void tile_weights(const BackwardScratch<T>& s, const Tile& t, int64_t start, T scale) {
  const Scores<T> w = s.weights, g = s.grad_weights;
  const T *lse = s.lse + start, *delta = s.delta + start;
  const DropoutFactors<T> factors(t, w.across);
  if (w.across) {
    for (int64_t r = 0; r < t.rows; ++r) {
      weights_row<T, kDrops>(w, g, factors, r, lse, delta, scale);
    }
    return;
  }
  for (int64_t r = 0; r < t.rows;) {
    const int64_t vecs = least(ceil_div(t.rows - r, kLanes<T>), kMaxVecs);
    if constexpr (kMaxVecs == 4) {
      if (vecs == 4) weights_columns<T, 4, kDrops>(w, g, factors, r, lse, delta, scale);
      if (vecs == 3) weights_columns<T, 3, kDrops>(w, g, factors, r, lse, delta, scale);
    }
    if (vecs == 2) weights_columns<T, 2, kDrops>(w, g, factors, r, lse, delta, scale);
    if (vecs == 1) weights_columns<T, 1, kDrops>(w, g, factors, r, lse, delta, scale);
    r += vecs * kLanes<T>;
  }
}

// A block of keys as the tiles need it.
template <class T>
struct KeyBlock {
  const int32_t* columns;
  int64_t count;
  Operand<T> key, value;
  Padded<T> grad_key, grad_value;
  Sums<T> grad_query;
  bool first;
};

// `count` of the block's keys; with `add` their sums hold earlier tiles.
template <class T, class S>
void backward_tile(const BackwardHead<T, S>& h, const KeyBlock<T>& b, const int32_t* queries,
                   int64_t start, int64_t rows, int64_t count, bool add) {
  const AttentionGradArgs& a = h.a;
  BackwardScratch<T>& s = h.s;
  const int32_t* index = queries ? queries + start : nullptr;
  const auto query = h.template rows_of<S>(a.query, a.dim, index, start);
  const auto grad_out = h.template rows_of<S>(a.grad_out, a.value_dim, index, start);
  const Operand<T> query_rows = operand<T>(query, rows, true, s.query);
  const Operand<T> grad_out_rows = operand<T>(grad_out, rows, true, s.grad_out);
  const bool across = s.weights.across;
  if (!across) {
    s.packed_left.stride = s.packed_right.stride = padded<T>(rows);
    pack_transposed(query, rows, T(a.scale), s.packed_left);
    pack_transposed(grad_out, rows, T(1), s.packed_right);
  }
  const int64_t down = across ? rows : count, lanes = across ? padded<T>(count) : padded<T>(rows);
  product<T>(down, lanes, a.dim, across ? query_rows.left : b.key.left,
             {s.packed_left.data, s.packed_left.stride}, {s.weights.data, s.weights.stride}, false,
             false, &h.ahead);
  product<T>(down, lanes, a.value_dim, across ? grad_out_rows.left : b.value.left,
             {s.packed_right.data, s.packed_right.stride},
             {s.grad_weights.data, s.grad_weights.stride}, false, false, &h.ahead);
  const Tile tile{a, h.head, start, rows, b.columns, count, h.left->hole(start, rows)};
  add_terms(tile, s.weights, s.terms);
  hide_later(tile, s.weights);
  const T by = h.grad_bias ? T(1) : T(a.scale);
  a.seed ? tile_weights<T, true>(s, tile, start, by) : tile_weights<T, false>(s, tile, start, by);
  if (h.grad_bias) {
    add_bias_gradient<T>(tile, a.grad_bias, s.grad_weights, h.grad_bias + start * a.grad_bias.row);
    multiply(s.grad_weights, down, lanes, T(a.scale));
  }
  product<T>(count, a.value_dim, rows, s.weights.by_key(), grad_out_rows.right, b.grad_value, add,
             false, &h.ahead);
  product<T>(count, a.dim, rows, s.grad_weights.by_key(), query_rows.right, b.grad_key, add, false,
             &h.ahead);
  b.grad_query.add(start, rows, count, s.grad_weights, b.key, !b.first, &h.ahead);
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
