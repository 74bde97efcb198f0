// Batch norm, ReLU and max pooling over pairs of steps, of series x [B, C, T], in two passes over
// x.
//
//   r = relu(gain (x - mean) / sqrt(var + eps) + offset)
//   y_k = max(r_2k-1, r_2k), k = 0 .. T / 2; what lies outside counts as 0
#pragma once

#include <cstdint>

namespace clmer {

struct NormPoolArgs {
  int64_t batch = 0, channels = 0, length = 0;
  const void* x = nullptr;                        // [B, C, T]
  const void *gain = nullptr, *offset = nullptr;  // [C]
  double eps = 0;
  bool measure = false;                    // mean and var are written, from x; else read
  double *mean = nullptr, *var = nullptr;  // [C], var over B T
  void* y = nullptr;                       // [B, C, T / 2 + 1]
  int threads = 1;

  int64_t pooled() const { return length / 2 + 1; }
};

struct NormPoolGradArgs : NormPoolArgs {  // measure: mean and var depend on x
  const void* grad_y = nullptr;
  void *grad_x = nullptr, *grad_gain = nullptr, *grad_offset = nullptr;
};

// Each returns false when its working memory cannot be had.
struct NormPoolKernels {
  bool (*forward_f32)(const NormPoolArgs&);
  bool (*forward_f64)(const NormPoolArgs&);
  bool (*backward_f32)(const NormPoolGradArgs&);
  bool (*backward_f64)(const NormPoolGradArgs&);
};

namespace baseline {
extern const NormPoolKernels normpool;
}
namespace avx2 {
extern const NormPoolKernels normpool;
}
namespace avx512 {
extern const NormPoolKernels normpool;
}

}  // namespace clmer
