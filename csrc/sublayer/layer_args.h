// A whole pre-norm transformer layer, and its gradient: weights as nn.Linear and nn.LayerNorm have
// them, no attention dropout, query, key and value without bias.
//
//   u = x[:, :R] + drop(W_o attention(W_q n(x[:, :R]), W_k n(x), W_v n(x)) + b_o)
//   y = u + drop(W_2 drop(relu(W_1 n'(u) + b_1)) + b_2)
#pragma once

#include <cstdint>

namespace clmer {

// The weights, in the order in which they come and their gradients leave.
enum LayerWeight {
  kGain1,
  kOffset1,
  kQuery,
  kKeyValue,
  kOut,
  kOutBias,
  kGain2,
  kOffset2,
  kWeight1,
  kBias1,
  kWeight2,
  kBias2,
  kLayerWeights
};

struct LayerArgs {
  int64_t batch = 0, length = 0, dim = 0, heads = 0, hidden = 0;
  int64_t queries = 0;      // R: all of a sample's tokens, or its first one
  const void* x = nullptr;  // [B, L, dim]
  // W_q, W_o [dim, dim], W_kv [2 dim, dim], W_1 [hidden, dim], W_2 [dim, hidden], others [dim] or
  // (b_1) [hidden]
  const void* weights[kLayerWeights] = {};
  const int64_t* seeds = nullptr;    // of u's, the hidden rows' and y's masks; null without dropout
  const int64_t* samples = nullptr;  // [B] whose rows of the masks; null: 0 to B - 1
  double dropout = 0;
  // For the backward, one after the other: queries [B, R, dim], keys and values [B, L, 2 dim],
  // attention [B, R, dim], u [B, R, dim], hidden rows after dropout [B, R, hidden].
  void* saved = nullptr;
  void* y = nullptr;  // [B, R, dim]
  int threads = 1;

  int64_t inputs_of(int weight) const { return weight == kWeight2 ? hidden : dim; }
  int64_t outputs_of(int weight) const {
    return weight == kKeyValue ? 2 * dim : weight == kWeight1 ? hidden : dim;
  }
  static bool is_matrix(int weight) {
    return weight == kQuery || weight == kKeyValue || weight == kOut || weight == kWeight1 ||
           weight == kWeight2;
  }
  int64_t size_of(int weight) const {
    if (weight == kBias1) return hidden;
    return is_matrix(weight) ? inputs_of(weight) * outputs_of(weight) : dim;
  }
  // Where a weight's gradient begins within those of all; kLayerWeights: where they end.
  int64_t start_of(int weight) const {
    int64_t start = 0;
    for (int i = 0; i < weight; ++i) start += size_of(i);
    return start;
  }
  int64_t saved_size() const { return batch * (queries * (3 * dim + hidden) + 2 * length * dim); }
};

struct LayerGradArgs : LayerArgs {
  const void* grad_y = nullptr;
  void* grad_x = nullptr;
  void* grad_weights = nullptr;  // [start_of(kLayerWeights)]
};

// Each returns false when its working memory cannot be had.
struct LayerKernels {
  bool (*forward_f32)(const LayerArgs&);
  bool (*forward_f64)(const LayerArgs&);
  bool (*backward_f32)(const LayerGradArgs&);
  bool (*backward_f64)(const LayerGradArgs&);
};

namespace baseline {
extern const LayerKernels layer;
}
namespace avx2 {
extern const LayerKernels layer;
}
namespace avx512 {
extern const LayerKernels layer;
}

}  // namespace clmer
