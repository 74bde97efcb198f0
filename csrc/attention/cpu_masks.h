// Which keys the masks, and a bias of -inf, leave to a head and to each query, looked at once for
// all heads that share them. Compiled once per SIMD level.
#pragma once

#include "attention/cpu_block.h"

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
  const void* bias = nullptr;
  int64_t first = -1, rows = -1;
  int64_t changes = 0;  // of the answer
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

// Where a query's keys end whose bias is more than -inf, of the first `end`.
template <class T>
int32_t end_of_bias(const T* bias, int64_t col, int32_t end) {
  constexpr int kStep = 16;
  const T hidden = -T(__builtin_inf());
  for (; col == 1 && end >= kStep; end -= kStep) {
    bool any = false;
    for (int i = 0; i < kStep; ++i) any |= bias[end - kStep + i] != hidden;
    if (any) break;
  }
  while (end > 0 && bias[(end - 1) * col] == hidden) --end;
  return end;
}

template <class T>
Visible look(const AttentionArgs& a, const Head& head, int64_t first, int64_t rows, Sight& s) {
  const uint8_t* padding = a.mask.data ? slice<uint8_t>(a, a.mask, head) : nullptr;
  const uint8_t* mask =
      a.attn_mask.data ? slice<uint8_t>(a, a.attn_mask, head) + first * a.attn_mask.row : nullptr;
  const T* bias =
      a.bias.data && a.bias.row ? slice<T>(a, a.bias, head) + first * a.bias.row : nullptr;
  const bool known = s.first == first && s.rows == rows && s.padding == padding && s.mask == mask &&
                     s.bias == bias;
  if (known) return s.left;
  s.first = first, s.rows = rows, s.padding = padding, s.mask = mask, s.bias = bias, ++s.changes;
  const int64_t reach = a.causal ? least(a.keys, first + rows) : a.keys;
  const bool by_row = mask && a.attn_mask.row != 0;
  for (int64_t c = 0; c < reach; ++c) {
    const bool hidden = padding && padding[c * a.mask.col];
    s.shown[c] = !hidden && (by_row || !mask || mask[c * a.attn_mask.col]);
    s.seen[c] = by_row ? 0 : s.shown[c];
  }
  int32_t hole = kNever;
  bool ends = by_row || a.causal;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t count = a.causal ? least(reach, first + r + 1) : reach;
    s.ends[r] = static_cast<int32_t>(count);
    if (by_row) {
      const MaskRow row{mask + r * a.attn_mask.row, a.attn_mask.col, count, s.shown};
      row.mark(s.seen);
      s.ends[r] = row.end();
      s.holes[r] = row.hole();
      hole = s.holes[r] < hole ? s.holes[r] : hole;
    }
    if (!bias) continue;
    const int32_t before = s.ends[r];
    s.ends[r] = end_of_bias(bias + r * a.bias.row, a.bias.col, before);
    ends |= s.ends[r] < before;
  }
  int64_t count = 0;
  for (int64_t c = 0; c < reach; ++c) {
    s.keys[count] = static_cast<int32_t>(c);
    count += s.seen[c];
  }
  bool all_see = true;
  for (int64_t r = 0; ends && r < rows; ++r) {
    const bool sees = by_row ? s.ends[r] > 0 : count && s.keys[0] < s.ends[r];
    s.queries[r] = sees ? static_cast<int32_t>(first + r) : -1;
    all_see &= sees;
  }
  return s.left = {s.keys, count, all_see ? nullptr : s.queries, ends ? s.ends : nullptr,
                   hole < kNever ? s.holes : nullptr};
}

}  // namespace clmer::CLMER_LEVEL
