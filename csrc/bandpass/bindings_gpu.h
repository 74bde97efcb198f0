// sosfilt's bindings for torch tensors: operands, and runs by the GPU's algorithm. Those take place
// on a GPU or, for clmer._C_test, in a host form too.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "bandpass/gpu_plan.h"
#include "common/tensor.h"

namespace clmer {

struct Sosfilt {
  SosfiltArgs args;
  NewTensor y, state;  // [rows, time], and [rows, S, 2] behind it
};

// x [rows, time], sos [S, 6], state [rows, S, 2], checked, and new tensors for the results.
Sosfilt sosfilt_operands(const TensorView& x, const TensorView& sos, const TensorView& state,
                         bool dense);

// `stream` is of the device that has the tensors.
using RunPlan = void (*)(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                         int device, uintptr_t stream);

std::pair<pybind11::object, pybind11::object> sosfilt_by_plan(const TensorView& x,
                                                              const TensorView& sos,
                                                              const TensorView& state, bool adjoint,
                                                              const Plan& plan, uintptr_t stream,
                                                              RunPlan run);

// The plan launched on a GPU; throws where the build has no CUDA.
void run_plan_on_gpu(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                     int device, uintptr_t stream);

}  // namespace clmer
