// Launches of the short-sequence attention on a GPU; plan and kernels are in attention_short.h.
#define CLMER_LEVEL cuda
#include "cuda_device.h"

#include "attention_short.h"
#include "cuda_launch.h"

namespace clmer {

namespace {

using namespace cuda;

// Blocks of 256 threads an SM: 128 registers a thread, or up to 255 where features are wide.
template <int kWidth>
constexpr int kLeastBlocks = kWidth == kTile ? 2 : 1;

template <class Kind, int kWidth>
__global__ void __launch_bounds__(kShortThreads, kLeastBlocks<kWidth>)
    forward_kernel(const __grid_constant__ AttentionArgs a, const __grid_constant__ ShortPlan p) {
  Forward<Kind, kWidth>(a, p).run();
}

template <class Kind, int kWidth>
__global__ void __launch_bounds__(kShortThreads, kLeastBlocks<kWidth>)
    backward_kernel(const __grid_constant__ AttentionGradArgs a,
                    const __grid_constant__ ShortPlan p) {
  Backward<Kind, kWidth>(a, p).run();
}

// More shared memory than every GPU gives must be asked for, once a kernel and device; asking
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
  with_form(product, plan.width, [&](auto form) {
    using F = decltype(form);
    if (backward) {
      const auto kernel = backward_kernel<typename F::Kind, F::kWidth>;
      allow_shared(kernel, bytes);
      kernel<<<blocks, plan.threads(), bytes, s>>>(a, plan);
    } else {
      const auto kernel = forward_kernel<typename F::Kind, F::kWidth>;
      allow_shared(kernel, bytes);
      kernel<<<blocks, plan.threads(), bytes, s>>>(a, plan);
    }
  });
  check_launch(backward ? "launch of cross_attention's backward"
                        : "launch of cross_attention's forward");
}

}  // namespace clmer
