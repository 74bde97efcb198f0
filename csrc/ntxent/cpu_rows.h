// Rows of NT-Xent: the problem, its working memory, and each block's own part. Compiled once per
// SIMD level.
#pragma once

#include "common/arena.h"
#include "ntxent/args.h"
#include "common/simd_product.h"

namespace clmer::CLMER_LEVEL {

constexpr double kInf = __builtin_inf();
constexpr int kBlock = 64;  // rows

constexpr int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

template <class T>
struct Limits;
template <>
struct Limits<float> {
  static constexpr double tiny = __FLT_MIN__, exp_range = 86.0;
};
template <>
struct Limits<double> {
  static constexpr double tiny = __DBL_MIN__, exp_range = 700.0;
};

// Everything the tasks share. Row-wise scratch has `rows` entries a group, the tail zero.
template <class T>
struct Problem {
  const NtXentArgs& a;
  const bool backward;
  const int64_t m = 2 * a.n;
  const int64_t blocks = ceil_div(m, kBlock);
  const int64_t rows = blocks * kBlock;
  // Blocks in a square's side: the two sides' rows and gradients stay in L2 while it is worked on,
  // and there are fewer rounds to wait for; yet 16 squares a side, so that 8 threads find work.
  const int64_t side = most(1, least(blocks / 16, 8));
  const int64_t squares = ceil_div(blocks, side);
  const int64_t columns = round_up(a.dim, kLanes<T>);
  // From row to row of z; a multiple of 512 bytes would crowd a column into few cache sets.
  const int64_t width = columns + (columns * int64_t(sizeof(T)) % 512 == 0 ? kLanes<T> : 0);
  const T inverse_tau = T(1.0 / a.temperature);
  // Unshifted exponentials stay in range: |s| <= 1 / tau and a row adds M of them.
  const bool shifted =
      !(a.normalize && 1.0 / a.temperature + __builtin_log(double(m)) < Limits<T>::exp_range);
  T *z, *packed;     // [blocks, kBlock, width]; [blocks, dim, kBlock]: the blocks transposed
  double* sum;       // forward: sum of e^(s - top) over negatives
  T* top;            // forward, shifted or ranked: running maximum over negatives
  T* own;            // forward: the positive's product, from the tile that holds it
  T *shift, *share;  // backward: stats 1 and 2 as T
  T* grad;           // backward
  double* radial;    // backward: z . dL/dz
  int64_t round = 0;
  Arena arena;

  Problem(const NtXentArgs& args, bool is_backward) : a(args), backward(is_backward) { carve(); }

  bool allocate() {
    const bool done = arena.allocate();
    carve();
    return done;
  }

  const T* view(int64_t g, int64_t i) const {
    const void* base = i < a.n ? a.view_a : a.view_b;
    return static_cast<const T*>(base) + (g * a.n + (i < a.n ? i : i - a.n)) * a.dim;
  }
  double* stat(int64_t g, int which) const { return a.stats + (g * kNtXentStats + which) * m; }
  int64_t positive(int64_t i) const { return i < a.n ? i + a.n : i - a.n; }
  int block_rows(int64_t block) const { return int(least(kBlock, m - block * kBlock)); }

 private:
  void carve() {
    const int64_t all = a.groups * rows;
    z = arena.take<T>(all * width);
    packed = arena.take<T>(all * a.dim);
    sum = arena.take<double>(backward ? 0 : all);
    top = arena.take<T>(backward ? 0 : all);
    own = arena.take<T>(backward ? 0 : all);
    shift = arena.take<T>(backward ? all : 0);
    share = arena.take<T>(backward ? all : 0);
    grad = arena.take<T>(backward ? all * width : 0);
    radial = arena.take<double>(backward ? all : 0);
  }
};

template <class T>
double dot(const T* x, const T* y, int64_t count) {
  double partial[8] = {};
  int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    for (int l = 0; l < 8; ++l) partial[l] += double(x[k + l]) * double(y[k + l]);
  }
  for (; k < count; ++k) partial[0] += double(x[k]) * double(y[k]);
  return ((partial[0] + partial[1]) + (partial[2] + partial[3])) +
         ((partial[4] + partial[5]) + (partial[6] + partial[7]));
}

// 1 / |x| where squares overflow, vanish or are NaN; 0 for a row of zeros or subnormal numbers
// only.
template <class T>
double careful_inverse_norm(const T* x, int64_t count) {
  double top = 0.0, square = 0.0;
  for (int64_t k = 0; k < count; ++k) {
    const double size = __builtin_fabs(double(x[k]));
    top = size > top || size != size ? size : top;
  }
  if (top < Limits<T>::tiny) return 0.0;
  const double scale = 1.0 / top;
  for (int64_t k = 0; k < count; ++k) square += double(x[k]) * scale * (double(x[k]) * scale);
  return scale / __builtin_sqrt(square);
}

template <class T>
double inverse_norm(const T* x, int64_t count) {
  const double square = dot(x, x, count);
  const bool ordinary = square > 1e-60 && square < 1e300;
  return ordinary ? 1.0 / __builtin_sqrt(square) : careful_inverse_norm(x, count);
}

template <class T>
void pack_transposed(const T* z, int64_t width, int64_t dim, T* packed) {
  constexpr int kWide = kLanes<T>;
  for (int64_t k = 0; k < dim; k += kWide) {
    for (int c = 0; c < kBlock; c += kWide) {
      Vec<T> block[kWide];
#pragma GCC unroll 16
      for (int i = 0; i < kWide; ++i) block[i] = load(z + (c + i) * width + k);
      transpose<T, false>(block);
#pragma GCC unroll 16
      for (int i = 0; i < kWide; ++i) {
        if (k + i < dim) store(packed + (k + i) * kBlock + c, block[i]);
      }
    }
  }
}

// A block of z, normalised and zero-padded, row by row and packed; its sums or gradients cleared.
template <class T>
void prepare_block(int64_t task, void* context) {
  Problem<T>& p = *static_cast<Problem<T>*>(context);
  const int64_t g = task / p.blocks, i0 = task % p.blocks * kBlock;
  const int64_t at = g * p.rows + i0;
  T* z = p.z + at * p.width;
  double* inverse = p.stat(g, 0);
  for (int r = 0; r < kBlock; ++r) {
    const int64_t i = i0 + r;
    T* row = z + r * p.width;
    const int64_t filled = i < p.m ? p.a.dim : 0;
    if (filled) {
      const T* x = p.view(g, i);
      if (!p.backward) inverse[i] = p.a.normalize ? inverse_norm(x, p.a.dim) : 1.0;
      const double scale = inverse[i];
      for (int64_t k = 0; k < filled; ++k) row[k] = T(double(x[k]) * scale);
    }
    for (int64_t k = filled; k < p.width; ++k) row[k] = T(0);
    if (!p.backward) {
      p.sum[at + r] = 0.0;
      p.top[at + r] = T(-kInf);
      continue;
    }
    p.shift[at + r] = i < p.m ? T(p.stat(g, 1)[i]) : T(0);
    p.share[at + r] = i < p.m ? T(p.stat(g, 2)[i]) : T(0);
    T* grad = p.grad + (at + r) * p.width;
    for (int64_t k = 0; k < p.width; ++k) grad[k] = T(0);
  }
  pack_transposed(z, p.width, p.a.dim, p.packed + at * p.a.dim);
}

}  // namespace clmer::CLMER_LEVEL
