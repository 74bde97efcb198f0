// Cascaded biquads, transposed direct form II; the same forwards and backwards; and the adjoint.
// Rows are independent signals and lie anywhere: nothing is copied into order first.
#pragma once

#include <cstdint>

namespace clmer {

constexpr int kMaxSections = 64;
constexpr int kMaxRowDims = 8;

enum class Sample : int { f32, f64, i16, i32 };

// One operand, [rows..., time], strides in elements: of either sign, 0 too.
struct Signal {
  void* data = nullptr;
  Sample type = Sample::f64;
  int64_t rows[kMaxRowDims] = {};
  int64_t time = 1;
};

// z0 and z1 of every section, [rows..., sections, 2].
struct States {
  double* data = nullptr;
  int64_t rows[kMaxRowDims] = {};
  int64_t section = 2;
  int64_t z = 1;
};

// How a signal goes on beyond its ends, as in scipy.signal.sosfiltfilt.
enum class Extension : int { odd, even, constant };

struct SosfiltArgs {
  Signal x;                // only read
  Signal y;                // float32 or float64; may be x itself; null where only the state matters
  double scale = 1;        // x is multiplied by it: ADC counts to uV
  const double* sos = {};  // [sections, 6]: b0 b1 b2 a0 = 1 a1 a2
  States state;      // zero_phase: the steady state for an input of ones, its strides over rows 0
  States state_out;  // may be state itself; zero_phase has none
  int row_dims = 1;
  int64_t row_sizes[kMaxRowDims] = {};
  int64_t rows = 0;  // the product of row_sizes
  int64_t time = 0;
  int64_t sections = 0;
  Extension extension = Extension::odd;  // zero_phase alone, and so is
  int64_t edge = 0;                      // the samples added at either end, fewer than time
  int threads = 1;
};

// False where memory for scratch is out; only zero_phase takes any.
struct BandpassKernels {
  bool (*forward)(const SosfiltArgs&);
  bool (*adjoint)(const SosfiltArgs&);  // x is grad_y, y is grad_x; runs backwards in time
  bool (*zero_phase)(const SosfiltArgs&);
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

}  // namespace clmer
