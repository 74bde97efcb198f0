// NT-Xent, forward and backward, without the similarity matrix. Groups are independent batches.
#pragma once

#include <cstdint>

namespace clmer {

constexpr int64_t kNtXentStats = 6;

struct NtXentArgs {
  const void* view_a;  // [groups, n, dim] float or double; rows 0..n-1 of z
  const void* view_b;  // [groups, n, dim]; rows n..2n-1 of z
  double temperature;
  // [groups, kNtXentStats, 2n]: 1 / |x_i|; a shift c_i of row i's exponents;
  // 1 / sum_{j != i} e^(s_ij - c_i); 1 - p(i's positive); row i's loss; whether its positive scores
  // above all negatives, 1 or 0 (0 unless `ranked`). The backward reads the first four.
  double* stats;
  int64_t groups;
  int64_t n;
  int64_t dim;
  bool normalize;
  bool ranked;  // forward only
  int threads;
  void* loss;                // [groups]; forward only, as all below backward only
  const void* grad_loss;     // [groups]
  void* grad_a;              // [groups, n, dim]
  void* grad_b;              // [groups, n, dim]
  double* grad_temperature;  // one value
};

// Each returns false when its working memory cannot be had.
struct NtXentKernels {
  bool (*forward_f32)(const NtXentArgs&);  // writes stats and loss
  bool (*forward_f64)(const NtXentArgs&);
  bool (*backward_f32)(const NtXentArgs&);  // reads stats
  bool (*backward_f64)(const NtXentArgs&);
};

namespace baseline {
extern const NtXentKernels ntxent;
}
namespace avx2 {
extern const NtXentKernels ntxent;
}
namespace avx512 {
extern const NtXentKernels ntxent;
}

}  // namespace clmer
