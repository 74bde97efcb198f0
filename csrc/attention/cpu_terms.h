// What bias, masks and dropout do to the scores and weights of a tile. Compiled once per SIMD
// level.
#pragma once

#include "attention/cpu_masks.h"
#include "common/dropout_hash.h"

namespace clmer::CLMER_LEVEL {

// A tile of queries against a block of keys.
struct Tile {
  const AttentionArgs& a;
  const Head& head;
  int64_t first, rows;  // queries
  const int32_t* columns;
  int64_t count;  // keys
  int32_t hole;   // attn_mask hides none of the keys before this one
};

// How many of a block's keys come before `end`.
inline int64_t keys_before(const int32_t* columns, int64_t count, int32_t end) {
  while (count > 0 && columns[count - 1] >= end) --count;
  return count;
}

// columns[i], columns[i] + 1, ... for `wide` keys?
inline bool adjacent(const int32_t* columns, int64_t wide) {
  return columns[wide - 1] - columns[0] == wide - 1;
}

// What is added to one query's scores for `wide` keys: the bias, -inf where attn_mask hides.
template <class T>
Vec<T> score_terms(const Tile& t, const T* bias, const uint8_t* mask, const int32_t* columns,
                   int64_t wide) {
  const bool together = adjacent(columns, wide);
  Vec<T> terms = {};
  if (bias && together && t.a.bias.col == 1) {
    terms = load_part(bias + columns[0], wide);
  } else if (bias) {
    for (int64_t c = 0; c < wide; ++c) terms[c] = bias[columns[c] * t.a.bias.col];
  }
  if (!mask) return terms;
  uint8_t shown[kLanes<T>] = {};
  if (together && t.a.attn_mask.col == 1) {
    copy_lane_bytes<T>(mask + columns[0], wide, shown);
  } else {
    for (int64_t c = 0; c < wide; ++c) shown[c] = mask[columns[c] * t.a.attn_mask.col];
  }
  return lanes_set<T>(shown) ? terms : splat(-T(__builtin_inf()));
}

// What is added to the scores of `tall` queries from r on for `wide` keys from c on, a vector per
// query, or per key.
template <class T>
void term_block(const Tile& t, int64_t r, int64_t c, bool by_query, Vec<T>* block) {
  constexpr int kWide = kLanes<T>;
  const AttentionArgs& a = t.a;
  const int64_t tall = least(kWide, t.rows - r), wide = least(kWide, t.count - c);
  const int64_t row = t.first + r;
  const T* bias = a.bias.data ? slice<T>(a, a.bias, t.head) + row * a.bias.row : nullptr;
  const bool hides = t.columns[c + wide - 1] >= t.hole;
  const uint8_t* mask =
      hides ? slice<uint8_t>(a, a.attn_mask, t.head) + row * a.attn_mask.row : nullptr;
  for (int64_t i = 0; i < kWide; ++i) {
    block[i] =
        i < tall ? score_terms<T>(t, bias ? bias + i * a.bias.row : nullptr,
                                  mask ? mask + i * a.attn_mask.row : nullptr, t.columns + c, wide)
                 : Vec<T>{};
  }
  if (!by_query) transpose<T, false>(block);
}

template <class T>
void add_term(T* at, Vec<T> term) {
  const Vec<T> hidden = splat(-T(__builtin_inf()));  // whatever the score, NaN included
  store(at, term == hidden ? hidden : load(at) + term);
}

// Bias and mask as they are added, a line of queries per key, for the heads that share them: of a
// head whose scores are one block.
template <class T>
struct SharedTerms {
  T* data = nullptr;
  int64_t stride = 0;
  const void *bias = nullptr, *mask = nullptr;
  int64_t seen = -1;  // what the masks left when they were taken

  static bool fits(const AttentionArgs& a) {
    const int last = a.lead_dims - 1;
    const auto shared = [&](const Strided& s) { return !s.data || s.lead[last] == 0; };
    const bool several = last >= 0 && least(a.lead[last], heads_per_task(a)) > 2;
    const bool one_block = a.keys <= kBlockKeys && a.rows <= kBlockKeys && !keys_across<T>(a);
    return (a.bias.data || a.attn_mask.row) && several && one_block && shared(a.bias) &&
           shared(a.attn_mask);
  }
  SharedTerms(Arena& arena, const AttentionArgs& a) {
    stride = fits(a) ? padded<T>(a.rows) : 0;
    data = arena.take<T>(a.keys * stride);
  }

  // Of all `rows` queries and the keys that are left.
  void update(const AttentionArgs& a, const Head& head, int64_t rows, const Sight& sight) {
    if (!stride) return;
    const void* now = a.bias.data ? slice<T>(a, a.bias, head) : nullptr;
    if (seen == sight.changes && bias == now && mask == sight.mask) return;
    seen = sight.changes, bias = now, mask = sight.mask;
    const Visible& left = sight.left;
    if (!now && !left.holes) return;
    const Tile whole{a, head, 0, rows, left.keys, left.count, left.hole(0, rows)};
    for (int64_t r = 0; r < rows; r += kLanes<T>) {
      for (int64_t c = 0; c < left.count; c += kLanes<T>) {
        Vec<T> block[kLanes<T>];
        term_block<T>(whole, r, c, false, block);
        for (int64_t i = 0; i < least(kLanes<T>, left.count - c); ++i) {
          store(data + (c + i) * stride + r, block[i]);
        }
      }
    }
  }
};

template <class T>
void add_terms(const Tile& t, const Scores<T>& scores, const SharedTerms<T>& shared) {
  constexpr int kWide = kLanes<T>;
  const int64_t plain = t.a.bias.data ? 0 : keys_before(t.columns, t.count, t.hole);
  if (plain == t.count) return;
  const int64_t whole = plain / kWide * kWide;
  if (shared.stride) {
    for (int64_t c = whole; c < t.count; ++c) {
      const T* terms = shared.data + c * shared.stride + t.first;
      T* at = scores.data + c * scores.stride;
      for (int64_t r = 0; r < t.rows; r += kWide) add_term(at + r, load(terms + r));
    }
    return;
  }
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = whole; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c);
      Vec<T> block[kWide];
      term_block<T>(t, r, c, scores.across, block);
      T* at = scores.data + (scores.across ? r * scores.stride + c : c * scores.stride + r);
      for (int64_t i = 0; i < (scores.across ? tall : wide); ++i, at += scores.stride) {
        add_term(at, block[i]);
      }
    }
  }
}

// -inf where the key comes after the query.
template <class T>
void hide_later(const Tile& t, const Scores<T>& scores) {
  constexpr int kWide = kLanes<T>;
  const Vec<T> hidden = splat(-T(__builtin_inf()));
  if (!t.a.causal || t.columns[t.count - 1] <= t.first) return;
  if (!scores.across) {
    for (int64_t c = t.count; c-- > 0 && t.columns[c] > t.first;) {
      T* at = scores.data + c * scores.stride;
      const int before = int(t.columns[c] - t.first);  // queries of the tile
      for (int64_t r = 0; r < least(before, t.rows); r += kWide) {
        store(at + r, lane_numbers<T>() < before - int(r) ? hidden : load(at + r));
      }
    }
    return;
  }
  for (int64_t r = 0; r < t.rows; ++r) {
    T* row = scores.data + r * scores.stride;
    for (int64_t c = t.count; c-- > 0 && t.columns[c] > t.first + r;) row[c] = hidden[0];
  }
}

// What dropout multiplies the weights of a tile by: 1 / (1 - p) where it keeps one, else 0.
template <class T>
struct DropoutFactors {
  const Tile& t;
  const uint32_t threshold = uint32_t(t.a.dropout_p * 4294967296.0);
  const T grown = T(1.0 / (1.0 - t.a.dropout_p));
  uint32_t low[kTileRows], high[kTileRows];  // the keys of queries along the lanes

  DropoutFactors(const Tile& tile, bool across) : t(tile) {
    if (!t.a.seed || across) return;
    for (int64_t r = 0; r < padded<T>(t.rows); ++r) {
      const DropoutKey key = key_of(r);
      low[r] = key.low;
      high[r] = key.high;
    }
  }
  DropoutKey key_of(int64_t row) const {
    return dropout_key(*t.a.seed, t.head.number * t.a.rows + t.first + row);
  }
  // Of the queries from r on, and one key.
  Vec<T> of_queries(int64_t r, int32_t column) const {
    T factors[kLanes<T>];
    for (int i = 0; i < kLanes<T>; ++i) {
      const DropoutKey key{low[r + i], high[r + i]};
      factors[i] = dropout_keeps(key, uint32_t(column), threshold) ? grown : T(0);
    }
    return load(factors);
  }
  // Of one query, and the keys from c on.
  Vec<T> of_keys(DropoutKey key, int64_t c) const {
    T factors[kLanes<T>] = {};
    const int64_t wide = least(kLanes<T>, t.count - c);
    for (int64_t i = 0; i < wide; ++i) {
      factors[i] = dropout_keeps(key, uint32_t(t.columns[c + i]), threshold) ? grown : T(0);
    }
    return load(factors);
  }
};

// Dropout on the weights of a tile, in place.
template <class T>
void drop(const Tile& t, const Scores<T>& x) {
  const DropoutFactors<T> factors(t, x.across);
  for (int64_t i = 0; i < (x.across ? t.rows : t.count); ++i) {
    T* line = x.data + i * x.stride;
    const DropoutKey key = x.across ? factors.key_of(i) : DropoutKey{};
    for (int64_t j = 0; j < (x.across ? t.count : t.rows); j += kLanes<T>) {
      const Vec<T> by = x.across ? factors.of_keys(key, j) : factors.of_queries(j, t.columns[i]);
      store(line + j, load(line + j) * by);
    }
  }
}

// `tall` queries from r on of a tile, `wide` keys of each from c on: a vector per query.
template <class T>
inline __attribute__((always_inline)) void load_queries(const Scores<T>& x, int64_t r, int64_t tall,
                                                        int64_t c, int64_t wide, Vec<T>* block) {
  const T* from = x.data + (x.across ? r * x.stride + c : c * x.stride + r);
  for (int i = 0; i < kLanes<T>; ++i) {
    block[i] = i < (x.across ? tall : wide) ? load(from + i * x.stride) : Vec<T>{};
  }
  if (!x.across) transpose<T, false>(block);
}

// The bias gradient: dS of a tile, added where its bias stood.
template <class T>
void add_bias_gradient(const Tile& t, const Strided& to, const Scores<T>& grad_scores,
                       T* grad_bias) {
  constexpr int kWide = kLanes<T>;
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = 0; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c);
      const int32_t* columns = t.columns + c;
      Vec<T> block[kWide];
      load_queries<T>(grad_scores, r, tall, c, wide, block);
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

// P of a tile, added to where a.weights wants it; `factors` divide each query's weights by their
// total.
template <class T>
void add_weights(const Tile& t, const Scores<T>& weights, const T* factors) {
  constexpr int kWide = kLanes<T>;
  const Strided& to = t.a.weights;
  T* first = slice<T>(t.a, to, t.head) + t.first * to.row;
  const Vec<T> share = splat(T(t.a.weight_share));
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = 0; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c);
      const int32_t* columns = t.columns + c;
      Vec<T> block[kWide];
      load_queries<T>(weights, r, tall, c, wide, block);
      for (int64_t i = 0; i < tall; ++i) {
        T* row = first + (r + i) * to.row;
        const Vec<T> part = block[i] * (splat(factors[r + i]) * share);
        if (adjacent(columns, wide)) {
          store_part(row + columns[0], load_part(row + columns[0], wide) + part, wide);
        } else {
          for (int64_t j = 0; j < wide; ++j) row[columns[j]] += part[j];
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
