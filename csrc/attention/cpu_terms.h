// What masks, bias and dropout do to the scores and weights of a tile. Compiled once per SIMD
// level.
#pragma once

#include "attention/cpu_block.h"
#include "common/dropout_hash.h"

namespace clmer::CLMER_LEVEL {

// What the masks leave of a head's keys and of `rows` queries from `first` on.
struct Visible {
  int32_t* keys;     // the ones left, in order
  int64_t count;     // how many
  int32_t* queries;  // each one's number, -1 where it sees no key; null where all see one
};

// `queries` and `seen` are scratch of `rows` and `a.keys` elements, used with an attn_mask alone.
inline Visible visible(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows,
                       int32_t* keys, int32_t* queries, uint8_t* seen) {
  const uint8_t* padding = a.mask.data ? slice<uint8_t>(a, a.mask, head) : nullptr;
  const uint8_t* mask = nullptr;
  bool all_see = true;
  if (a.attn_mask.data) {
    mask = slice<uint8_t>(a, a.attn_mask, head) + first * a.attn_mask.row;
    for (int64_t c = 0; c < a.keys; ++c) seen[c] = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const uint8_t* row = mask + r * a.attn_mask.row;
      uint8_t any = 0;
      for (int64_t c = 0; c < a.keys; ++c) {
        const uint8_t sees = row[c * a.attn_mask.col] & !(padding && padding[c * a.mask.col]);
        seen[c] |= sees;
        any |= sees;
      }
      queries[r] = any ? static_cast<int32_t>(first + r) : -1;
      all_see &= any != 0;
    }
  }
  if (!mask && !padding) {
    for (int64_t c = 0; c < a.keys; ++c) keys[c] = static_cast<int32_t>(c);
    return {keys, a.keys, nullptr};
  }
  int64_t count = 0;
  for (int64_t c = 0; c < a.keys; ++c) {
    keys[count] = static_cast<int32_t>(c);
    count += mask ? seen[c] != 0 : !(padding && padding[c * a.mask.col]);
  }
  return {keys, count, all_see ? nullptr : queries};
}

// A tile of queries against a block of keys.
struct Tile {
  const AttentionArgs& a;
  const Head& head;
  int64_t first, rows;  // queries
  const int32_t* columns;
  int64_t count;  // keys
};

// columns[i], columns[i] + 1, ... for `wide` keys?
inline bool adjacent(const int32_t* columns, int64_t wide) {
  return columns[wide - 1] - columns[0] == wide - 1;
}

// What is added to one query's scores for `wide` keys: the bias, -inf where attn_mask hides.
template <class T>
Vec<T> score_terms(const Tile& t, const T* bias, const uint8_t* mask, const int32_t* columns,
                   int64_t wide) {
  if (!mask && t.a.bias.col == 1 && adjacent(columns, wide)) {
    return load_part(bias + columns[0], wide);
  }
  T terms[kLanes<T>] = {};
  for (int64_t c = 0; c < wide; ++c) {
    const bool seen = !mask || mask[columns[c] * t.a.attn_mask.col];
    terms[c] = !seen ? -T(__builtin_inf()) : bias ? bias[columns[c] * t.a.bias.col] : T(0);
  }
  return load(terms);
}

template <class T>
void add_terms(const Tile& t, const Scores<T>& scores) {
  const AttentionArgs& a = t.a;
  if (!a.bias.data && !a.attn_mask.data) return;
  constexpr int kWide = kLanes<T>;
  const T* bias = a.bias.data ? slice<T>(a, a.bias, t.head) + t.first * a.bias.row : nullptr;
  const uint8_t* mask = a.attn_mask.data
                            ? slice<uint8_t>(a, a.attn_mask, t.head) + t.first * a.attn_mask.row
                            : nullptr;
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = 0; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c);
      Vec<T> block[kWide] = {};
      for (int64_t i = 0; i < tall; ++i) {
        block[i] =
            score_terms<T>(t, bias ? bias + (r + i) * a.bias.row : nullptr,
                           mask ? mask + (r + i) * a.attn_mask.row : nullptr, t.columns + c, wide);
      }
      T* at = scores.data + (scores.across ? r * scores.stride + c : c * scores.stride + r);
      if (!scores.across) transpose<T, false>(block);
      for (int64_t i = 0; i < (scores.across ? tall : wide); ++i, at += scores.stride) {
        const Vec<T> hidden = splat(-T(__builtin_inf()));  // whatever the score, NaN included
        store(at, block[i] == hidden ? hidden : load(at) + block[i]);
      }
    }
  }
}

inline DropoutKey dropout_key(const Tile& t, int64_t row) {
  return dropout_key(*t.a.seed, t.head.number * t.a.rows + t.first + row);
}

// Times 1 / (1 - p) where dropout keeps the weight, else 0.
template <class T>
void drop(const Tile& t, const Scores<T>& x) {
  const uint32_t threshold = uint32_t(t.a.dropout_p * 4294967296.0);
  const T grown = T(1.0 / (1.0 - t.a.dropout_p));
  if (x.across) {
    for (int64_t r = 0; r < t.rows; ++r) {
      const DropoutKey key = dropout_key(t, r);
      T* row = x.data + r * x.stride;
      for (int64_t c = 0; c < t.count; ++c) {
        row[c] *= dropout_keeps(key, uint32_t(t.columns[c]), threshold) ? grown : T(0);
      }
    }
    return;
  }
  uint32_t low[kTileRows], high[kTileRows];
  for (int64_t r = 0; r < t.rows; ++r) {
    const DropoutKey key = dropout_key(t, r);
    low[r] = key.low;
    high[r] = key.high;
  }
  for (int64_t c = 0; c < t.count; ++c) {
    T* row = x.data + c * x.stride;
    const uint32_t column = uint32_t(t.columns[c]);
    for (int64_t r = 0; r < t.rows; ++r) {
      row[r] *= dropout_keeps({low[r], high[r]}, column, threshold) ? grown : T(0);
    }
  }
}

// The bias gradient: dS of a tile, added where its bias stood.
template <class T>
void add_bias_gradient(const Tile& t, const Strided& to, const Scores<T>& grad_scores,
                       T* grad_bias) {
  constexpr int kWide = kLanes<T>;
  const bool across = grad_scores.across;
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = 0; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c), stride = grad_scores.stride;
      const int32_t* columns = t.columns + c;
      const T* from = grad_scores.data + (across ? r * stride + c : c * stride + r);
      Vec<T> block[kWide] = {};
      for (int64_t i = 0; i < (across ? tall : wide); ++i) block[i] = load(from + i * stride);
      if (!across) transpose<T, false>(block);
      for (int64_t i = 0; i < tall; ++i) {
        T* row = grad_bias + (r + i) * to.row;
        if (to.col == 1 && adjacent(columns, wide)) {
          T* at = row + columns[0];
          store_part(at, load_part(at, wide) + block[i], wide);
        } else {
          for (int64_t j = 0; j < wide; ++j) row[columns[j] * to.col] += block[i][j];
        }
      }
    }
  }
}

// In place.
template <class T>
void multiply(const Scores<T>& x, int64_t rows, int64_t cols, T factor) {
  for (int64_t i = 0; i < rows; ++i) {
    T* row = x.data + i * x.stride;
    for (int64_t j = 0; j < cols; j += kLanes<T>) store(row + j, load(row + j) * factor);
  }
}

}  // namespace clmer::CLMER_LEVEL
