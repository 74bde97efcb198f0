// How gpu_short.h lies on a GPU: warps per head, heads per block, what stands where in shared
// memory. Reckoned from bytes and tiles.
#pragma once

#include <cstdint>
#include <string>

#include "attention/args.h"

namespace clmer {

constexpr int kShortLength = 128;   // queries, and keys
constexpr int kShortWidth = 64;     // D, and Dv
constexpr int kTile = 16;           // a matrix product's edge
constexpr int kShortThreads = 256;  // of a block, at most
constexpr int kMaxGroup = kShortThreads / 32;
static_assert(kMaxGroup * kTile >= kShortLength, "a warp owns a tile of keys at most");

// Storage type, and how float is multiplied: as tf32, or as two tf32 numbers each.
enum class Product : int { bf16, f16, tf32, f32 };

struct ShortPlan {
  int width;          // features in a row of shared memory: 16, 32 or 64
  int rows, keys;     // rounded up to whole tiles
  int pair_pitch;     // elements of a query's row of weights
  int group;          // warps per head: 1, 2, 4 or 8
  int heads;          // of a block, which has 4 warps, or a group's 8
  int round;          // queries whose weights stand in shared memory at once, in the backward
  int word_rows;      // queries with a row of `words` of their own; 1: all share one
  int words_pitch;    // words per row: a bit per key
  bool may_be_blind;  // a query may see no key
  bool plain;         // no masks, no bias, no dropout, and some key
  // In bytes from the head's share of shared memory on. `weights` and `grad_scores`: [round, keys].
  int query, key, value, grad_out, weights, grad_scores, facts, words, seen;
  int head_bytes;
  float scale;
  uint32_t threshold;  // a hash below it drops a weight
  float grown;         // 1 / (1 - dropout_p)
  float spare;         // a power of two by which no sum of weights exceeds 1; 1 for float16
  // Rows that may be copied by 16 bytes.
  bool query_by_16, key_by_16, value_by_16, grad_out_by_16, dense_by_16, dense_value_by_16;

  int threads() const { return 32 * group * heads; }
  int64_t blocks(int64_t of) const { return (of + heads - 1) / heads; }
  int shared_bytes() const { return head_bytes * heads; }
};

// What does not fit of a shape, in words; empty where all does.
std::string short_refusal(int64_t rows, int64_t dim, int64_t keys, int64_t value_dim);

// Joins leading dimensions that lie evenly in memory in all tensors.
void join_leading(AttentionGradArgs& a);

ShortPlan plan_short(const AttentionGradArgs& a, Product product, bool backward);

#ifdef CLMER_CUDA_BUILT
// Launches; all pointers are on `device`, which need not be the current one; `stream` is a
// cudaStream_t of it. Throws std::runtime_error with CUDA's words.
void attention_cuda(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                    bool backward, int device, void* stream);
#endif

}  // namespace clmer
