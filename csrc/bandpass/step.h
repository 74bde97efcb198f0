// One sample through one biquad: the arithmetic that the CPU and CUDA kernels share.
//
// Which product is fused with which sum is spelled out. Left to the compiler, it may differ from
// one loop to the next, and then chunks would not give the bits of one pass.
#pragma once

#if defined(__CUDACC__) || defined(CLMER_SCALAR)
#include <cmath>
#endif

#include "common/host_device.h"

namespace clmer {
namespace CLMER_LEVEL {

// a b + c, rounded once; that of vectors is in simd_vec.h.
#if defined(__CUDACC__) || defined(CLMER_SCALAR)
CLMER_HD double fused(double a, double b, double c) { return std::fma(a, b, c); }
#endif

struct Biquad {
  double b0, b1, b2, minus_a1, minus_a2, c1, c2;
};

CLMER_HD Biquad biquad(const double* row) {
  const double b0 = row[0], b1 = row[1], b2 = row[2], a1 = row[4], a2 = row[5];
  return {b0, b1, b2, -a1, -a2, b1 - a1 * b0, b2 - a2 * b0};
}

// Transposed direct form II: y = b0 x + z0; z0 = b1 x - a1 y + z1; z1 = b2 x - a2 y. With y put in,
// c1 = b1 - a1 b0 and c2 = b2 - a2 b0, the states need no y: one multiply-add from z0 to the next
// instead of two, and the rounding of y stays out of them.
template <class F, class V>
CLMER_HD V forward_step(const F& f, V x, V& z0, V& z1) {
  const V y = fused(f.b0, x, z0);
  const V next = fused(f.minus_a1, z0, fused(f.c1, x, z1));
  z1 = fused(f.minus_a2, z0, f.c2 * x);
  z0 = next;
  return y;
}

// Its adjoint is direct form II run backwards: l0, l1 = dL/dz0, dL/dz1; g = total gradient at y.
template <class F, class V>
CLMER_HD V adjoint_step(const F& f, V grad_y, V& l0, V& l1) {
  const V g = fused(f.minus_a1, l0, fused(f.minus_a2, l1, grad_y));
  const V grad_x = fused(f.b0, g, fused(f.b1, l0, f.b2 * l1));
  l1 = l0;
  l0 = g;
  return grad_x;
}

}  // namespace CLMER_LEVEL
}  // namespace clmer
