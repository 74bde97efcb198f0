// What the forward and the backward of attention share. Compiled once per SIMD level.
//
// Scores stand transposed, keys down and queries across the lanes: a vector holds one key's scores
// for kLanes queries. So the softmax reduces nothing across lanes, the products S^T = K Q^T and
// dP^T = V dO^T read K and V where they lie, one scalar at a time, whatever the head's width, and
// the sums over keys (O, dQ) or queries (dK, dV) take the weights as scalars of an L1 tile. Where
// queries are too few to fill a vector, keys lie across the lanes instead.
#pragma once

#include "common/ahead.h"
#include "common/arena.h"
#include "attention/args.h"
#include "common/simd_half.h"
#include "common/simd_product.h"

namespace clmer::CLMER_LEVEL {

constexpr int64_t kBlockKeys = 128;    // keys whose scores stand side by side
constexpr int64_t kTileBytes = 16384;  // scores of one tile of queries: a third of L1
constexpr int64_t kTileRows = 64;

template <class T>
inline int64_t padded(int64_t n) {
  return ceil_div(n, kLanes<T>) * kLanes<T>;
}

// Queries in a tile at most: whole vectors, so many that the scores stay in L1.
template <class T>
inline int64_t tile_limit(int64_t keys) {
  const int64_t a_vector = kVectorBytes * most(least(keys, kBlockKeys), 1);
  return most(1, least(kTileBytes / a_vector, kTileRows / kLanes<T>)) * kLanes<T>;
}

constexpr int64_t kUnevenRows = 32;  // of a tile: the lower, the more keys it leaves out

// Queries in a tile: as few tiles as that limit allows, of nearly equal size.
template <class T>
inline int64_t tile_rows(const AttentionArgs& a, int64_t rows) {
  const int64_t vectors = ceil_div(most(rows, 1), kLanes<T>);
  const int64_t limit =
      a.causal ? least(tile_limit<T>(a.keys), most(kUnevenRows, kLanes<T>)) : tile_limit<T>(a.keys);
  return ceil_div(vectors, ceil_div(vectors * kLanes<T>, limit)) * kLanes<T>;
}

// Keys across the lanes: where one vector holds all queries and that leaves at most two thirds of
// the vectors.
template <class T>
inline bool keys_across(const AttentionArgs& a) {
  return a.rows <= kLanes<T> && 3 * a.rows * padded<T>(a.keys) <= 2 * kLanes<T> * a.keys;
}

constexpr double kSmall = 1 << 17;  // multiply-adds under which a pool costs more than it brings

constexpr int64_t kTaskWork = 1 << 19;  // multiply-adds that outweigh a task's own cost
constexpr int64_t kTasks = 64;          // enough for any number of cores
constexpr int64_t kTaskHeads = 64;

// The fewer tasks, the more heads are asked for while the one before them computes.
inline int64_t heads_per_task(const AttentionArgs& a) {
  const int64_t work = a.rows * a.keys * (a.dim + a.value_dim) + 1;
  return most(1, least(most(kTaskWork / work, a.heads / kTasks), kTaskHeads));
}

inline int usable_threads(const AttentionArgs& a) {
  const double work =
      double(a.heads) * double(a.rows) * double(a.keys) * double(a.dim + a.value_dim);
  return work < kSmall ? 1 : a.threads;
}

// Position of a head in the leading dimensions, and the start of its slice of a tensor.
struct Head {
  int64_t number = 0;
  int64_t index[kMaxLead] = {};
};

inline Head head_at(const AttentionArgs& a, int64_t number) {
  Head head;
  head.number = number;
  for (int d = a.lead_dims - 1; d >= 0; --d) {
    head.index[d] = number % a.lead[d];
    number /= a.lead[d];
  }
  return head;
}

template <class S>
inline S* slice(const AttentionArgs& a, const Strided& tensor, const Head& head) {
  int64_t offset = 0;
  for (int d = 0; d < a.lead_dims; ++d) offset += head.index[d] * tensor.lead[d];
  return static_cast<S*>(const_cast<void*>(tensor.data)) + offset;
}

template <class S>
void fill_zero(S* to, int64_t rows, int64_t row_stride, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t d = 0; d < cols; ++d) to[r * row_stride + d] = S{};
  }
}

constexpr int64_t kAheadBytes = 65536;  // of a head: longer ones are streams by themselves

template <class S>
void add_ahead(const AttentionArgs& a, const Strided& t, const Head& head, int64_t rows,
               int64_t cols, Ahead* ahead) {
  if (t.col == 1 || cols == 1) {
    ahead->add(slice<S>(a, t, head), t.row * int64_t(sizeof(S)), rows, cols * int64_t(sizeof(S)));
  }
}

// Rows of a strided matrix, by index (or in order from `first` where it is null): -1 is a row of
// zeros.
template <class S>
struct Rows {
  const S* data;
  int64_t row, col, cols;
  const int32_t* index;
  int64_t first;
};

// Up to kLanes elements of a row, in the arithmetic's type.
template <class T, class S>
struct RowPart {
  int64_t count;
  explicit RowPart(int64_t elements) : count(elements) {}
  Vec<T> load(const S* p) const { return load_part(p, count); }
};
template <class T>
struct RowPart<T, T> : FirstLanes<T> {
  using FirstLanes<T>::FirstLanes;
};

template <class T, class S>
inline Vec<T> load_row(const Rows<S>& from, int64_t i, int64_t d) {
  const int64_t number = from.index ? from.index[i] : from.first + i;
  if (number < 0) return Vec<T>{};
  const S* at = from.data + number * from.row + d * from.col;
  return from.col == 1 ? load_part(at, from.cols - d) : load_few<T>(at, from.cols - d, from.col);
}

// kLanes rows from i on, kLanes elements of each from d on: zero beyond `count` rows and the width.
template <class T, class S>
inline __attribute__((always_inline)) void load_block(const Rows<S>& from, int64_t i, int64_t count,
                                                      int64_t d, Vec<T>* block) {
  constexpr int kWide = kLanes<T>;
  const int64_t tall = count - i;
  if (from.index || from.col != 1) {
#pragma GCC unroll 16
    for (int r = 0; r < kWide; ++r) block[r] = r < tall ? load_row<T>(from, i + r, d) : Vec<T>{};
    return;
  }
  const S* at = from.data + (from.first + i) * from.row + d;
  const RowPart<T, S> part(from.cols - d);
  if (tall >= kWide) {
#pragma GCC unroll 16
    for (int r = 0; r < kWide; ++r, at += from.row) block[r] = part.load(at);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < kWide; ++r, at += from.row) block[r] = r < tall ? part.load(at) : Vec<T>{};
  }
}

// `count` rows times a factor, transposed: to [cols, count], zero from count to to.stride.
template <class T, class S>
void pack_transposed(const Rows<S>& from, int64_t count, T factor, Padded<T> to) {
  constexpr int kWide = kLanes<T>;
  for (int64_t d = 0; d < from.cols; d += kWide) {
    const int64_t wide = least(kWide, from.cols - d);
    for (int64_t i = 0; i < to.stride; i += kWide) {
      Vec<T> block[kWide];
      load_block<T>(from, i, count, d, block);
      T* target = to.data + d * to.stride + i;
      if (2 * wide <= kWide) {
        transpose<T, true>(block);
#pragma GCC unroll 8
        for (int e = 0; e < kWide / 2; ++e, target += to.stride) {
          if (e < wide) store(target, block[e] * factor);
        }
      } else {
        transpose<T, false>(block);
#pragma GCC unroll 16
        for (int e = 0; e < kWide; ++e, target += to.stride) {
          if (e < wide) store(target, block[e] * factor);
        }
      }
    }
  }
}

// `count` rows as they are: to [count, cols], zero from cols to to.stride.
template <class T, class S>
void pack_rows(const Rows<S>& from, int64_t count, Padded<T> to) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < to.stride; d += kLanes<T>) {
      store(to.data + i * to.stride + d, load_row<T>(from, i, d));
    }
  }
}

template <class T, class S>
constexpr bool kSame = false;
template <class T>
constexpr bool kSame<T, T> = true;

// A matrix as both sides of a product take it.
template <class T>
struct Operand {
  Left<T> left;           // scalars
  Padded<const T> right;  // rows of whole vectors
};

// Read in place where type and strides allow, else packed into `scratch`; whether the right side is
// `needed` matters where columns do not lie side by side.
template <class T, class S>
Operand<T> operand(const Rows<S>& from, int64_t count, bool needed, Padded<T> scratch) {
  if constexpr (kSame<T, S>) {
    if (!from.index && (!needed || from.col == 1)) {
      const T* data = from.data + from.first * from.row;
      return {{data, from.row, from.col}, {data, from.row}};
    }
  }
  pack_rows(from, count, scratch);
  return {{scratch.data, scratch.stride, 1}, {scratch.data, scratch.stride}};
}

// The scores or weights of a tile of queries and a block of keys.
template <class T>
struct Scores {
  T* data;
  int64_t stride;
  bool across;  // [queries, keys], else [keys, queries]

  Left<T> by_query() const { return {data, across ? stride : 1, across ? 1 : stride}; }
  Left<T> by_key() const { return {data, across ? 1 : stride, across ? stride : 1}; }
};

// Sums over keys, a row per query: [rows, cols], or [cols, rows] where vectors across a narrow head
// would be mostly empty.
template <class T>
struct Sums {
  T* data;
  int64_t stride, cols;
  bool transposed;
  bool whole = true;  // rows are padded to whole vectors

  static int64_t size(int64_t rows, int64_t cols) { return padded<T>(rows) * padded<T>(cols); }
  static Sums make(T* data, int64_t rows, int64_t cols, bool across) {
    const bool narrow = !across && 4 * padded<T>(rows) * cols < 3 * rows * padded<T>(cols);
    return {data, narrow ? padded<T>(rows) : padded<T>(cols), cols, narrow};
  }

  // (+)= W X for `rows` queries from `start` on and `count` keys.
  void add(int64_t start, int64_t rows, int64_t count, const Scores<T>& weights,
           const Operand<T>& x, bool more, Ahead* ahead = nullptr) const {
    if (transposed) {
      product<T>(cols, padded<T>(rows), count, {x.left.data, x.left.col, x.left.row},
                 {weights.data, weights.stride}, {data + start, stride}, more, true, ahead);
    } else {
      product<T>(rows, cols, count, weights.by_query(), x.right, {data + start * stride, stride},
                 more, whole, ahead);
    }
  }

  // Queries' sums times a factor each (padded to whole vectors).
  void scale(int64_t start, int64_t rows, const T* factors) const {
    if (transposed) {
      for (int64_t d = 0; d < cols; ++d) {
        T* row = data + d * stride + start;
        for (int64_t r = 0; r < rows; r += kLanes<T>) {
          store(row + r, load(row + r) * load(factors + r));
        }
      }
      return;
    }
    for (int64_t r = 0; r < rows; ++r) {
      T* row = data + (start + r) * stride;
      for (int64_t d = 0; d < stride; d += kLanes<T>) {
        store(row + d, load(row + d) * splat(factors[r]));
      }
    }
  }

  static Vec<T> scaled(Vec<T> x, Vec<T> factor) { return factor == T(0) ? Vec<T>{} : x * factor; }

  // Zeros for `rows` queries from `start` on.
  void clear(int64_t start, int64_t rows) const {
    const int64_t lines = transposed ? cols : rows, width = transposed ? padded<T>(rows) : cols;
    T* line = data + (transposed ? start : start * stride);
    for (int64_t i = 0; i < lines; ++i, line += stride) {
      for (int64_t c = 0; c < width; ++c) line[c] = T(0);
    }
  }

  // All rows to a matrix of that row stride, times a factor each where there are factors; a factor
  // of 0 makes zeros of whatever stands there. Whether all were finite.
  template <class S>
  bool write(int64_t rows, const T* factors, S* to, int64_t row_stride) const {
    constexpr int kWide = kLanes<T>;
    Vec<T> rest{};  // x - x is NaN where x is not finite
    if (!transposed) {
      for (int64_t r = 0; r < rows; ++r) {
        const Vec<T> factor = splat(factors ? factors[r] : T(1));
        for (int64_t d = 0; d < cols; d += kWide) {
          const Vec<T> x = scaled(load(data + r * stride + d), factor);
          rest += x - x;
          store_part(to + r * row_stride + d, x, cols - d);
        }
      }
      return is_zero(rest);
    }
    for (int64_t d = 0; d < cols; d += kWide) {
      for (int64_t r = 0; r < rows; r += kWide) {
        const Vec<T> factor = factors ? load(factors + r) : splat(T(1));
        Vec<T> block[kWide];
#pragma GCC unroll 16
        for (int e = 0; e < kWide; ++e) {
          block[e] = d + e < cols ? scaled(load(data + (d + e) * stride + r), factor) : Vec<T>{};
          rest += block[e] - block[e];
        }
        transpose<T, false>(block);
        S* target = to + r * row_stride + d;
#pragma GCC unroll 16
        for (int i = 0; i < kWide; ++i, target += row_stride) {
          if (r + i < rows) store_part(target, block[i], cols - d);
        }
      }
    }
    return is_zero(rest);
  }

  static bool is_zero(Vec<T> x) { return reduce_sum<T>(x) == T(0); }
};

}  // namespace clmer::CLMER_LEVEL
