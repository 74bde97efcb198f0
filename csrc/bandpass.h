// Cascaded biquads, transposed direct form II, and their adjoint. Rows are independent signals.
#pragma once

#include <cstdint>

namespace clmer {

constexpr int kMaxSections = 64;  // of the CPU kernels

// A matrix [rows, time] with any strides, in elements.
struct Signal {
  void* data;
  int64_t row, time;
};

struct SosfiltArgs {
  Signal x;             // only read
  Signal y;             // may be x itself
  double scale;         // x is multiplied by it: ADC counts to uV
  const double* sos;    // [sections, 6]: b0 b1 b2 a0 = 1 a1 a2
  const double* state;  // [rows, sections, 2]
  double* state_out;    // [rows, sections, 2]; may be state itself
  int64_t rows;
  int64_t time;
  int64_t sections;
  int threads;
};

// By the type of x, then that of y.
struct BandpassKernels {
  void (*f32_f32)(const SosfiltArgs&);
  void (*f32_f64)(const SosfiltArgs&);
  void (*f64_f64)(const SosfiltArgs&);
  void (*i16_f32)(const SosfiltArgs&);
  void (*i16_f64)(const SosfiltArgs&);
  void (*i32_f32)(const SosfiltArgs&);
  void (*i32_f64)(const SosfiltArgs&);
  void (*adjoint_f32)(const SosfiltArgs&);  // x is grad_y, y is grad_x; runs backwards in time
  void (*adjoint_f64)(const SosfiltArgs&);
};

namespace baseline {
extern const BandpassKernels bandpass;
}
namespace avx2 {
extern const BandpassKernels bandpass;
}
namespace avx512 {
extern const BandpassKernels bandpass;
}

#ifdef CLMER_CUDA_BUILT
// Dense float or double, scale 1. All pointers on `device`, which need not be the current one;
// `stream` is a cudaStream_t of it. Throws std::runtime_error with CUDA's words.
void sosfilt_cuda(const SosfiltArgs& args, bool adjoint, bool is_double, int device, void* stream);
#endif

}  // namespace clmer
