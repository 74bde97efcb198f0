// What attention/gpu_short.h asks of a GPU: threads, barriers, copies, matrix products. The same
// names on the host are in testing/cuda_emulated.h. Fragments and their owners are those of the PTX
// ISA.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#define CLMER_DEVICE __device__ __forceinline__

namespace clmer::CLMER_LEVEL {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// ---- threads ----------------------------------------------------------------------------------
constexpr unsigned kAllLanes = 0xFFFFFFFF;

CLMER_DEVICE int thread_number() { return static_cast<int>(threadIdx.x); }
CLMER_DEVICE int64_t block_number() { return blockIdx.x; }
CLMER_DEVICE void sync_block() { __syncthreads(); }
CLMER_DEVICE void sync_warp() { __syncwarp(); }
CLMER_DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(kAllLanes, x, lanes); }
CLMER_DEVICE uint32_t ballot(bool x) { return __ballot_sync(kAllLanes, x); }

// ---- memory -----------------------------------------------------------------------------------
CLMER_DEVICE char* shared_memory() {
  extern __shared__ uint4 block_memory[];
  return reinterpret_cast<char*>(block_memory);
}

CLMER_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes to shared memory, or 16 zeros; there after wait_for_copies and a barrier.
CLMER_DEVICE void copy_async(void* to, const void* from, bool wanted) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(wanted ? 16 : 0)
               : "memory");
}

CLMER_DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

template <int kBytes>
CLMER_DEVICE void copy_vector(void* to, const void* from) {
  static_assert(kBytes == 8 || kBytes == 16);
  using Vector = std::conditional_t<kBytes == 8, uint2, uint4>;
  *static_cast<Vector*>(to) = *static_cast<const Vector*>(from);
}

// Four 8 x 8 matrices of 16-bit elements; lane l brings the address of row l % 8 of matrix l / 8.
template <bool kTransposed>
CLMER_DEVICE void load_matrices(const void* row, uint32_t (&r)[4]) {
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
}

// ---- numbers ----------------------------------------------------------------------------------
CLMER_DEVICE float widen(float x) { return x; }
CLMER_DEVICE float widen(BFloat16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }
CLMER_DEVICE float widen(Float16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

// Two, rounded to nearest even; the first in the low bits.
CLMER_DEVICE uint32_t pack(BFloat16, float first, float second) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}
CLMER_DEVICE uint32_t pack(Float16, float first, float second) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}

// To 10 bits behind the point; in a float, whose other bits are zero.
CLMER_DEVICE float to_tf32(float x) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return __uint_as_float(r);
}

CLMER_DEVICE float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

CLMER_DEVICE float log2_of(float x) { return log2f(x); }

// ---- products: c [16, 8] += a [16, k] b [k, 8] ------------------------------------------------
CLMER_DEVICE void multiply_add(BFloat16, float* c, const uint32_t (&a)[4], uint32_t b0,
                               uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

CLMER_DEVICE void multiply_add(Float16, float* c, const uint32_t (&a)[4], uint32_t b0,
                               uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

CLMER_DEVICE void multiply_add(float* c, const float (&a)[4], float b0, float b1) {  // tf32, k = 8
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
        "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

}  // namespace clmer::CLMER_LEVEL
