#include "common/simd.h"

namespace clmer {

Simd simd_best() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return Simd::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Simd::avx2;
#endif
  return Simd::baseline;
}

namespace {
Simd current = simd_best();
}

Simd simd_level() { return current; }

bool set_simd_level(Simd level) {
  if (level > simd_best()) return false;
  current = level;
  return true;
}

const char* simd_name(Simd level) {
  return level == Simd::avx512 ? "avx512" : level == Simd::avx2 ? "avx2" : "baseline";
}

}  // namespace clmer
