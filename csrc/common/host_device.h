// CLMER_HD marks a function that the CPU and CUDA kernels share; CLMER_UNROLL and CLMER_KEEP_LOOP
// its loops, which GPUs unroll or do not: a host's compiler decides for itself.
#pragma once

#ifdef __CUDACC__
#define CLMER_HD __host__ __device__ __forceinline__
#else
#define CLMER_HD inline __attribute__((always_inline))
#endif

#ifdef __CUDA_ARCH__
#define CLMER_UNROLL _Pragma("unroll")
#define CLMER_KEEP_LOOP _Pragma("unroll 1")
#else
#define CLMER_UNROLL
#define CLMER_KEEP_LOOP
#endif
