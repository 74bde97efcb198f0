// What masks, bias and dropout do to the scores and weights of a tile. Compiled once per SIMD
// level.
#pragma once

#include "attention/cpu_block.h"
#include "common/dropout_hash.h"

namespace clmer::CLMER_LEVEL {

constexpr int32_t kNever = 0x7fffffff;

// What the masks leave of a head's keys and of `rows` queries from `first` on.
struct Visible {
  int32_t* keys;     // the ones left, in order
  int64_t count;     // how many
  int32_t* queries;  // each one's number, -1 where it sees no key; null where all see one
  int32_t* ends;     // each query sees only keys before this one; null where all see to the end
  int32_t* holes;    // and all that are left before this one; null where attn_mask hides none

  // The same for some of the queries together.
  int32_t end(int64_t start, int64_t rows) const {
    int32_t last = ends ? 0 : kNever;
    for (int64_t r = start; ends && r < start + rows; ++r) last = ends[r] > last ? ends[r] : last;
    return last;
  }
  int32_t hole(int64_t start, int64_t rows) const {
    int32_t first = kNever;
    for (int64_t r = start; holes && r < start + rows; ++r) {
      first = holes[r] < first ? holes[r] : first;
    }
    return first;
  }
};

// Scratch for that, and what stands in it: heads that share their masks share the answer.
struct Sight {
  int32_t *keys, *queries, *ends, *holes;
  uint8_t *shown, *seen;
  const uint8_t *padding = nullptr, *mask = nullptr;
  int64_t first = -1, rows = -1;
  Visible left = {};

  Sight(Arena& arena, const AttentionArgs& a, int64_t most_rows) {
    keys = arena.take<int32_t>(a.keys + 1);
    queries = arena.take<int32_t>(most_rows);
    ends = arena.take<int32_t>(most_rows);
    holes = arena.take<int32_t>(most_rows);
    shown = arena.take<uint8_t>(a.keys);
    seen = arena.take<uint8_t>(a.keys);
  }
};

// One query's row of attn_mask, over the keys that are `shown`.
struct MaskRow {
  const uint8_t* mask;
  int64_t col, count;
  const uint8_t* shown;

  bool sees(int64_t c) const { return shown[c] && mask[c * col]; }
  // Eight adjacent bytes as one number, to pass over what is hidden or seen altogether.
  uint64_t eight(int64_t c) const {
    uint64_t bytes;
    __builtin_memcpy(&bytes, mask + c, 8);
    return bytes;
  }
  int32_t end() const {
    int64_t c = count;
    while (col == 1 && c >= 8 && eight(c - 8) == 0) c -= 8;
    while (c > 0 && !sees(c - 1)) --c;
    return static_cast<int32_t>(c);
  }
  int32_t hole() const {
    int64_t c = 0;
    while (col == 1 && c + 8 <= count && eight(c) == 0x0101010101010101u) c += 8;
    while (c < count && (mask[c * col] || !shown[c])) ++c;
    return c < count ? static_cast<int32_t>(c) : kNever;
  }
  void mark(uint8_t* __restrict seen) const {
    const uint8_t* __restrict from = mask, * __restrict left = shown;
    if (col == 1) {
      for (int64_t c = 0; c < count; ++c) seen[c] |= left[c] & uint8_t(from[c] != 0);
    } else {
      for (int64_t c = 0; c < count; ++c) seen[c] |= left[c] & uint8_t(from[c * col] != 0);
    }
  }
};

inline Visible look(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows,
                    Sight& s) {
  const uint8_t* padding = a.mask.data ? slice<uint8_t>(a, a.mask, head) : nullptr;
  const uint8_t* mask =
      a.attn_mask.data ? slice<uint8_t>(a, a.attn_mask, head) + first * a.attn_mask.row : nullptr;
  if (s.first == first && s.rows == rows && s.padding == padding && s.mask == mask) return s.left;
  s.first = first, s.rows = rows, s.padding = padding, s.mask = mask;
  const int64_t reach = a.causal ? least(a.keys, first + rows) : a.keys;
  const bool by_row = mask && a.attn_mask.row != 0;
  for (int64_t c = 0; c < reach; ++c) {
    const bool hidden = padding && padding[c * a.mask.col];
    s.shown[c] = !hidden && (by_row || !mask || mask[c * a.attn_mask.col]);
    s.seen[c] = by_row ? 0 : s.shown[c];
  }
  int32_t hole = kNever;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = a.causal ? least(reach, first + r + 1) : reach;
    s.ends[r] = static_cast<int32_t>(count);
    if (!by_row) continue;
    const MaskRow row{mask + r * a.attn_mask.row, a.attn_mask.col, count, s.shown};
    row.mark(s.seen);
    s.ends[r] = row.end();
    s.holes[r] = row.hole();
    hole = s.holes[r] < hole ? s.holes[r] : hole;
  }
  int64_t count = 0;
  for (int64_t c = 0; c < reach; ++c) {
    s.keys[count] = static_cast<int32_t>(c);
    count += s.seen[c];
  }
  bool all_see = true;
  for (int64_t r = 0; (by_row || a.causal) && r < rows; ++r) {
    const bool sees = by_row ? s.ends[r] > 0 : count && s.keys[0] < s.ends[r];
    s.queries[r] = sees ? static_cast<int32_t>(first + r) : -1;
    all_see &= sees;
  }
  return s.left = {s.keys, count, all_see ? nullptr : s.queries,
                   by_row || a.causal ? s.ends : nullptr, hole < kNever ? s.holes : nullptr};
}

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

template <class T>
void add_terms(const Tile& t, const Scores<T>& scores) {
  const AttentionArgs& a = t.a;
  constexpr int kWide = kLanes<T>;
  const T* bias = a.bias.data ? slice<T>(a, a.bias, t.head) + t.first * a.bias.row : nullptr;
  const uint8_t* mask = a.attn_mask.data
                            ? slice<uint8_t>(a, a.attn_mask, t.head) + t.first * a.attn_mask.row
                            : nullptr;
  const int64_t whole = keys_before(t.columns, t.count, t.hole) / kWide * kWide;
  for (int64_t r = 0; r < t.rows; r += kWide) {
    const int64_t tall = least(kWide, t.rows - r);
    for (int64_t c = bias ? 0 : whole; c < t.count; c += kWide) {
      const int64_t wide = least(kWide, t.count - c);
      const uint8_t* hidden_by = c + wide > whole && t.hole < kNever ? mask : nullptr;
      Vec<T> block[kWide] = {};
      for (int64_t i = 0; i < tall; ++i) {
        block[i] = score_terms<T>(t, bias ? bias + (r + i) * a.bias.row : nullptr,
                                  hidden_by ? hidden_by + (r + i) * a.attn_mask.row : nullptr,
                                  t.columns + c, wide);
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
