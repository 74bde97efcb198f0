// The forward of gpu_short.h, which has the plan.
#pragma once

#include "attention/gpu_head.h"

namespace clmer::CLMER_LEVEL {

constexpr int kChunk = 32;  // keys whose scores a warp holds
constexpr int kChunkBlocks = kChunk / kTile;

// The softmax of a lane's two rows so far, in units of log 2: `total` is of the lane's own columns.
struct Softmax {
  float top[2] = {-kInfinity, -kInfinity};
  float total[2] = {0, 0};

  // Scores of a chunk to weights over 2^shift, times `spare`: sums of values then stay as small as
  // the values. Returns by what earlier weights shrink.
  CLMER_DEVICE void take(Block (&s)[kChunkBlocks], int blocks, float spare, float (&shrinks)[2]) {
    float shift[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float high = top[h];
#pragma unroll
      for (int n = 0; n < kChunkBlocks; ++n) {
        if (n >= blocks) continue;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          if (e / 2 % 2 == h) high = fmaxf(high, s[n][e]);
        }
      }
      high = fmaxf(high, shuffle_xor(high, 1));
      high = fmaxf(high, shuffle_xor(high, 2));
      shift[h] = shift_of(high);
      shrinks[h] = exp2_of(top[h] - shift[h]);
      top[h] = high;
      total[h] *= shrinks[h];
    }
#pragma unroll
    for (int n = 0; n < kChunkBlocks; ++n) {
      if (n >= blocks) continue;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        s[n][e] = spare * exp2_of(s[n][e] - shift[e / 2 % 2]);
        total[e / 2 % 2] += s[n][e];
      }
    }
  }

  // A row of which all scores are -inf has the weights 0.
  static CLMER_DEVICE float shift_of(float top) { return top == -kInfinity ? 0 : top; }

  // To the whole row's total; returns its log-sum-exp.
  CLMER_DEVICE float finish(int h, float spare) {
    total[h] += shuffle_xor(total[h], 1);
    total[h] += shuffle_xor(total[h], 2);
    return (shift_of(top[h]) + log2_of(total[h] / spare)) * kLn2;
  }
};

template <class Kind, int kWidth, bool kPlain>
struct Forward {
  using T = typename Kind::Stored;
  static constexpr int kPitch = clmer::CLMER_LEVEL::kPitch<Kind, kWidth>;
  static constexpr int kBlocks = kWidth / kTile;

  const AttentionArgs& a;
  const ShortPlan& p;
  const Place at;
  const float* bias;

  CLMER_DEVICE Forward(const AttentionArgs& args, const ShortPlan& plan)
      : a(args),
        p(plan),
        at(args, plan),
        bias(args.bias.data ? at.slice<float>(args, args.bias) : nullptr) {}

  CLMER_DEVICE void run() const {
    load();
#pragma unroll 1
    for (int first = at.warp * kTile; first < p.rows; first += p.group * kTile) tile(first);
  }

  CLMER_DEVICE void load() const {
    const auto exists = [&](int row) { return at.exists && row < a.rows; };
    load_rows<Kind, kWidth>(at.share<T>(p.query), at.slice<T>(a, a.query), a.query.row, p.rows,
                            int(a.dim), p.query_by_16, at, exists);
    if constexpr (!kPlain) {
      mark_pairs(a, p, at);
      sync_block();
    }
    const auto seen = [&](int key) { return is_seen<kPlain>(a, p, at, key); };
    load_rows<Kind, kWidth>(at.share<T>(p.key), at.slice<T>(a, a.key), a.key.row, p.keys,
                            int(a.dim), p.key_by_16, at, seen);
    load_rows<Kind, kWidth>(at.share<T>(p.value), at.slice<T>(a, a.value), a.value.row, p.keys,
                            int(a.value_dim), p.value_by_16, at, seen);
    wait_for_copies();
    sync_block();
  }

  // 16 queries from `first` on.
  CLMER_DEVICE void tile(int first) const {
    T* rows = at.share<T>(p.query) + first * kPitch;
    const int row = first + at.lane / 4;
    Softmax softmax;
    Block o[kBlocks] = {};
    const int reach = tiles_end(a, p, first);
#pragma unroll 1
    for (int key = 0; key < reach; key += kChunk) {
      Block s[kChunkBlocks];
      const int blocks = (reach - key) / kTile;
      scores(rows, row, key, blocks, s);
      float shrinks[2];
      softmax.take(s, blocks, p.spare, shrinks);
      if (!kPlain && a.seed) drop(row, key, blocks, s);
      add_values(key, blocks, s, shrinks, o);
    }
    finish(first, row, softmax, o, rows);
  }

  CLMER_DEVICE void scores(const T* rows, int row, int key, int blocks,
                           Block (&s)[kChunkBlocks]) const {
#pragma unroll
    for (int n = 0; n < kChunkBlocks; ++n) {
      if (n >= blocks) continue;
      const int first = key + n * kTile;
#pragma unroll
      for (int e = 0; e < 8; ++e) s[n][e] = 0;
      add_scores<Kind, kWidth>(s[n], rows, at.share<T>(p.key) + first * kPitch, at.lane);
      const uint32_t bits[2] = {pair_bits<kPlain>(a, p, at, row, first),
                                pair_bits<kPlain>(a, p, at, row + 8, first)};
      finish_scores<kPlain>(a, p, bias, row, first + at.lane % 4 * 2, bits, s[n]);
      if (kPlain && first + kTile <= a.keys) continue;
#pragma unroll
      for (int e = 0; e < 8; ++e) s[n][e] = counts(bits, e) ? s[n][e] : -kInfinity;
    }
  }

  CLMER_DEVICE void drop(int row, int key, int blocks, Block (&s)[kChunkBlocks]) const {
    const DropoutKey keys[2] = {dropout_key(a, at, row), dropout_key(a, at, row + 8)};
#pragma unroll
    for (int n = 0; n < kChunkBlocks; ++n) {
      if (n >= blocks) continue;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const uint32_t column = key + n * kTile + e / 4 * 8 + at.lane % 4 * 2 + e % 2;
        if (!dropout_keeps(keys[e / 2 % 2], column, p.threshold)) s[n][e] = 0;
      }
    }
  }

  CLMER_DEVICE void add_values(int key, int blocks, const Block (&s)[kChunkBlocks],
                               const float (&shrinks)[2], Block (&o)[kBlocks]) const {
#pragma unroll
    for (int d = 0; d < kBlocks; ++d) {
#pragma unroll
      for (int e = 0; e < 8; ++e) o[d][e] *= shrinks[e / 2 % 2];
    }
#pragma unroll
    for (int n = 0; n < kChunkBlocks; ++n) {
      if (n >= blocks) continue;
      const T* values = at.share<T>(p.value) + (key + n * kTile) * kPitch;
      add_rows<Kind, kWidth>(o, Kind::from_block(s[n]), values, at.lane);
    }
  }

  CLMER_DEVICE void finish(int first, int row, Softmax& softmax, Block (&o)[kBlocks],
                           T* rows) const {
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float lse = softmax.finish(h, p.spare), total = softmax.total[h];
      factor[h] = total == 0 ? 0 : p.grown / total;
      if (at.exists && at.lane % 4 == 0 && row + 8 * h < a.rows) {
        static_cast<float*>(a.lse)[at.head * a.rows + row + 8 * h] = lse;
      }
    }
    T* out =
        static_cast<T*>(const_cast<void*>(a.out.data)) + (at.head * a.rows + first) * a.value_dim;
    sync_warp();  // all lanes have read the queries that O replaces
    store_tile<Kind, kWidth>(out, rows, o, factor, at.exists ? int(a.rows) - first : 0,
                             int(a.value_dim), p.dense_value_by_16, at.lane);
  }
};

}  // namespace clmer::CLMER_LEVEL
