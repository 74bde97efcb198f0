// The bindings of gpu_short.h, whose plan may run in two places: on a GPU for clmer._C, on emulated
// threads for clmer._C_test.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "attention/gpu_plan.h"

namespace clmer {

// `where` is a GPU's stream, or the order of the emulated threads.
using RunShort = void (*)(const AttentionGradArgs& a, const ShortPlan& plan, Product product,
                          bool backward, int device, uintptr_t where);

// Defines attention_short_forward, _backward and _refusal for tensors on devices of a type.
void bind_attention_short(pybind11::module_& m, int32_t device_type, RunShort run);

}  // namespace clmer
