// One sample through one biquad: the arithmetic that the CPU and CUDA kernels share.
#pragma once

#ifdef __CUDACC__
#define CLMER_HD __host__ __device__ __forceinline__
#else
#define CLMER_HD inline
#endif

namespace clmer {
namespace CLMER_LEVEL {

struct Biquad {
  double b0, b1, b2, a1, a2, c1, c2;
};

CLMER_HD Biquad biquad(const double* row) {
  return {
      row[0], row[1], row[2], row[4], row[5], row[1] - row[4] * row[0], row[2] - row[5] * row[0]};
}

// Transposed direct form II: y = b0 x + z0; z0 = b1 x - a1 y + z1; z1 = b2 x - a2 y. With y put in,
// c1 = b1 - a1 b0 and c2 = b2 - a2 b0, the states need no y: one multiply-add from z0 to the next.
template <class V>
CLMER_HD V forward_step(const Biquad& f, V x, V& z0, V& z1) {
  const V y = f.b0 * x + z0;
  const V z = (f.c1 * x + z1) - f.a1 * z0;
  z1 = f.c2 * x - f.a2 * z0;
  z0 = z;
  return y;
}

// Its adjoint is direct form II run backwards: l0, l1 = dL/dz0, dL/dz1; g = total gradient at y.
template <class V>
CLMER_HD V adjoint_step(const Biquad& f, V grad_y, V& l0, V& l1) {
  const V g = grad_y - f.a1 * l0 - f.a2 * l1;
  const V grad_x = f.b0 * g + f.b1 * l0 + f.b2 * l1;
  l1 = l0;
  l0 = g;
  return grad_x;
}

}  // namespace CLMER_LEVEL
}  // namespace clmer
