// A tile of a transformer layer: where its rows are, and its attention. Compiled once per SIMD
// level.
#pragma once

#include "sublayer/cpu_rows.h"
#include "sublayer/layer_args.h"

namespace clmer::CLMER_LEVEL {

// How the samples go to tiles and chunks: by shape alone.
struct LayerPlan {
  int64_t tile, chunk, chunks;  // samples of a tile and of a chunk; chunks of a call

  explicit LayerPlan(const LayerArgs& a) {
    constexpr int64_t kTileTokens = 64, kChunkTokens = 128, kMostChunks = 8;
    tile = most(1, kTileTokens / a.length);
    const int64_t tiles = ceil_div(a.batch, tile);
    const int64_t wanted = least(most(1, a.batch * a.length / kChunkTokens), kMostChunks);
    chunk = most(1, ceil_div(tiles, wanted)) * tile;
    chunks = ceil_div(a.batch, chunk);
  }
};

// Consecutive samples.
template <class T>
struct LayerTile {
  const LayerArgs& a;
  int64_t first, samples;
  const T* weights_t;  // the transposed ones, forward only

  int64_t tokens() const { return samples * a.length; }
  int64_t queries() const { return samples * a.queries; }
  int64_t query_step() const { return a.length / a.queries; }  // tokens from query to query
  int64_t number(int64_t query) const {                        // of its row of the masks
    if (!a.samples) return first * a.queries + query;
    return a.samples[first + query / a.queries] * a.queries + query % a.queries;
  }
  const int64_t* seed(int mask) const { return a.seeds ? a.seeds + mask : nullptr; }

  T* at(const void* data, int64_t sample_size) const {
    return static_cast<T*>(const_cast<void*>(data)) + first * sample_size;
  }
  const T* weight(LayerWeight which) const { return static_cast<const T*>(a.weights[which]); }
  const T* transposed(LayerWeight which) const { return weights_t + a.start_of(which); }

  Padded<const T> x() const { return {at(a.x, a.length * a.dim), a.dim}; }
  Padded<T> y() const { return {at(a.y, a.queries * a.dim), a.dim}; }
  Padded<T> query() const { return saved(0, a.queries * a.dim, a.dim); }
  Padded<T> key_value() const { return saved(a.queries * a.dim, 2 * a.length * a.dim, 2 * a.dim); }
  Padded<T> heads() const {
    return saved((a.queries + 2 * a.length) * a.dim, a.queries * a.dim, a.dim);
  }
  Padded<T> u() const {
    return saved((2 * a.queries + 2 * a.length) * a.dim, a.queries * a.dim, a.dim);
  }
  Padded<T> hidden() const {
    return saved((3 * a.queries + 2 * a.length) * a.dim, a.queries * a.hidden, a.hidden);
  }

 private:
  Padded<T> saved(int64_t before, int64_t sample_size, int64_t stride) const {
    return {static_cast<T*>(a.saved) + a.batch * before + first * sample_size, stride};
  }
};

// normed = norm(from), input = gain normed + offset; both may be one place.
template <class T>
void normalise_rows(Padded<const T> from, int64_t rows, const T* gain, const T* offset, int64_t dim,
                    Padded<T> normed, Padded<T> input, T* factors) {
  for (int64_t r = 0; r < rows; ++r) {
    T* n = normed.data + r * dim;
    T* to = input.data + r * dim;
    const T factor = normalise_row<T>(from.data + r * from.stride, dim, n);
    if (factors) factors[r] = factor;
    for (int64_t c = 0; c < dim; ++c) to[c] = n[c] * gain[c] + offset[c];
  }
}

template <class T>
void normalise_rows(Padded<T> from, int64_t rows, const T* gain, const T* offset, int64_t dim,
                    Padded<T> normed, Padded<T> input, T* factors) {
  const Padded<const T> read{from.data, from.stride};
  normalise_rows<T>(read, rows, gain, offset, dim, normed, input, factors);
}

// to = before + drop(rows)
template <class T>
void drop_and_add(const LayerTile<T>& t, int mask, Padded<T> rows, Padded<const T> before,
                  Padded<T> to) {
  for (int64_t r = 0; r < t.queries(); ++r) {
    T* row = rows.data + r * rows.stride;
    drop_row<T>(row, t.a.dim, t.seed(mask), t.a.dropout, t.number(r));
    const T* from = before.data + r * before.stride;
    T* after = to.data + r * to.stride;
    for (int64_t c = 0; c < t.a.dim; ++c) after[c] = from[c] + row[c];
  }
}

template <class T>
void drop_and_add(const LayerTile<T>& t, int mask, Padded<T> rows, Padded<T> before, Padded<T> to) {
  const Padded<const T> read{before.data, before.stride};
  drop_and_add<T>(t, mask, rows, read, to);
}

// to = drop(from)
template <class T>
void drop_rows(const LayerTile<T>& t, int mask, Padded<const T> from, Padded<T> to) {
  for (int64_t r = 0; r < t.queries(); ++r) {
    T* row = to.data + r * to.stride;
    copy_row<T>(from.data + r * from.stride, row, t.a.dim);
    drop_row<T>(row, t.a.dim, t.seed(mask), t.a.dropout, t.number(r));
  }
}

// out[i b_rows + j] = a_i . b_j, a vector of them at a time; out has room for whole vectors.
template <class T>
void pair_products(Padded<const T> a, int64_t a_rows, Padded<const T> b, int64_t b_rows,
                   int64_t width, T* out) {
  constexpr int kWide = kLanes<T>;
  const int64_t whole = width / kWide * kWide, pairs = a_rows * b_rows;
  const FirstLanes<T> rest(width - whole);
  const T *left = a.data, *right = b.data;
  int64_t j = 0;
  for (int64_t p = 0; p < pairs; p += kWide) {
    Vec<T> sums[kWide] = {};
    for (int lane = 0; lane < kWide && p + lane < pairs; ++lane) {
      Vec<T> sum{};
      for (int64_t c = 0; c < whole; c += kWide) sum += load(left + c) * load(right + c);
      if (whole < width) sum += rest.load(left + whole) * rest.load(right + whole);
      sums[lane] = sum;
      right += b.stride;
      if (++j == b_rows) {
        j = 0;
        right = b.data;
        left += a.stride;
      }
    }
    store(out + p, reduce_rows<T>(sums));
  }
}

// Each row of scores [rows, cols] to softmax(scale row), in place; there is room for whole vectors.
template <class T>
void softmax_rows(T* scores, int64_t rows, int64_t cols, T scale) {
  for (int64_t r = 0; r < rows; ++r) {
    T* row = scores + r * cols;
    T top = row[0];
    for (int64_t c = 1; c < cols; ++c) top = row[c] > top ? row[c] : top;
    for (int64_t c = 0; c < cols; ++c) row[c] = scale * (row[c] - top);
  }
  for (int64_t i = 0; i < rows * cols; i += kLanes<T>) store(scores + i, exp<T>(load(scores + i)));
  for (int64_t r = 0; r < rows; ++r) {
    T* row = scores + r * cols;
    T sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += row[c];
    const T factor = T(1) / sum;
    for (int64_t c = 0; c < cols; ++c) row[c] *= factor;
  }
}

// A sample's head: its rows of queries, keys, values and results, or of their gradients.
template <class T>
struct Head {
  Padded<T> query, key, value, result;

  Head(const LayerArgs& a, int64_t sample, int64_t head, Padded<T> queries, Padded<T> key_values,
       Padded<T> results) {
    const int64_t start = head * (a.dim / a.heads);
    query = {queries.data + sample * a.queries * a.dim + start, a.dim};
    key = {key_values.data + sample * a.length * 2 * a.dim + start, 2 * a.dim};
    value = {key.data + a.dim, 2 * a.dim};
    result = {results.data + sample * a.queries * a.dim + start, a.dim};
  }
};

template <class T>
Padded<const T> read(Padded<T> rows) {
  return {rows.data, rows.stride};
}

// The weights softmax(Q K^T / sqrt(width)) of a head.
template <class T>
void head_weights(const LayerArgs& a, const Head<T>& h, T* weights) {
  const int64_t width = a.dim / a.heads;
  pair_products<T>(read(h.query), a.queries, read(h.key), a.length, width, weights);
  softmax_rows<T>(weights, a.queries, a.length, T(1.0 / __builtin_sqrt(double(width))));
}

template <class T>
void attend(const LayerTile<T>& t, int64_t sample, T* weights) {
  const LayerArgs& a = t.a;
  for (int64_t head = 0; head < a.heads; ++head) {
    const Head<T> h(a, sample, head, t.query(), t.key_value(), t.heads());
    head_weights<T>(a, h, weights);
    product<T>(a.queries, a.dim / a.heads, a.length, {weights, a.length, 1}, read(h.value),
               h.result, false);
  }
}

// From the gradient of what `attend` gives to those of queries, keys and values.
template <class T>
void attend_backward(const LayerTile<T>& t, int64_t sample, Padded<T> grad_heads, T* weights,
                     T* grads, Padded<T> grad_query, Padded<T> grad_key_value) {
  const LayerArgs& a = t.a;
  const int64_t width = a.dim / a.heads, rows = a.queries, cols = a.length;
  const T scale = T(1.0 / __builtin_sqrt(double(width)));
  for (int64_t head = 0; head < a.heads; ++head) {
    const Head<T> h(a, sample, head, t.query(), t.key_value(), t.heads());
    const Head<T> d(a, sample, head, grad_query, grad_key_value, grad_heads);
    head_weights<T>(a, h, weights);
    product<T>(cols, width, rows, {weights, 1, cols}, read(d.result), d.value, false);
    pair_products<T>(read(d.result), rows, read(h.value), cols, width, grads);
    for (int64_t r = 0; r < rows; ++r) {  // through softmax: p (g - sum p g)
      const T* p = weights + r * cols;
      T* g = grads + r * cols;
      T sum = 0;
      for (int64_t c = 0; c < cols; ++c) sum += p[c] * g[c];
      for (int64_t c = 0; c < cols; ++c) g[c] = scale * p[c] * (g[c] - sum);
    }
    product<T>(rows, width, cols, {grads, cols, 1}, read(h.key), d.query, false);
    product<T>(cols, width, rows, {grads, 1, cols}, read(h.query), d.key, false);
  }
}

}  // namespace clmer::CLMER_LEVEL
