// What a sublayer does to rows of a tile besides products. Compiled once per SIMD level.
#pragma once

#include "common/dropout_hash.h"
#include "common/simd_product.h"
#include "sublayer/args.h"

namespace clmer::CLMER_LEVEL {

constexpr double kNormEps = 1e-5;  // F.layer_norm's

// (row - mean) / sqrt(variance + eps); returns the factor.
template <class T>
T normalise_row(const T* __restrict from, int64_t dim, T* __restrict to) {
  constexpr int kWide = kLanes<T>;
  const int64_t whole = dim / kWide * kWide;
  Vec<T> sums{};
  for (int64_t c = 0; c < whole; c += kWide) sums += load(from + c);
  T sum = reduce_sum<T>(sums);
  for (int64_t c = whole; c < dim; ++c) sum += from[c];
  const T mean = sum / T(dim);
  Vec<T> squares{};
  for (int64_t c = 0; c < whole; c += kWide) {
    const Vec<T> centred = load(from + c) - mean;
    store(to + c, centred);
    squares += centred * centred;
  }
  T square = reduce_sum<T>(squares);
  for (int64_t c = whole; c < dim; ++c) {
    to[c] = from[c] - mean;
    square += to[c] * to[c];
  }
  const T factor = T(1.0 / __builtin_sqrt(double(square) / double(dim) + kNormEps));
  for (int64_t c = 0; c < dim; ++c) to[c] *= factor;
  return factor;
}

// The gradient before the norm, factor (g - mean(g) - n mean(g n)), added to what `to` holds.
template <class T>
void add_norm_gradient(const T* __restrict normed, const T* __restrict grad, T factor, int64_t dim,
                       T* __restrict to) {
  constexpr int kWide = kLanes<T>;
  const int64_t whole = dim / kWide * kWide;
  Vec<T> sums{}, products{};
  for (int64_t c = 0; c < whole; c += kWide) {
    const Vec<T> g = load(grad + c);
    sums += g;
    products += g * load(normed + c);
  }
  T sum = reduce_sum<T>(sums), product = reduce_sum<T>(products);
  for (int64_t c = whole; c < dim; ++c) {
    sum += grad[c];
    product += grad[c] * normed[c];
  }
  const T mean = sum / T(dim), slope = product / T(dim);
  for (int64_t c = 0; c < dim; ++c) to[c] += factor * (grad[c] - mean - normed[c] * slope);
}

// Times 1 / (1 - p) where dropout keeps an element, else 0; `number` is the row's, over all
// streams.
template <class T>
void drop_row(T* __restrict row, int64_t cols, const int64_t* seed, double p, int64_t number) {
  if (seed == nullptr) return;
  const uint32_t threshold = uint32_t(p * 4294967296.0);
  const T grown = T(1.0 / (1.0 - p));
  const DropoutKey key = dropout_key(*seed, number);
  for (int64_t c = 0; c < cols; ++c) {
    row[c] *= dropout_keeps(key, uint32_t(c), threshold) ? grown : T(0);
  }
}

template <class T>
inline void copy_row(const T* from, T* to, int64_t count) {
  constexpr int kWide = kLanes<T>;
  int64_t c = 0;
  for (; c + kWide <= count; c += kWide) store(to + c, load(from + c));
  if (c < count) {
    const FirstLanes<T> rest(count - c);
    rest.store(to + c, rest.load(from + c));
  }
}

template <class T>
void fill_rows(const T* from, Padded<T> to, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) copy_row(from, to.data + r * to.stride, cols);
}

template <class T>
void add_column_sums(Padded<const T> from, int64_t rows, int64_t cols, T* __restrict sums) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = from.data + r * from.stride;
    for (int64_t c = 0; c < cols; ++c) sums[c] += row[c];
  }
}

// Consecutive rows of one stream.
struct RowTile {
  const SublayerArgs& a;
  int64_t stream, first, rows;

  int64_t number() const { return stream * a.rows + first; }  // the first one's, over all streams
};

// Rows of a tile from tensors in heads layout, side by side, or (kOut) to them.
template <class T, bool kOut>
void move_heads(const RowTile& t, void* const* parts, int64_t count, Padded<T> tile) {
  const SublayerArgs& a = t.a;
  const int64_t wide = a.dim / a.heads;
  for (int64_t r = 0; r < t.rows; ++r) {
    const int64_t sample = (t.first + r) / a.length, token = (t.first + r) % a.length;
    const int64_t start = ((t.stream * a.batch + sample) * a.heads * a.length + token) * wide;
    T* row = tile.data + r * tile.stride;
    for (int64_t p = 0; p < count; ++p) {
      T* head = static_cast<T*>(parts[p]) + start;
      for (int64_t h = 0; h < a.heads; ++h, head += a.length * wide, row += wide) {
        kOut ? copy_row<T>(row, head, wide) : copy_row<T>(head, row, wide);
      }
    }
  }
}

}  // namespace clmer::CLMER_LEVEL
