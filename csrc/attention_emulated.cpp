// The GPU's attention (attention_short.h) on emulated threads, for tests.
#define CLMER_LEVEL emulated
#include "cuda_emulated.h"

#include "attention_short.h"

namespace clmer {

void attention_emulated(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                        bool backward, int order) {
  using namespace emulated;
  EmulatedBlock block(plan.threads(), static_cast<size_t>(plan.shared_bytes()), order);
  with_form(product, plan.width, [&](auto form) {
    using F = decltype(form);
    const EmulatedBlock::Kernel kernel = [&] {
      if (backward) {
        Backward<typename F::Kind, F::kWidth>(a, plan).run();
      } else {
        Forward<typename F::Kind, F::kWidth>(a, plan).run();
      }
    };
    for (int64_t i = 0; i < plan.blocks(a.heads); ++i) block.run(i, kernel);
  });
}

}  // namespace clmer
