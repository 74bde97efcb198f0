// Scaled dot-product attention over many heads, and its gradient by recomputation.
#pragma once

#include <cstdint>

namespace clmer {

constexpr int kMaxLead = 5;

// A tensor [lead..., row, col] with any strides (in elements; 0 along a broadcast dimension).
struct Strided {
  const void* data = nullptr;  // null where absent
  int64_t lead[kMaxLead] = {};
  int64_t row = 0;
  int64_t col = 0;
};

struct AttentionArgs {
  int lead_dims = 0;
  int64_t lead[kMaxLead] = {};
  int64_t heads = 0;  // product of lead
  int64_t rows = 0;   // queries
  int64_t keys = 0;
  int64_t dim = 0;
  int64_t value_dim = 0;
  Strided query, key, value;      // of one storage type
  Strided bias;                   // float or double: the type of the arithmetic
  Strided attn_mask;              // bool; true = takes part
  Strided mask;                   // key_padding_mask: bool, row = 0; true = ignore
  const int64_t* seed = nullptr;  // null without dropout
  double dropout_p = 0;
  double scale = 1;
  bool causal = false;  // query i sees the keys 0 to i alone
  Strided out;          // [lead..., rows, value_dim], adjacent columns
  // [lead..., rows, keys] of the arithmetic, adjacent columns: absent, of every head, or (stride 0
  // in the last leading dimension) the sum over the heads that share it times `weight_share`.
  Strided weights;
  double weight_share = 1;
  // [heads, rows], natural log, in the type of the arithmetic; +inf where the query sees no key;
  // the forward leaves it out where it is null
  void* lse = nullptr;
  int threads = 1;
};

struct AttentionGradArgs : AttentionArgs {
  Strided grad_out;                          // [lead..., rows, value_dim]
  Strided grad_query, grad_key, grad_value;  // adjacent columns; every element is written
  Strided grad_bias;  // `parts` zeroed copies of the bias's own shape, summed by the caller
  int64_t parts = 1;
  int64_t part_stride = 0;
};

// By storage type; bf16 and f16 compute in float. Each returns false when its working memory cannot
// be had.
struct AttentionKernels {
  bool (*f32)(const AttentionArgs&);
  bool (*f64)(const AttentionArgs&);
  bool (*bf16)(const AttentionArgs&);
  bool (*f16)(const AttentionArgs&);
};

struct AttentionGradKernels {
  bool (*f32)(const AttentionGradArgs&);
  bool (*f64)(const AttentionGradArgs&);
  bool (*bf16)(const AttentionGradArgs&);
  bool (*f16)(const AttentionGradArgs&);
};

namespace baseline {
extern const AttentionKernels attention;
extern const AttentionGradKernels attention_backward;
}  // namespace baseline
namespace avx2 {
extern const AttentionKernels attention;
extern const AttentionGradKernels attention_backward;
}  // namespace avx2
namespace avx512 {
extern const AttentionKernels attention;
extern const AttentionGradKernels attention_backward;
}  // namespace avx512

}  // namespace clmer
