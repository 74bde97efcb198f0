// Which SIMD level runs. Every <op>/cpu_*.cpp is compiled once per level, whole in the namespace of
// that level, and exports one table of kernels; CLMER_KERNELS(op) is the table of the level in
// force.
#pragma once

namespace clmer {

enum class Simd { baseline = 0, avx2 = 1, avx512 = 2 };

Simd simd_best();                 // the best level that this processor has and this build holds
Simd simd_level();                // the level in force: simd_best() unless lowered
bool set_simd_level(Simd level);  // false where the processor lacks it
const char* simd_name(Simd level);

}  // namespace clmer

#if defined(__x86_64__)
#define CLMER_KERNELS(op)                                               \
  (::clmer::simd_level() == ::clmer::Simd::avx512 ? ::clmer::avx512::op \
   : ::clmer::simd_level() == ::clmer::Simd::avx2 ? ::clmer::avx2::op   \
                                                  : ::clmer::baseline::op)
#else
#define CLMER_KERNELS(op) (::clmer::baseline::op)
#endif
