// The backward of attention_short.h, which has the plan.
#pragma once

#include "attention_head.h"

namespace clmer::CLMER_LEVEL {

// What a query's pairs need to know of it.
struct alignas(16) Facts {
  float lse;    // in units of log 2; -inf where it sees no key
  float delta;  // sum P dP = dO . O
  DropoutKey dropout;
};

template <class Kind, int kWidth>
struct Backward {
  using T = typename Kind::Stored;
  static constexpr int kPitch = clmer::CLMER_LEVEL::kPitch<Kind, kWidth>;
  static constexpr int kBlocks = kWidth / kTile;

  const AttentionGradArgs& a;
  const ShortPlan& p;
  const Place at;
  const float* bias;
  float* grad_bias;

  CLMER_DEVICE Backward(const AttentionGradArgs& args, const ShortPlan& plan)
      : a(args),
        p(plan),
        at(args, plan),
        bias(args.bias.data ? at.slice<float>(args, args.bias) : nullptr),
        grad_bias(args.grad_bias.data ? const_cast<float*>(at.slice<float>(args, args.grad_bias))
                                      : nullptr) {}

  CLMER_DEVICE void run() const {
    load();
    note_facts();
    sync_block();
    Block dk[kBlocks] = {}, dv[kBlocks] = {};
#pragma unroll 1
    for (int first = 0; first < p.rows; first += p.round) {
      const int stop = first + p.round < p.rows ? first + p.round : p.rows;
      pairs(first, stop);
      sync_block();
      add_key_gradients(first, stop, dk, dv);
      query_gradients(first, stop);
    }
    store_key_gradients(dk, dv);
  }

  CLMER_DEVICE float lse_of(int row) const {
    const bool exists = at.exists && row < a.rows;
    return exists ? static_cast<const float*>(a.lse)[at.head * a.rows + row] : -kInfinity;
  }

  CLMER_DEVICE void load() const {
    mark_pairs(a, p, at);
    sync_block();
    const auto seen = [&](int key) { return is_seen(p, at, key); };
    load_rows<Kind, kWidth>(at.share<T>(p.key), at.slice<T>(a, a.key), a.key.row, p.keys,
                            int(a.dim), p.key_by_16, at, seen);
    load_rows<Kind, kWidth>(at.share<T>(p.value), at.slice<T>(a, a.value), a.value.row, p.keys,
                            int(a.value_dim), p.value_by_16, at, seen);
    // A query that sees no key may be NaN, and so may the gradient that comes in there.
    const auto sees = [&](int row) {
      return at.exists && row < a.rows && (!p.may_be_blind || lse_of(row) != -kInfinity);
    };
    load_rows<Kind, kWidth>(at.share<T>(p.query), at.slice<T>(a, a.query), a.query.row, p.rows,
                            int(a.dim), p.query_by_16, at, sees);
    load_rows<Kind, kWidth>(at.share<T>(p.grad_out), at.slice<T>(a, a.grad_out), a.grad_out.row,
                            p.rows, int(a.value_dim), p.grad_out_by_16, at, sees);
    wait_for_copies();
    sync_block();
  }

  // Four lanes a query.
  CLMER_DEVICE void note_facts() const {
    const T* out = static_cast<const T*>(a.out) + at.head * a.rows * a.value_dim;
#pragma unroll 1
    for (int first = 0; first < p.rows; first += at.threads / 4) {
      const int row = first + at.thread / 4;
      const bool exists = at.exists && row < a.rows;
      float delta = 0;
#pragma unroll
      for (int d = at.lane % 4; d < kWidth; d += 4) {
        if (!exists || d >= a.value_dim) continue;
        delta +=
            widen(at.share<T>(p.grad_out)[row * kPitch + d]) * widen(out[row * a.value_dim + d]);
      }
      delta += shuffle_xor(delta, 1);
      delta += shuffle_xor(delta, 2);
      if (at.lane % 4 != 0 || row >= p.rows) continue;
      const DropoutKey key = a.seed ? dropout_key(a, at, row) : DropoutKey{0, 0};
      at.share<Facts>(p.facts)[row] = {lse_of(row) * kLog2E, delta, key};
    }
  }

  // P as it was applied, and dS, of queries [first, stop); a block of 16 x 16 a warp.
  CLMER_DEVICE void pairs(int first, int stop) const {
    const int across = p.keys / kTile, all = (stop - first) / kTile * across;
#pragma unroll 1
    for (int i = at.warp; i < all; i += p.group) {
      const int row = i / across * kTile, key = i % across * kTile;
      block(first + row, row * p.pair_pitch, key);
    }
  }

  // `line`: where the block's rows begin in `weights` and `grad_scores`.
  CLMER_DEVICE void block(int first, int line, int key) const {
    Block s = {}, dp = {};
    add_scores<Kind, kWidth>(s, at.share<T>(p.query) + first * kPitch,
                             at.share<T>(p.key) + key * kPitch, at.lane);
    add_scores<Kind, kWidth>(dp, at.share<T>(p.grad_out) + first * kPitch,
                             at.share<T>(p.value) + key * kPitch, at.lane);
    const int row = first + at.lane / 4, column = key + at.lane % 4 * 2;
    const uint32_t bits[2] = {pair_bits(p, at, row, key), pair_bits(p, at, row + 8, key)};
    finish_scores(a, p, bias, row, column, bits, s);
    const Facts* facts = at.share<Facts>(p.facts) + row;
    const Facts both[2] = {facts[0], facts[8]};
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const Facts& of = both[e / 2 % 2];
      const bool shown = counts(bits, e) && of.lse != -kInfinity;
      const float weight = shown ? exp2_of(s[e] - of.lse) : 0;
      const uint32_t c = column + e / 4 * 8 + e % 2;
      float factor = 1;
      if (a.seed) factor = dropout_keeps(of.dropout, c, p.threshold) ? p.grown : 0;
      const float grad = factor == 0 ? 0 : dp[e] * factor;
      s[e] = weight * factor;
      dp[e] = shown ? weight * (grad - of.delta) : 0;
    }
    Kind::store(at.share<T>(p.weights) + line + key, p.pair_pitch, at.lane, s);
    Kind::store(at.share<T>(p.grad_scores) + line + key, p.pair_pitch, at.lane, dp);
    if (grad_bias) store_scores(row, column, dp);
  }

  CLMER_DEVICE void store_scores(int row, int column, const Block& ds) const {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int r = row + e / 2 % 2 * 8, c = column + e / 4 * 8 + e % 2;
      if (at.exists && r < a.rows && c < a.keys) {
        grad_bias[r * a.grad_bias.row + c * a.grad_bias.col] = ds[e];
      }
    }
  }

  // dV += P^T dO and dK += dS^T Q, of the 16 keys that the warp owns.
  CLMER_DEVICE void add_key_gradients(int first, int stop, Block (&dk)[kBlocks],
                                      Block (&dv)[kBlocks]) const {
    const int key = at.warp * kTile;
    if (key >= p.keys) return;
#pragma unroll 1
    for (int row = first; row < stop; row += kTile) {
      const int line = (row - first) * p.pair_pitch + key;
      const T* weights = at.share<T>(p.weights) + line;
      const T* ds = at.share<T>(p.grad_scores) + line;
      add_rows<Kind, kWidth>(dv, Kind::from_columns(weights, p.pair_pitch, at.lane),
                             at.share<T>(p.grad_out) + row * kPitch, at.lane);
      add_rows<Kind, kWidth>(dk, Kind::from_columns(ds, p.pair_pitch, at.lane),
                             at.share<T>(p.query) + row * kPitch, at.lane);
    }
  }

  // dQ = dS K of queries [first, stop), 16 a warp. Behind it all of the round's rows are free.
  CLMER_DEVICE void query_gradients(int first, int stop) const {
    const int tiles = (stop - first) / kTile;
#pragma unroll 1
    for (int begin = 0; begin < tiles; begin += p.group) {
      const int tile = begin + at.warp, row = first + tile * kTile;
      Block dq[kBlocks] = {};
#pragma unroll 1
      for (int key = 0; tile < tiles && key < p.keys; key += kTile) {
        const T* ds = at.share<T>(p.grad_scores) + tile * kTile * p.pair_pitch + key;
        add_rows<Kind, kWidth>(dq, Kind::from_rows(ds, p.pair_pitch, at.lane),
                               at.share<T>(p.key) + key * kPitch, at.lane);
      }
      sync_block();
      if (tile < tiles) store_query_gradient(row, dq);
    }
  }

  CLMER_DEVICE void store_query_gradient(int first, Block (&dq)[kBlocks]) const {
    const Facts* facts = at.share<Facts>(p.facts) + first + at.lane / 4;
    float factor[2];  // 0 for a query that sees no key, or where K is NaN for others
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      factor[h] = facts[8 * h].lse == -kInfinity ? 0 : p.scale;
    }
    T* to = static_cast<T*>(a.grad_query) + (at.head * a.rows + first) * a.dim;
    store_tile<Kind, kWidth>(to, at.share<T>(p.query) + first * kPitch, dq, factor,
                             at.exists ? int(a.rows) - first : 0, int(a.dim), p.dense_by_16,
                             at.lane);
  }

  CLMER_DEVICE void store_key_gradients(Block (&dk)[kBlocks], Block (&dv)[kBlocks]) const {
    const int key = at.warp * kTile;
    if (key >= p.keys) return;
    const float scales[2] = {p.scale, p.scale}, ones[2] = {1, 1};
    const int64_t number = at.head * a.keys + key;
    const int rows = at.exists ? int(a.keys) - key : 0;
    store_tile<Kind, kWidth>(static_cast<T*>(a.grad_key) + number * a.dim,
                             at.share<T>(p.key) + key * kPitch, dk, scales, rows, int(a.dim),
                             p.dense_by_16, at.lane);
    store_tile<Kind, kWidth>(static_cast<T*>(a.grad_value) + number * a.value_dim,
                             at.share<T>(p.value) + key * kPitch, dv, ones, rows, int(a.value_dim),
                             p.dense_value_by_16, at.lane);
  }
};

}  // namespace clmer::CLMER_LEVEL
