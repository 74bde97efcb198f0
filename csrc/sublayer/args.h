// A transformer sublayer of S streams at once, each with weights of its own, and its gradient.
//
//   project       heads(norm(x) W2 + b2)
//   merge         x + drop(tokens(heads) W2 + b2)
//   feed_forward  x + drop(drop(relu(norm(x) W1 + b1)) W2 + b2)
#pragma once

#include <cstdint>

namespace clmer {

enum class Sublayer { project, merge, feed_forward };

constexpr int kMaxParts = 64;

struct SublayerArgs {
  Sublayer kind = Sublayer::project;
  int64_t streams = 0, batch = 0, length = 0, dim = 0, heads = 0;
  int64_t hidden = 0;   // feed_forward's
  int64_t outputs = 0;  // of W2: dim, or project's parts times dim
  // Tensors in heads layout, [S, B, h, L, dim / h], side by side along W2's features: what project
  // writes and merge reads.
  int64_t part_count = 0;
  void* parts[kMaxParts] = {};
  const void* x = nullptr;        // [S, B, L, dim]
  const void* weight1 = nullptr;  // [S, dim, hidden], bias [S, hidden]
  const void* bias1 = nullptr;
  const void* weight2 = nullptr;  // [S, hidden or dim, outputs], bias [S, outputs]
  const void* bias2 = nullptr;
  const int64_t* hidden_seed = nullptr;  // null without dropout
  const int64_t* out_seed = nullptr;
  double hidden_dropout = 0, out_dropout = 0;
  void* kept = nullptr;  // [S, B, L, hidden] after dropout, for the backward; null where none comes
  void* out = nullptr;   // [S, B, L, dim]; null in project
  // Of a stream: all rows, and those of a task. They go by shape alone, so that threads change no
  // bit of a gradient, which is summed over chunks.
  int64_t rows = 0, chunk_rows = 0;
  int threads = 1;
};

struct SublayerGradArgs : SublayerArgs {
  const void* grad_out = nullptr;   // null in project, whose `parts` are the gradients that come
  const void* weight1_t = nullptr;  // [S, hidden, dim]
  const void* weight2_t = nullptr;  // [S, outputs, hidden or dim]
  void* grad_x = nullptr;           // null in merge, whose own is grad_out
  void* grad_part = nullptr;        // merge's
  // Of each chunk of a stream's rows: [chunks, S, ...], every element written.
  void *grad_weight1 = nullptr, *grad_bias1 = nullptr;
  void *grad_weight2 = nullptr, *grad_bias2 = nullptr;
};

constexpr int64_t kSublayerTile = 48;  // rows: whole tiles of the product at every SIMD level

// Each returns false when its working memory cannot be had.
struct SublayerKernels {
  bool (*forward_f32)(const SublayerArgs&);
  bool (*forward_f64)(const SublayerArgs&);
  bool (*backward_f32)(const SublayerGradArgs&);
  bool (*backward_f64)(const SublayerGradArgs&);
};

namespace baseline {
extern const SublayerKernels sublayer;
}
namespace avx2 {
extern const SublayerKernels sublayer;
}
namespace avx512 {
extern const SublayerKernels sublayer;
}

}  // namespace clmer
