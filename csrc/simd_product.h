// Small matrix products out of cache-resident operands: C [m, n] (+)= A [m, k] B [k, n].
//
// A tile of C stays in registers over the whole of k; one scalar of A at a time is multiplied with
// up to four vectors of B's row. A has any strides, so that its transpose costs nothing; rows of B
// and C are padded to whole vectors. Each element is one chain over k in order, whatever the tile:
// the same bits for any split of m and n.
#pragma once

#include "simd_vec.h"

namespace clmer::CLMER_LEVEL {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMaxVecs = 4;  // 32 registers
constexpr int kMaxRows[kMaxVecs + 1] = {0, 12, 12, 8, 6};
#else
constexpr int kMaxVecs = 2;  // 16 registers
constexpr int kMaxRows[kMaxVecs + 1] = {0, 8, 6};
#endif

template <class T>
struct Left {  // A: element (i, p) at data[i * row + p * col]
  const T* data;
  int64_t row, col;
};

template <class T>
struct Padded {  // rows of whole vectors
  T* data;
  int64_t stride;
};

template <class T, int kRows, int kVecs>
void product_tile(Left<T> a, Padded<const T> b, Padded<T> c, int64_t k, bool add) {
  constexpr int kWide = kLanes<T>;
  Vec<T> sum[kRows][kVecs];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVecs; ++j) {
      sum[i][j] = add ? load(c.data + i * c.stride + j * kWide) : Vec<T>{};
    }
  }
  for (int64_t p = 0; p < k; ++p) {
    Vec<T> row[kVecs];
    for (int j = 0; j < kVecs; ++j) row[j] = load(b.data + p * b.stride + j * kWide);
    for (int i = 0; i < kRows; ++i) {
      const Vec<T> factor = splat(a.data[i * a.row + p * a.col]);
      for (int j = 0; j < kVecs; ++j) sum[i][j] += factor * row[j];
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVecs; ++j) store(c.data + i * c.stride + j * kWide, sum[i][j]);
  }
}

template <class T, int kRows, int kVecs>
void product_rows(int rows, Left<T> a, Padded<const T> b, Padded<T> c, int64_t k, bool add) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return product_rows<T, kRows - 1, kVecs>(rows, a, b, c, k, add);
  }
  product_tile<T, kRows, kVecs>(a, b, c, k, add);
}

// All rows of `kVecs` vectors of columns, in tiles of nearly equal height.
template <class T, int kVecs>
void product_columns(int64_t m, Left<T> a, Padded<const T> b, Padded<T> c, int64_t k, bool add) {
  int64_t tiles = (m + kMaxRows[kVecs] - 1) / kMaxRows[kVecs];
  for (int64_t i = 0; i < m; --tiles) {
    const int rows = static_cast<int>((m - i + tiles - 1) / tiles);
    product_rows<T, kMaxRows[kVecs], kVecs>(rows, {a.data + i * a.row, a.row, a.col}, b,
                                            {c.data + i * c.stride, c.stride}, k, add);
    i += rows;
  }
}

template <class T>
void product(int64_t m, int64_t n, int64_t k, Left<T> a, Padded<const T> b, Padded<T> c, bool add) {
  constexpr int kWide = kLanes<T>;
  int64_t vecs = (n + kWide - 1) / kWide;
  int64_t groups = (vecs + kMaxVecs - 1) / kMaxVecs;
  for (; vecs > 0; --groups) {
    const int64_t wide = (vecs + groups - 1) / groups;
    if constexpr (kMaxVecs == 4) {
      if (wide == 4) product_columns<T, 4>(m, a, b, c, k, add);
      if (wide == 3) product_columns<T, 3>(m, a, b, c, k, add);
    }
    if (wide == 2) product_columns<T, 2>(m, a, b, c, k, add);
    if (wide == 1) product_columns<T, 1>(m, a, b, c, k, add);
    b.data += wide * kWide;
    c.data += wide * kWide;
    vecs -= wide;
  }
}

}  // namespace clmer::CLMER_LEVEL
