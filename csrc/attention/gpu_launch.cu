// Launches of the short-sequence attention on a GPU; plan and kernels are in gpu_short.h.
#define CLMER_LEVEL cuda
#include "common/cuda_device.h"

#include "attention/gpu_short.h"
#include "common/cuda_launch.h"

namespace clmer {

namespace {

using namespace cuda;

// Blocks of 256 threads per SM: 80 or 128 registers per thread, or up to 255 where features are
// wide.
template <class Form>
constexpr int kLeastBlocks = Form::kWidth > kTile ? 1
                             : Form::kIsPlain     ? 3
                                                  : 2;

template <class Form>
__global__ void __launch_bounds__(kShortThreads, kLeastBlocks<Form>)
    forward_kernel(const __grid_constant__ AttentionArgs a, const __grid_constant__ ShortPlan p) {
  typename Form::Forward(a, p).run();
}

template <class Form>
__global__ void __launch_bounds__(kShortThreads, kLeastBlocks<Form>)
    backward_kernel(const __grid_constant__ AttentionGradArgs a,
                    const __grid_constant__ ShortPlan p) {
  typename Form::Backward(a, p).run();
}

// More shared memory than every GPU gives must be asked for, once per kernel and device; asking
// again costs little, waits for nothing and is not part of a graph that captures the stream.
template <class Kernel>
void allow_shared(Kernel kernel, int bytes) {
  constexpr int kWithoutAsking = 48 << 10;
  if (bytes <= kWithoutAsking) return;
  const auto asked =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (asked != cudaSuccess) cudaGetLastError();  // or the next launch would report it
  check(asked, "cross_attention: " + std::to_string(bytes) +
                   " bytes of shared memory a block (impl=\"triton\" takes less)");
}

}  // namespace

void attention_cuda(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                    bool backward, int device, void* stream) {
  if (a.heads == 0) return;
  const DeviceGuard guard(device);
  const unsigned blocks = grid(plan.blocks(a.heads), "cross_attention");
  const int bytes = plan.shared_bytes();
  const auto s = static_cast<cudaStream_t>(stream);
  with_form(plan, product, [&](auto form) {
    using F = decltype(form);
    if (backward) {
      const auto kernel = backward_kernel<F>;
      allow_shared(kernel, bytes);
      kernel<<<blocks, plan.threads(), bytes, s>>>(a, plan);
    } else {
      const auto kernel = forward_kernel<F>;
      allow_shared(kernel, bytes);
      kernel<<<blocks, plan.threads(), bytes, s>>>(a, plan);
    }
  });
  check_launch(backward ? "launch of cross_attention's backward"
                        : "launch of cross_attention's forward");
}

}  // namespace clmer
