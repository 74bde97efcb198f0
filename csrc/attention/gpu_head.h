// What the two passes of gpu_short.h share: where a thread is, which pairs count, dropout,
// rows to and from shared memory, products of tiles. Included behind cuda_device.h or
// cuda_emulated.h.
#pragma once

#include "attention/gpu_fragment.h"
#include "attention/gpu_plan.h"
#include "common/dropout_hash.h"

namespace clmer::CLMER_LEVEL {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kInfinity = __builtin_huge_valf();

// ---- where a thread is ------------------------------------------------------------------------
// A warp's place in its group, which owns a head.
struct Place {
  int lane, warp;       // of the group
  int thread, threads;  // of the group
  int64_t head;
  bool exists;  // false past the last head: such a group reads and writes nothing of tensors
  uint32_t at[kMaxLead];
  char* memory;  // the head's share

  CLMER_DEVICE Place(const AttentionArgs& a, const ShortPlan& p) {
    const int number = thread_number(), member = number / (32 * p.group);
    threads = 32 * p.group;
    thread = number % threads;
    lane = number % 32;
    warp = thread / 32;
    head = block_number() * p.heads + member;
    exists = head < a.heads;
    memory = shared_memory() + member * p.head_bytes;
    uint32_t rest = static_cast<uint32_t>(exists ? head : 0);
#pragma unroll  // or the array would lie in memory
    for (int d = kMaxLead - 1; d > 0; --d) {
      at[d] = 0;
      if (d >= a.lead_dims) continue;
      const uint32_t size = static_cast<uint32_t>(a.lead[d]);
      at[d] = rest % size;
      rest /= size;
    }
    at[0] = rest;
  }

  template <class T>
  CLMER_DEVICE T* share(int offset) const {
    return reinterpret_cast<T*>(memory + offset);
  }

  // Where the head's slice begins.
  template <class T>
  CLMER_DEVICE const T* slice(const AttentionArgs& a, const Strided& s) const {
    int64_t offset = 0;
#pragma unroll
    for (int d = 0; d < kMaxLead; ++d) {
      if (d < a.lead_dims) offset += at[d] * s.lead[d];
    }
    return static_cast<const T*>(s.data) + offset;
  }
};

// ---- which pairs count: a bit each ------------------------------------------------------------
// Leaves `words` [word_rows, words_pitch] and, of each warp, `seen` [group, words_pitch]: keys that
// it found some query to see.
CLMER_DEVICE void mark_pairs(const AttentionArgs& a, const ShortPlan& p, const Place& at) {
  const uint8_t* padding = a.mask.data ? at.slice<uint8_t>(a, a.mask) : nullptr;
  const uint8_t* mask = a.attn_mask.data ? at.slice<uint8_t>(a, a.attn_mask) : nullptr;
  uint32_t* words = at.share<uint32_t>(p.words);
  for (int w = 0; w < p.words_pitch; ++w) {
    const int key = 32 * w + at.lane;
    const bool left = at.exists && key < a.keys && !(padding && padding[key * a.mask.col]);
    uint32_t seen = 0;
#pragma unroll 2
    for (int row = at.warp; row < p.word_rows; row += p.group) {
      const bool there = row < a.rows || !(mask || a.causal);
      const bool shown = left && there && (key <= row || !a.causal) &&
                         (!mask || mask[row * a.attn_mask.row + key * a.attn_mask.col]);
      const uint32_t word = ballot(shown);
      if (at.lane == 0) words[row * p.words_pitch + w] = word;
      seen |= word;
    }
    if (at.lane == 0) at.share<uint32_t>(p.seen)[at.warp * p.words_pitch + w] = seen;
  }
}

template <bool kPlain>
CLMER_DEVICE bool is_seen(const AttentionArgs& a, const ShortPlan& p, const Place& at, int key) {
  if constexpr (kPlain) return at.exists && key < a.keys;
  uint32_t word = 0;
  for (int w = 0; w < p.group; ++w) {
    word |= at.share<uint32_t>(p.seen)[w * p.words_pitch + key / 32];
  }
  return word >> key % 32 & 1;
}

// Of the 8 pairs that a lane owns in a block, by the block's first key and the half's row: bit
// 8 j + i is key 8 j + 2 t + i.
template <bool kPlain>
CLMER_DEVICE uint32_t pair_bits(const AttentionArgs& a, const ShortPlan& p, const Place& at,
                                int row, int key) {
  if constexpr (kPlain) {
    const int left = static_cast<int>(a.keys) - key - at.lane % 4 * 2;
    return left < kTile ? (1u << (left < 0 ? 0 : left)) - 1 : ~0u;
  }
  const uint32_t* words = at.share<uint32_t>(p.words) + (p.word_rows > 1 ? row * p.words_pitch : 0);
  return words[key / 32] >> (key % 32 + at.lane % 4 * 2);
}

// Where the keys end that 16 queries from `first` on may see, in whole tiles.
CLMER_DEVICE int tiles_end(const AttentionArgs& a, const ShortPlan& p, int first) {
  return a.causal && first + kTile < p.keys ? first + kTile : p.keys;
}

CLMER_DEVICE bool counts(const uint32_t (&bits)[2], int e) {
  return bits[e / 2 % 2] >> (e / 4 * 8 + e % 2) & 1;
}

// ---- dropout ------------------------------------------------------------------------------------
CLMER_DEVICE DropoutKey dropout_key(const AttentionArgs& a, const Place& at, int row) {
  return dropout_key(*a.seed, at.head * a.rows + row);
}

// ---- rows between memory and shared memory ------------------------------------------------------
template <class Kind, int kWidth>
constexpr int kPitch = kWidth + Kind::kPad;

// kCount adjacent elements to registers, of which the first `wanted` are read and the others zero;
// `aligned`: where they lie and how many are wanted are multiples of 16 bytes, or of kCount.
template <int kCount, class T>
CLMER_DEVICE void load_share(T* to, const T* from, int wanted, bool aligned) {
  constexpr int kBytes = kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16;
  constexpr int kVector = kBytes / sizeof(T);
  if (aligned) {
#pragma unroll
    for (int k = 0; k < kCount; k += kVector) {
      if (k < wanted) {
        copy_vector<kBytes>(to + k, from + k);
      } else {
#pragma unroll
        for (int i = 0; i < kVector; ++i) to[k + i] = T{};
      }
    }
  } else {
#pragma unroll
    for (int k = 0; k < kCount; ++k) to[k] = k < wanted ? from[k] : T{};
  }
}

// A tensor's rows [rows, width], padded with zeros; unwanted ones are zeros and are not read.
template <class Kind, int kWidth, class Wanted>
CLMER_DEVICE void load_rows(typename Kind::Stored* to, const typename Kind::Stored* from,
                            int64_t stride, int padded_rows, int width, bool by_16, const Place& at,
                            Wanted wanted) {
  using T = typename Kind::Stored;
  constexpr int kVector = 16 / sizeof(T), kVectors = kWidth / kVector;
#pragma unroll 1
  for (int i = at.thread; i < padded_rows * kVectors; i += at.threads) {
    const int row = i / kVectors, first = i % kVectors * kVector;
    const bool reads = wanted(row);
    T* x = to + row * kPitch<Kind, kWidth> + first;
    const T* y = from + row * stride + first;
    if (by_16) {
      const bool inside = reads && first < width;
      copy_async(x, inside ? y : from, inside);
    } else {
#pragma unroll 1
      for (int k = 0; k < kVector; ++k) x[k] = reads && first + k < width ? y[k] : T{};
    }
  }
}

// A warp's 16 rows, of which the first `rows` are wanted, into a dense tensor.
template <class Kind, int kWidth>
CLMER_DEVICE void store_rows(typename Kind::Stored* to, const typename Kind::Stored* from, int rows,
                             int width, bool by_16, int lane) {
  constexpr int kVector = 16 / sizeof(typename Kind::Stored), kVectors = kWidth / kVector;
#pragma unroll 1
  for (int i = lane; i < kTile * kVectors; i += 32) {
    const int row = i / kVectors, first = i % kVectors * kVector;
    if (row >= rows || first >= width) continue;
    auto* x = to + row * width + first;
    const auto* y = from + row * kPitch<Kind, kWidth> + first;
    if (by_16) {
      copy_vector<16>(x, y);
    } else {
#pragma unroll 1
      for (int k = 0; k < kVector && first + k < width; ++k) x[k] = y[k];
    }
  }
}

// A warp's result, times a factor a half, by way of 16 rows of shared memory that nobody else uses.
template <class Kind, int kWidth>
CLMER_DEVICE void store_tile(typename Kind::Stored* to, typename Kind::Stored* via,
                             Block (&x)[kWidth / kTile], const float (&factor)[2], int rows,
                             int width, bool by_16, int lane) {
#pragma unroll
  for (int d = 0; d < kWidth / kTile; ++d) {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const float f = factor[e / 2 % 2];  // 0 stands for rows that are zero whatever is in x
      x[d][e] = f == 0 ? 0 : x[d][e] * f;
    }
    Kind::store(via + d * kTile, kPitch<Kind, kWidth>, lane, x[d]);
  }
  sync_warp();
  store_rows<Kind, kWidth>(to, via, rows, width, by_16, lane);
}

// c += x y^T over all features, x and y being 16 rows each.
template <class Kind, int kWidth>
CLMER_DEVICE void add_scores(Block& c, const typename Kind::Stored* x,
                             const typename Kind::Stored* y, int lane) {
  constexpr int pitch = kPitch<Kind, kWidth>;
#pragma unroll
  for (int d = 0; d < kWidth; d += kTile) {
    Kind::multiply(c, Kind::from_rows(x + d, pitch, lane), Kind::from_rows(y + d, pitch, lane));
  }
}

// c [16, width] += x y, y being 16 rows.
template <class Kind, int kWidth>
CLMER_DEVICE void add_rows(Block (&c)[kWidth / kTile], const typename Kind::Operand& x,
                           const typename Kind::Stored* y, int lane) {
#pragma unroll
  for (int d = 0; d < kWidth / kTile; ++d) {
    Kind::multiply(c[d], x, Kind::from_columns(y + d * kTile, kPitch<Kind, kWidth>, lane));
  }
}

// S of a block in units of log 2: scale q k + bias.
template <bool kPlain>
CLMER_DEVICE void finish_scores(const AttentionArgs& a, const ShortPlan& p, const float* bias,
                                int row, int key, const uint32_t (&bits)[2], Block& s) {
#pragma unroll
  for (int e = 0; e < 8; ++e) s[e] *= p.scale * kLog2E;
  if constexpr (!kPlain) {
    if (!bias) return;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int r = row + e / 2 % 2 * 8, c = key + e / 4 * 8 + e % 2;
      if (counts(bits, e)) s[e] += kLog2E * bias[r * a.bias.row + c * a.bias.col];
    }
  }
}

}  // namespace clmer::CLMER_LEVEL
