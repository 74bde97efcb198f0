// Launches of sosfilt on a GPU, all on the caller's stream, with the caller's scratch; plan and
// kernels are in gpu_kernels.h.
#define CLMER_LEVEL cuda

#include <algorithm>

#include "bandpass/gpu_kernels.h"
#include "common/cuda_launch.h"

namespace clmer {

namespace {

using namespace cuda;

constexpr const char* kOp = "sosfilt";

// As many blocks as the device holds at once, or as there are jobs.
template <class Kernel>
unsigned resident(Kernel kernel, int threads, size_t bytes, unsigned jobs) {
  int device = 0, multiprocessors = 0, blocks = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, bytes),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return std::min(jobs, unsigned(multiprocessors * blocks));
}

template <class T, bool kAdjoint>
void launch_tiles(const T* x, T* y, const Operands& o, const Plan& plan, cudaStream_t s) {
  const int threads = plan.warps * kLanes;
  const size_t bytes = plan.warps * sizeof(Strip<T>);
  const unsigned parts = grid(plan.parts(), kOp), jobs = grid(o.rows * plan.parts(), kOp);
  const auto kernel = filter_tiles<T, kAdjoint>;
  kernel<<<resident(kernel, threads, bytes, jobs), threads, bytes, s>>>(
      x, y, o, Share{parts, jobs, plan.walked(), true, 0, 0});
  check_launch("launch of sosfilt's filter_tiles");
}

template <class T, bool kAdjoint>
void launch_split(const T* x, T* y, const Operands& o, const Plan& plan, double* scratch,
                  cudaStream_t s) {
  const int threads = plan.warps * kLanes;
  const size_t bytes = plan.warps * sizeof(Strip<T>);
  const unsigned parts = grid(plan.parts(), kOp), jobs = grid(o.rows * plan.parts(), kOp);
  double* ends = scratch;
  double* transition = scratch + int64_t(jobs) * 2 * o.sections;
  Operands rest = o, whole = o;
  rest.state = nullptr;
  rest.state_out = ends;
  whole.state = ends;
  const auto kernel = find_ends<T, kAdjoint>;
  kernel<<<resident(kernel, threads, bytes, jobs + 1), threads, bytes, s>>>(
      x, rest, Share{parts, jobs, plan.walked(), false, 0, 0}, transition);
  check_launch("launch of sosfilt's find_ends");
  join_parts<kAdjoint><<<grid(o.rows, kOp), kLanes, 0, s>>>(o, parts, transition, ends);
  check_launch("launch of sosfilt's join_parts");
  launch_tiles<T, kAdjoint>(x, y, whole, plan, s);
}

template <class T, bool kAdjoint>
void launch(const SosfiltArgs& a, const Plan& plan, double* scratch, cudaStream_t s) {
  const T* x = static_cast<const T*>(a.x.data);
  T* y = static_cast<T*>(a.y.data);
  const bool wide = reinterpret_cast<uintptr_t>(x) % 16 == 0 &&
                    reinterpret_cast<uintptr_t>(y) % 16 == 0 && a.time * sizeof(T) % 16 == 0;
  const Operands o = {a.sos, a.state.data, a.state_out.data, a.rows, a.time, int(a.sections), wide};
  switch (plan.form) {
    case Form::sequential: {
      const size_t states = 2 * sizeof(double) * kLanes * a.sections;
      filter_rows<T, kAdjoint>
          <<<grid((a.rows + kLanes - 1) / kLanes, kOp), kLanes, states, s>>>(x, y, o);
      return check_launch("launch of sosfilt's filter_rows");
    }
    case Form::tiled: return launch_tiles<T, kAdjoint>(x, y, o, plan, s);
    case Form::split: return launch_split<T, kAdjoint>(x, y, o, plan, scratch, s);
  }
}

}  // namespace

void sosfilt_cuda(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                  int device, void* stream) {
  auto s = static_cast<cudaStream_t>(stream);
  if (args.rows == 0) return;
  const DeviceGuard guard(device);
  if (args.x.type == Sample::f64) {
    adjoint ? launch<double, true>(args, plan, scratch, s)
            : launch<double, false>(args, plan, scratch, s);
  } else {
    adjoint ? launch<float, true>(args, plan, scratch, s)
            : launch<float, false>(args, plan, scratch, s);
  }
}

}  // namespace clmer
