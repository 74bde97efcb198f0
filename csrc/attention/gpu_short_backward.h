// The backward of gpu_short.h, which has the plan.
#pragma once

#include "attention/gpu_head.h"

namespace clmer::CLMER_LEVEL {

// What a query's pairs need to know of it.
struct alignas(16) Facts {
  float lse;    // in units of log 2; -inf where it sees no key
  float delta;  // sum P dP = dO . O
  DropoutKey dropout;
};

template <class Kind, int kWidth, bool kPlain>
struct Backward {
  using T = typename Kind::Stored;
  static constexpr int kPitch = clmer::CLMER_LEVEL::kPitch<Kind, kWidth>;
  static constexpr int kBlocks = kWidth / kTile;
  static constexpr int kShare = kWidth / 4;  // features of a query's O that each of 4 lanes takes

  // What Facts are made of, of a query.
  struct Early {
    float lse;
    alignas(16) T out[kShare];
  };
  // Queries a lane notes: the group's warps are enough for all tiles.
  static constexpr int kNoted = 2;

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
    Early early[kNoted];
    ask_early(early);
    wait_for_copies();
    sync_block();
    note_facts(early);
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
    // Without masks one sign of infinity says that a query is not there, and gives the weight 0.
    if (!at.exists || row >= a.rows) return kPlain ? kInfinity : -kInfinity;
    return static_cast<const float*>(a.lse)[at.head * a.rows + row];
  }

  CLMER_DEVICE void load() const {
    if constexpr (!kPlain) {
      mark_pairs(a, p, at);
      sync_block();
    }
    const auto seen = [&](int key) { return is_seen<kPlain>(a, p, at, key); };
    load_rows<Kind, kWidth>(at.share<T>(p.key), at.slice<T>(a, a.key), a.key.row, p.keys,
                            int(a.dim), p.key_by_16, at, seen);
    load_rows<Kind, kWidth>(at.share<T>(p.value), at.slice<T>(a, a.value), a.value.row, p.keys,
                            int(a.value_dim), p.value_by_16, at, seen);
    // A query that sees no key may be NaN, and so may the gradient that comes in there.
    const auto sees = [&](int row) {
      const bool may_be_blind = !kPlain && p.may_be_blind;
      return at.exists && row < a.rows && (!may_be_blind || lse_of(row) != -kInfinity);
    };
    load_rows<Kind, kWidth>(at.share<T>(p.query), at.slice<T>(a, a.query), a.query.row, p.rows,
                            int(a.dim), p.query_by_16, at, sees);
    load_rows<Kind, kWidth>(at.share<T>(p.grad_out), at.slice<T>(a, a.grad_out), a.grad_out.row,
                            p.rows, int(a.value_dim), p.grad_out_by_16, at, sees);
  }

  // Four lanes per query: its log-sum-exp and their share of O, on the way while copies are.
  CLMER_DEVICE void ask_early(Early (&early)[kNoted]) const {
    const T* out = static_cast<const T*>(a.out.data) + at.head * a.rows * a.value_dim;
    const int first = at.lane % 4 * kShare;
#pragma unroll
    for (int i = 0; i < kNoted; ++i) {
      const int row = (i * at.threads + at.thread) / 4;
      const bool exists = at.exists && row < a.rows;
      early[i].lse = lse_of(row);
      load_share<kShare>(early[i].out, out + row * a.value_dim + first,
                         exists ? int(a.value_dim) - first : 0, p.dense_value_by_16);
    }
  }

  CLMER_DEVICE void note_facts(const Early (&early)[kNoted]) const {
#pragma unroll
    for (int i = 0; i < kNoted; ++i) {
      const int row = (i * at.threads + at.thread) / 4;
      float delta = 0;
      if (row < p.rows) {
        alignas(16) T grad[kShare];
        load_share<kShare>(grad, at.share<T>(p.grad_out) + row * kPitch + at.lane % 4 * kShare,
                           kShare, true);
#pragma unroll
        for (int d = 0; d < kShare; ++d) delta += widen(grad[d]) * widen(early[i].out[d]);
      }
      delta += shuffle_xor(delta, 1);
      delta += shuffle_xor(delta, 2);
      if (at.lane % 4 != 0 || row >= p.rows) continue;
      DropoutKey key = {0, 0};
      if (!kPlain && a.seed) key = dropout_key(a, at, row);
      at.share<Facts>(p.facts)[row] = {early[i].lse * kLog2E, delta, key};
    }
  }

  // P as it was applied, and dS, of queries [first, stop); a block of 16 x 16 per warp.
  CLMER_DEVICE void pairs(int first, int stop) const {
    const int across = p.keys / kTile, all = (stop - first) / kTile * across;
#pragma unroll 1
    for (int i = at.warp; i < all; i += p.group) {
      const int row = i / across * kTile, key = i % across * kTile;
      if (key < tiles_end(a, p, first + row)) {
        block(first + row, row * p.pair_pitch, key);
      } else if (!kPlain && grad_bias) {
        store_scores(first + row + at.lane / 4, key + at.lane % 4 * 2, Block{});
      }
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
    const uint32_t bits[2] = {pair_bits<kPlain>(a, p, at, row, key),
                              pair_bits<kPlain>(a, p, at, row + 8, key)};
    finish_scores<kPlain>(a, p, bias, row, column, bits, s);
    const Facts* facts = at.share<Facts>(p.facts) + row;
    const Facts both[2] = {facts[0], facts[8]};
    if (kPlain && key + kTile <= a.keys) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        s[e] = exp2_of(s[e] - both[e / 2 % 2].lse);
        dp[e] = s[e] * (dp[e] - both[e / 2 % 2].delta);
      }
    } else {
      weigh(both, bits, column, s, dp);
    }
    Kind::store(at.share<T>(p.weights) + line + key, p.pair_pitch, at.lane, s);
    Kind::store(at.share<T>(p.grad_scores) + line + key, p.pair_pitch, at.lane, dp);
    if (!kPlain && grad_bias) store_scores(row, column, dp);
  }

  // S to P as it was applied, dP to dS, where some pairs do not count.
  CLMER_DEVICE void weigh(const Facts (&both)[2], const uint32_t (&bits)[2], int column, Block& s,
                          Block& dp) const {
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const Facts& of = both[e / 2 % 2];
      const bool shown = counts(bits, e) && (kPlain || of.lse != -kInfinity);
      const float weight = shown ? exp2_of(s[e] - of.lse) : 0;
      float factor = 1;
      if (!kPlain && a.seed) {
        const uint32_t c = column + e / 4 * 8 + e % 2;
        factor = dropout_keeps(of.dropout, c, p.threshold) ? p.grown : 0;
      }
      const float grad = factor == 0 ? 0 : dp[e] * factor;
      s[e] = weight * factor;
      dp[e] = shown ? weight * (grad - of.delta) : 0;
    }
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
    const int begin = a.causal && key > first ? key : first;  // no earlier query sees them
#pragma unroll 1
    for (int row = begin; row < stop; row += kTile) {
      const int line = (row - first) * p.pair_pitch + key;
      const T* weights = at.share<T>(p.weights) + line;
      const T* ds = at.share<T>(p.grad_scores) + line;
      add_rows<Kind, kWidth>(dv, Kind::from_columns(weights, p.pair_pitch, at.lane),
                             at.share<T>(p.grad_out) + row * kPitch, at.lane);
      add_rows<Kind, kWidth>(dk, Kind::from_columns(ds, p.pair_pitch, at.lane),
                             at.share<T>(p.query) + row * kPitch, at.lane);
    }
  }

  // dQ = dS K of queries [first, stop), 16 per warp. Behind it all of the round's rows are free.
  CLMER_DEVICE void query_gradients(int first, int stop) const {
    const int tiles = (stop - first) / kTile;
#pragma unroll 1
    for (int begin = 0; begin < tiles; begin += p.group) {
      const int tile = begin + at.warp, row = first + tile * kTile;
      Block dq[kBlocks] = {};
#pragma unroll 1
      for (int key = 0; tile < tiles && key < tiles_end(a, p, row); key += kTile) {
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
      factor[h] = !kPlain && facts[8 * h].lse == -kInfinity ? 0 : p.scale;
    }
    T* to =
        static_cast<T*>(const_cast<void*>(a.grad_query.data)) + (at.head * a.rows + first) * a.dim;
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
    store_tile<Kind, kWidth>(static_cast<T*>(const_cast<void*>(a.grad_key.data)) + number * a.dim,
                             at.share<T>(p.key) + key * kPitch, dk, scales, rows, int(a.dim),
                             p.dense_by_16, at.lane);
    store_tile<Kind, kWidth>(
        static_cast<T*>(const_cast<void*>(a.grad_value.data)) + number * a.value_dim,
        at.share<T>(p.value) + key * kPitch, dv, ones, rows, int(a.value_dim), p.dense_value_by_16,
        at.lane);
  }
};

}  // namespace clmer::CLMER_LEVEL
