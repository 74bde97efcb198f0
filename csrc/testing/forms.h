// The GPU's algorithms on the CPU.
#pragma once

#include "attention/gpu_plan.h"
#include "bandpass/gpu_plan.h"

namespace clmer {

// attention_cuda's source, a block after the other: emulated threads, in an order that is ascending
// (0), descending (1) or shuffled by a seed.
void attention_emulated(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                        bool backward, int order);

// sosfilt_cuda's arithmetic: dense float or double, one dimension of rows, scale 1.
void sosfilt_blocked(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch);

}  // namespace clmer
