// Attention of short sequences on a GPU: a head's queries and keys in shared memory.
//
// Plan: a block of 4 or 8 warps owns a head of up to 64 or 128 tokens, or two or four heads of one
// or two tiles of 16. It copies Q, K, V (and dO) there, 16 bytes a thread without passing through
// registers, rows that masks hide as zeros, and what is hidden as a bit a pair. Forward: a warp
// takes 16 queries, whose scores for 64 keys at a time stay in registers with the online softmax,
// and go as they are into P V. Backward: a warp takes 16 x 16 pairs and leaves their P and dS in
// shared memory, `round` queries at a time; after a barrier each warp adds P^T dO and dS^T Q of its
// own keys onto dV and dK in registers, then dS K of its own queries is dQ. So all gradients come
// from one launch, every element has one writer, and every sum one order. Results go back through
// the rows that they came from, 16 bytes a lane.
//
// Roofline: memory. Q, K, V are read and O is written, then Q, K, V, dO, O are read and dQ, dK, dV
// written, all once: 12 L D numbers where the bench's floor counts 11 (not O in the backward).
// Beside it stand one exponential a pair each way and some 10 and 20 other operations, which for D
// = 16 and half types take about as long; tensor cores are idle most of the time.
//
// Compiled for GPUs by attention_cuda.cu (cuda_device.h) and for tests by attention_emulated.cpp
// (cuda_emulated.h), which is included first.
#pragma once

#include "attention_head.h"

namespace clmer::CLMER_LEVEL {

// ---- forward ----------------------------------------------------------------------------------
constexpr int kChunk = 32;  // keys whose scores a warp holds
constexpr int kChunkBlocks = kChunk / kTile;

// The softmax of a lane's two rows so far, in units of log 2: `total` is of the lane's own columns.
struct Softmax {
  float top[2] = {-kInfinity, -kInfinity};
  float total[2] = {0, 0};

  // Scores of a chunk to weights over 2^shift; returns by what earlier weights shrink.
  CLMER_DEVICE void take(Block (&s)[kChunkBlocks], int blocks, float (&shrinks)[2]) {
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
        s[n][e] = exp2_of(s[n][e] - shift[e / 2 % 2]);
        total[e / 2 % 2] += s[n][e];
      }
    }
  }

  // A row of which all scores are -inf has the weights 0.
  static CLMER_DEVICE float shift_of(float top) { return top == -kInfinity ? 0 : top; }

  // To the whole row's total; returns its log-sum-exp.
  CLMER_DEVICE float finish(int h) {
    total[h] += shuffle_xor(total[h], 1);
    total[h] += shuffle_xor(total[h], 2);
    return (shift_of(top[h]) + log2_of(total[h])) * kLn2;
  }
};

template <class Kind, int kWidth>
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
    mark_pairs(a, p, at);
    sync_block();
    const auto seen = [&](int key) { return is_seen(p, at, key); };
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
#pragma unroll 1
    for (int key = 0; key < p.keys; key += kChunk) {
      Block s[kChunkBlocks];
      const int blocks = (p.keys - key) / kTile;
      scores(rows, row, key, blocks, s);
      float shrinks[2];
      softmax.take(s, blocks, shrinks);
      if (a.seed) drop(row, key, blocks, s);
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
      const uint32_t bits[2] = {pair_bits(p, at, row, first), pair_bits(p, at, row + 8, first)};
      finish_scores(a, bias, row, first + at.lane % 4 * 2, bits, s[n]);
#pragma unroll
      for (int e = 0; e < 8; ++e) s[n][e] = counts(bits, e) ? s[n][e] : -kInfinity;
    }
  }

  CLMER_DEVICE void drop(int row, int key, int blocks, Block (&s)[kChunkBlocks]) const {
    const Dropout dropout(a);
    const DropoutKey keys[2] = {dropout_key(a, at, row), dropout_key(a, at, row + 8)};
#pragma unroll
    for (int n = 0; n < kChunkBlocks; ++n) {
      if (n >= blocks) continue;
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const uint32_t column = key + n * kTile + e / 4 * 8 + at.lane % 4 * 2 + e % 2;
        if (!dropout_keeps(keys[e / 2 % 2], column, dropout.threshold)) s[n][e] = 0;
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
    const float grown = a.seed ? Dropout(a).grown : 1;
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float lse = softmax.finish(h), total = softmax.total[h];
      factor[h] = total == 0 ? 0 : grown / total;
      if (at.exists && at.lane % 4 == 0 && row + 8 * h < a.rows) {
        static_cast<float*>(a.lse)[at.head * a.rows + row + 8 * h] = lse;
      }
    }
    T* out = static_cast<T*>(a.out) + (at.head * a.rows + first) * a.value_dim;
    sync_warp();  // all lanes have read the queries that O replaces
    store_tile<Kind, kWidth>(out, rows, o, factor, at.exists ? int(a.rows) - first : 0,
                             int(a.value_dim), p.dense_value_by_16, at.lane);
  }
};

// ---- backward ---------------------------------------------------------------------------------
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
    finish_scores(a, bias, row, column, bits, s);
    const Facts* facts = at.share<Facts>(p.facts) + row;
    const Facts both[2] = {facts[0], facts[8]};
    const Dropout dropout(a);
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const Facts& of = both[e / 2 % 2];
      const bool shown = counts(bits, e) && of.lse != -kInfinity;
      const float weight = shown ? exp2_of(s[e] - of.lse) : 0;
      const uint32_t c = column + e / 4 * 8 + e % 2;
      float factor = 1;
      if (a.seed) factor = dropout_keeps(of.dropout, c, dropout.threshold) ? dropout.grown : 0;
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
      factor[h] = facts[8 * h].lse == -kInfinity ? 0 : static_cast<float>(a.scale);
    }
    T* to = static_cast<T*>(a.grad_query) + (at.head * a.rows + first) * a.dim;
    store_tile<Kind, kWidth>(to, at.share<T>(p.query) + first * kPitch, dq, factor,
                             at.exists ? int(a.rows) - first : 0, int(a.dim), p.dense_by_16,
                             at.lane);
  }

  CLMER_DEVICE void store_key_gradients(Block (&dk)[kBlocks], Block (&dv)[kBlocks]) const {
    const int key = at.warp * kTile;
    if (key >= p.keys) return;
    const float scale = static_cast<float>(a.scale), scales[2] = {scale, scale}, ones[2] = {1, 1};
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

// ---- types ------------------------------------------------------------------------------------
template <class KindType, int kWidthValue>
struct Form {
  using Kind = KindType;
  static constexpr int kWidth = kWidthValue;
};

template <class Kind, class Call>
void with_width(int width, Call call) {
  if (width == 16) return call(Form<Kind, 16>());
  if (width == 32) return call(Form<Kind, 32>());
  call(Form<Kind, 64>());
}

// Calls with the Form of a product and a width.
template <class Call>
void with_form(Product product, int width, Call call) {
  switch (product) {
    case Product::bf16: return with_width<HalfProducts<BFloat16>>(width, call);
    case Product::f16: return with_width<HalfProducts<Float16>>(width, call);
    case Product::tf32: return with_width<SingleProducts<false>>(width, call);
    case Product::f32: return with_width<SingleProducts<true>>(width, call);
  }
}

}  // namespace clmer::CLMER_LEVEL
