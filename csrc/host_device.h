// CLMER_HD marks a function that the CPU and CUDA kernels share.
#pragma once

#ifdef __CUDACC__
#define CLMER_HD __host__ __device__ __forceinline__
#else
#define CLMER_HD inline __attribute__((always_inline))
#endif
