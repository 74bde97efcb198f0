// Sections over a tile of doubles, their states in registers. Compiled once per SIMD level.
#pragma once

#include "bandpass/cpu_tile.h"

#include "bandpass/step.h"

namespace clmer::CLMER_LEVEL {

namespace {

enum class Pass { forward, backward, adjoint };

constexpr int kAtOnce = 4;  // sections with their states in registers

// Flushes subnormal numbers to zero, which cost a hundred cycles each in a decaying tail, and gives
// the thread its floating-point mode back.
class FlushSubnormals {
 public:
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
#if defined(__SSE2__)
  FlushSubnormals() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | 0x8040);  // flush to zero, denormals are zero
  }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t(1) << 24)));
  }
  ~FlushSubnormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#else
  FlushSubnormals() = default;
#endif
};

// A Biquad in every lane: loading a vector costs what loading a number into all lanes does, and can
// be part of a multiply-add.
struct Section {
  V b0, b1, b2, minus_a1, minus_a2, c1, c2;
};

inline void fill_sections(const SosfiltArgs& a, Section* section) {
  for (int64_t s = 0; s < a.sections; ++s) {
    const Biquad f = biquad(a.sos + 6 * s);
    section[s] = {splat(f.b0),       splat(f.b1), splat(f.b2), splat(f.minus_a1),
                  splat(f.minus_a2), splat(f.c1), splat(f.c2)};
  }
}

// S sections over one vector of rows: state [S, 2, width], tile [count, width].
template <int S, Pass kPass>
void run_sections(const Section* f, double* state, double* tile, int width, int64_t count) {
  V z0[S], z1[S];
  for (int s = 0; s < S; ++s) {
    z0[s] = load(state + 2 * s * width);
    z1[s] = load(state + (2 * s + 1) * width);
  }
  for (int64_t i = 0; i < count; ++i) {
    double* at = tile + (kPass == Pass::forward ? i : count - 1 - i) * width;
    V v = load(at);
    for (int k = 0; k < S; ++k) {
      const int s = kPass == Pass::adjoint ? S - 1 - k : k;
      v = kPass == Pass::adjoint ? adjoint_step(f[s], v, z0[s], z1[s])
                                 : forward_step(f[s], v, z0[s], z1[s]);
    }
    store(at, v);
  }
  for (int s = 0; s < S; ++s) {
    store(state + 2 * s * width, z0[s]);
    store(state + (2 * s + 1) * width, z1[s]);
  }
}

// Sections over all vectors of a tile, kAtOnce at a time; the adjoint takes the last ones first.
template <Pass kPass>
void run_cascade(const Section* f, int64_t sections, double* state, double* tile, int width,
                 int64_t count) {
  const int64_t groups = (sections + kAtOnce - 1) / kAtOnce;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t first = kAtOnce * (kPass == Pass::adjoint ? groups - 1 - i : i);
    const int64_t size = sections - first;
    const auto run = size >= 4   ? run_sections<4, kPass>
                     : size == 3 ? run_sections<3, kPass>
                     : size == 2 ? run_sections<2, kPass>
                                 : run_sections<1, kPass>;
    for (int g = 0; g < width; g += kWide) {
      run(f + first, state + 2 * first * width + g, tile + g, width, count);
    }
  }
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
