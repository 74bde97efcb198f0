// The two matrix products of a 64 x 64 tile: kRows rows are broadcast against two vectors of
// columns, with all kRows x 2 accumulators in registers.
#pragma once

#include "simd_vec.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr int kBlock = 64;
constexpr int kStride = kBlock + 16;  // of a tile's rows: keeps its columns out of one cache set
constexpr int kRows = kVectorBytes == 64 ? 8 : 4;
constexpr int kDepth = 256;  // features of a panel that stay in L1
template <class T>
constexpr int kPanel = 2 * kLanes<T>;

constexpr int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// s[kRows, vectors] (+)= x[kRows, depth] . panel[depth, vectors]
template <class T, int kVectors>
inline void dot_micro(const T* x, int64_t width, const T* panel, int64_t depth, bool add, T* s) {
  using V = Vec<T>;
  V acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = add ? load(s + r * kStride + v * kLanes<T>) : V{};
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    V column[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) column[v] = load(panel + k * kPanel<T> + v * kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V value = splat<T>(x[r * width + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] += value * column[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(s + r * kStride + v * kLanes<T>, acc[r][v]);
  }
}

// The tile's x . y: rows to a multiple of kRows, columns to whole vectors. y comes packed.
template <class T>
void dot_tile(const T* x, int64_t width, const T* packed, int64_t dim, int rows, int cols, T* s) {
  for (int64_t k = 0; k < dim; k += kDepth) {
    const int64_t depth = smaller(kDepth, dim - k);
    for (int c = 0; c < cols; c += kPanel<T>) {
      const T* panel = packed + c * dim + k * kPanel<T>;
      for (int r = 0; r < rows; r += kRows) {
        const T* corner = x + r * width + k;
        T* out = s + r * kStride + c;
        if (cols - c > kLanes<T>) {
          dot_micro<T, 2>(corner, width, panel, depth, k > 0, out);
        } else {
          dot_micro<T, 1>(corner, width, panel, depth, k > 0, out);
        }
      }
    }
  }
}

// grad[kRows, vectors] += w[kRows, depth] . z[depth, vectors]; w by any two strides.
template <class T, int kVectors>
inline void product_micro(const T* w, int64_t by_row, int64_t by_k, const T* z, int64_t width,
                          int depth, T* grad) {
  using V = Vec<T>;
  V acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) acc[r][v] = load(grad + r * width + v * kLanes<T>);
  }
  for (int k = 0; k < depth; ++k) {
    V row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) row[v] = load(z + k * width + v * kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V value = splat<T>(w[r * by_row + k * by_k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] += value * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(grad + r * width + v * kLanes<T>, acc[r][v]);
  }
}

// grad += w . z over `columns` features, a multiple of the vector; rows to a multiple of kRows.
template <class T>
void add_product(const T* w, int64_t by_row, int64_t by_k, const T* z, int64_t width,
                 int64_t columns, int rows, int depth, T* grad) {
  for (int64_t d = 0; d < columns; d += kPanel<T>) {
    for (int r = 0; r < rows; r += kRows) {
      const T* corner = w + r * by_row;
      T* out = grad + r * width + d;
      if (columns - d >= kPanel<T>) {
        product_micro<T, 2>(corner, by_row, by_k, z + d, width, depth, out);
      } else {
        product_micro<T, 1>(corner, by_row, by_k, z + d, width, depth, out);
      }
    }
  }
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
