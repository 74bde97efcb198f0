// Plan: a thread owns a row and walks its samples in order with the state of its sections in
// registers, eight sections at most (Python refuses more).
// Right for many rows; a long series on few rows is bound by the chain of one thread.
#define CLMER_LEVEL cuda
#include "bandpass.h"
#include "bandpass_step.h"

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace clmer {

namespace {

using cuda::Biquad;
constexpr int kThreads = 64;

template <class T, int S, bool kAdjoint>
__global__ void filter_rows(const T* x, T* y, const double* sos, const double* state,
                            double* state_out, int64_t rows, int64_t time) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  Biquad f[S];
  double z0[S], z1[S];
#pragma unroll
  for (int s = 0; s < S; ++s) {
    f[s] = cuda::biquad(sos + 6 * s);
    z0[s] = state[(row * S + s) * 2];
    z1[s] = state[(row * S + s) * 2 + 1];
  }
  for (int64_t i = 0; i < time; ++i) {
    const int64_t t = row * time + (kAdjoint ? time - 1 - i : i);
    double v = static_cast<double>(x[t]);
#pragma unroll
    for (int k = 0; k < S; ++k) {
      const int s = kAdjoint ? S - 1 - k : k;
      v = kAdjoint ? cuda::adjoint_step(f[s], v, z0[s], z1[s])
                   : cuda::forward_step(f[s], v, z0[s], z1[s]);
    }
    y[t] = static_cast<T>(v);
  }
#pragma unroll
  for (int s = 0; s < S; ++s) {
    state_out[(row * S + s) * 2] = z0[s];
    state_out[(row * S + s) * 2 + 1] = z1[s];
  }
}

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string("clmer: ") + what + ": " + cudaGetErrorString(status));
}

// Makes a device the current one: a stream takes launches from no other.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~DeviceGuard() { cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

template <class T, bool kAdjoint>
void launch(const SosfiltArgs& a, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((a.rows + kThreads - 1) / kThreads);
  auto run = [&](auto kernel) {
    kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const T*>(a.x.data),
                                            static_cast<T*>(a.y.data), a.sos, a.state.data,
                                            a.state_out.data, a.rows, a.time);
    check(cudaGetLastError(), "launch of sosfilt");
  };
  switch (a.sections) {
    case 1: return run(filter_rows<T, 1, kAdjoint>);
    case 2: return run(filter_rows<T, 2, kAdjoint>);
    case 3: return run(filter_rows<T, 3, kAdjoint>);
    case 4: return run(filter_rows<T, 4, kAdjoint>);
    case 5: return run(filter_rows<T, 5, kAdjoint>);
    case 6: return run(filter_rows<T, 6, kAdjoint>);
    case 7: return run(filter_rows<T, 7, kAdjoint>);
    case 8: return run(filter_rows<T, 8, kAdjoint>);
    default: throw std::runtime_error("clmer: sosfilt_cuda takes 1 to 8 sections");
  }
}

}  // namespace

void sosfilt_cuda(const SosfiltArgs& args, bool adjoint, int device, void* stream) {
  auto s = static_cast<cudaStream_t>(stream);
  if (args.rows == 0) return;
  const DeviceGuard guard(device);
  if (args.x.type == Sample::f64) {
    adjoint ? launch<double, true>(args, s) : launch<double, false>(args, s);
  } else {
    adjoint ? launch<float, true>(args, s) : launch<float, false>(args, s);
  }
}

}  // namespace clmer
