// Small matrix products out of cache-resident operands: C [m, n] (+)= A [m, k] B [k, n].
//
// A tile of C stays in registers over the whole of k; one scalar of A at a time is multiplied with
// up to four vectors of B's row. A has any strides, so that its transpose costs nothing; rows of B
// and C end where n does. The order of sums depends on m, n and k alone.
#pragma once

#include "common/ahead.h"
#include "common/simd_vec.h"

namespace clmer::CLMER_LEVEL {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMaxVecs = 4;  // 32 registers
constexpr int kMaxRows[kMaxVecs + 1] = {0, 12, 12, 8, 6};
#else
constexpr int kMaxVecs = 2;  // 16 registers
constexpr int kMaxRows[kMaxVecs + 1] = {0, 8, 6};
#endif

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
struct Left {  // A: element (i, p) at data[i * row + p * col]
  const T* data;
  int64_t row, col;
};

template <class T>
struct Padded {  // rows, unit stride along them
  T* data;
  int64_t stride;
};

template <class T>
struct Product {
  Left<T> a;
  Padded<const T> b;
  Padded<T> c;
  int64_t k;
  FirstLanes<T> tail;  // of the last vector of a row of B and C, where kTail says so
  bool add;            // to what C holds
  bool whole;          // C has room for whole vectors: zeros beyond the tail, and a load that
                       // follows soon is forwarded, as it is not from a masked store
  Ahead* ahead;        // advanced by each tile's multiply-adds, if there is one
};

// sum += a row of B times the scalars of A beside it.
template <class T, int kRows, int kVecs, bool kTail>
inline __attribute__((always_inline)) void product_step(const Product<T>& p, const T* left,
                                                        const T* right, Vec<T> (*sum)[kVecs]) {
  constexpr int kWide = kLanes<T>, kFull = kTail ? kVecs - 1 : kVecs;
  Vec<T> row[kVecs];
#pragma GCC unroll 4
  for (int j = 0; j < kFull; ++j) row[j] = load(right + j * kWide);
  if constexpr (kTail) row[kFull] = p.tail.load(right + kFull * kWide);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const Vec<T> factor = splat(left[i * p.a.row]);
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) sum[i][j] += factor * row[j];
  }
}

// kRows rows of kVecs vectors of columns, in registers over the whole of k. They start from zero
// and meet what C holds at the end: a chain of small terms on top of a large sum would lose their
// digits. A tile too small to hide the latency of its own additions sums even and odd k apart.
template <class T, int kRows, int kVecs, bool kTail>
inline __attribute__((always_inline)) void product_tile(const Product<T>& p, const T* left, T* c) {
  constexpr int kWide = kLanes<T>, kFull = kTail ? kVecs - 1 : kVecs;
  constexpr bool kSplit = kRows * kVecs < 8;
  Vec<T> sum[kRows][kVecs] = {}, odd[kSplit ? kRows : 1][kVecs] = {};
  const T* right = p.b.data;
  int64_t q = 0;
  for (; q + 2 <= p.k; q += 2, left += 2 * p.a.col, right += 2 * p.b.stride) {
    product_step<T, kRows, kVecs, kTail>(p, left, right, sum);
    product_step<T, kRows, kVecs, kTail>(p, left + p.a.col, right + p.b.stride, kSplit ? odd : sum);
  }
  if (q < p.k) product_step<T, kRows, kVecs, kTail>(p, left, right, sum);
  T* to = c;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i, to += p.c.stride) {
    asm("" : "+r"(to));  // one pointer that walks, not an address a row
    if constexpr (kSplit) {
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) sum[i][j] += odd[i][j];
    }
    if (p.add) {
#pragma GCC unroll 4
      for (int j = 0; j < kFull; ++j) sum[i][j] += load(to + j * kWide);
      if constexpr (kTail) sum[i][kFull] += p.tail.load(to + kFull * kWide);
    }
#pragma GCC unroll 4
    for (int j = 0; j < kFull; ++j) store(to + j * kWide, sum[i][j]);
    if constexpr (kTail) {
      T* end = to + kFull * kWide;
      p.whole ? store(end, sum[i][kFull]) : p.tail.store(end, sum[i][kFull]);
    }
  }
}

// `tiles` tiles, one below the other, the first one's row being `row`.
template <class T, int kRows, int kVecs, bool kTail>
void product_tiles(const Product<T>& shared, int64_t row, int64_t tiles) {
  const Product<T> p = shared;
  const T* left = p.a.data + row * p.a.row;
  T* c = p.c.data + row * p.c.stride;
  for (; tiles > 0; --tiles, left += kRows * p.a.row, c += kRows * p.c.stride) {
    product_tile<T, kRows, kVecs, kTail>(p, left, c);
    if (p.ahead) p.ahead->advance(kRows * kVecs * kLanes<T> * p.k);
  }
}

// product_tiles of every height.
template <class T, int kVecs, bool kTail>
struct Heights {
  void (*of[kMaxRows[kVecs] + 1])(const Product<T>&, int64_t, int64_t) = {};

  constexpr Heights() { fill<kMaxRows[kVecs]>(); }
  template <int kRows>
  constexpr void fill() {
    of[kRows] = product_tiles<T, kRows, kVecs, kTail>;
    if constexpr (kRows > 1) fill<kRows - 1>();
  }
};
template <class T, int kVecs, bool kTail>
constexpr Heights<T, kVecs, kTail> kHeights;

// All rows of kVecs vectors of columns, in tiles of nearly equal height.
template <class T, int kVecs>
void product_columns(const Product<T>& p, int64_t m, bool tail) {
  constexpr int kMost = kMaxRows[kVecs];
  const uint32_t tiles = uint32_t(m + kMost - 1) / kMost, rows = uint32_t(m) / tiles;
  const int64_t higher = m - int64_t(rows) * tiles;
  const auto& of = tail ? kHeights<T, kVecs, true>.of : kHeights<T, kVecs, false>.of;
  if (higher) of[rows + 1](p, 0, higher);
  of[rows](p, higher * (rows + 1), tiles - higher);
}

template <class T>
void product(int64_t m, int64_t n, int64_t k, Left<T> a, Padded<const T> b, Padded<T> c, bool add,
             bool whole = false, Ahead* ahead = nullptr) {
  if (m == 0) return;
  int64_t groups = ceil_div(ceil_div(n, kLanes<T>), kMaxVecs);
  for (; n > 0; --groups) {
    const int64_t vecs = ceil_div(n, groups * kLanes<T>), cols = least(vecs * kLanes<T>, n);
    const bool tail = cols % kLanes<T> != 0;
    const Product<T> p{a, b, c, k, FirstLanes<T>(cols % kLanes<T>), add, whole, ahead};
    if constexpr (kMaxVecs == 4) {
      if (vecs == 4) product_columns<T, 4>(p, m, tail);
      if (vecs == 3) product_columns<T, 3>(p, m, tail);
    }
    if (vecs == 2) product_columns<T, 2>(p, m, tail);
    if (vecs == 1) product_columns<T, 1>(p, m, tail);
    b.data += cols;
    c.data += cols;
    n -= cols;
  }
}

}  // namespace clmer::CLMER_LEVEL
