// The GPU's attention (attention/gpu_short.h) on emulated threads.
#define CLMER_LEVEL emulated
#include "testing/cuda_emulated.h"

#include "attention/gpu_short.h"
#include "testing/forms.h"

namespace clmer {

void attention_emulated(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                        bool backward, int order) {
  using namespace emulated;
  EmulatedBlock block(plan.threads(), static_cast<size_t>(plan.shared_bytes()), order);
  with_form(plan, product, [&](auto form) {
    using F = decltype(form);
    const EmulatedBlock::Kernel kernel = [&] {
      if (backward) {
        typename F::Backward(a, plan).run();
      } else {
        typename F::Forward(a, plan).run();
      }
    };
    for (int64_t i = 0; i < plan.blocks(a.heads); ++i) block.run(i, kernel);
  });
}

}  // namespace clmer
