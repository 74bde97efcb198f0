// Attention of short sequences on a GPU: a head's queries and keys in shared memory.
//
// Plan: a block of 4 or 8 warps owns a head of up to 64 or 128 tokens, or two or four heads of one
// or two tiles of 16. It copies Q, K, V (and dO) there, 16 bytes per thread without passing through
// registers, rows that masks hide as zeros, and what is hidden as a bit per pair. Forward: a warp
// takes 16 queries, whose scores for 32 keys at a time stay in registers with the online softmax,
// and go as they are into P V. Backward: a warp takes 16 x 16 pairs and leaves their P and dS in
// shared memory, `round` queries at a time; after a barrier each warp adds P^T dO and dS^T Q of its
// own keys onto dV and dK in registers, then dS K of its own queries is dQ. So all gradients come
// from one launch, every element has one writer, and every sum one order. Results go back through
// the rows that they came from, 16 bytes per lane.
//
// Roofline: memory. Q, K, V are read and O is written, then Q, K, V, dO, O are read and dQ, dK, dV
// written, all once: 12 L D numbers where the bench's floor counts 11 (not O in the backward).
// Beside it stand one exponential per pair each way and some 10 and 20 other operations, which for
// D = 16 and half types take about as long by count; tensor cores idle most of the time. An H200
// takes 3.5 times the bytes' time: a wave and a half of blocks, each a chain of short stages.
//
// Compiled for GPUs by gpu_launch.cu (common/cuda_device.h) and for tests by
// testing/attention_emulated.cpp (cuda_emulated.h), which is included first.
#pragma once

#include "attention/gpu_short_backward.h"
#include "attention/gpu_short_forward.h"

namespace clmer::CLMER_LEVEL {

// Both passes for a way to multiply, a width, and either any terms or none.
template <class Kind, int kWidthValue, bool kPlain>
struct Form {
  static constexpr int kWidth = kWidthValue;
  static constexpr bool kIsPlain = kPlain;
  using Forward = clmer::CLMER_LEVEL::Forward<Kind, kWidth, kPlain>;
  using Backward = clmer::CLMER_LEVEL::Backward<Kind, kWidth, kPlain>;
};

template <class Kind, int kWidth, class Call>
void with_terms(const ShortPlan& p, Call call) {
  p.plain ? call(Form<Kind, kWidth, true>()) : call(Form<Kind, kWidth, false>());
}

template <class Kind, class Call>
void with_width(const ShortPlan& p, Call call) {
  if (p.width == 16) return with_terms<Kind, 16>(p, call);
  if (p.width == 32) return with_terms<Kind, 32>(p, call);
  with_terms<Kind, 64>(p, call);
}

// Calls with the Form of a plan.
template <class Call>
void with_form(const ShortPlan& p, Product product, Call call) {
  switch (product) {
    case Product::bf16: return with_width<HalfProducts<BFloat16>>(p, call);
    case Product::f16: return with_width<HalfProducts<Float16>>(p, call);
    case Product::tf32: return with_width<SingleProducts<false>>(p, call);
    case Product::f32: return with_width<SingleProducts<true>>(p, call);
  }
}

}  // namespace clmer::CLMER_LEVEL
