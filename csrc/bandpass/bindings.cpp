// clmer._C's side of clmer/ops/bandpass/op.py, which brings torch tensors.
#include <pybind11/pybind11.h>

#include <utility>

#include "bandpass/bindings_gpu.h"
#include "bandpass/bindings_numpy.h"
#include "common/gil.h"
#include "common/simd.h"

namespace py = pybind11;

namespace clmer {

namespace {

std::pair<py::object, py::object> sosfilt(TensorView x, TensorView sos, TensorView state,
                                          bool adjoint, int threads, uintptr_t stream) {
  if (x.device != kCPU) {
    expect(x.ndim == 2 && sos.ndim == 2, "sosfilt takes x [rows, time] and sos [S, 6]");
    const Plan plan = choose_plan(x.shape[0], x.shape[1], sos.shape[0]);
    return sosfilt_by_plan(x, sos, state, adjoint, plan, stream, &run_plan_on_gpu);
  }
  Sosfilt s = sosfilt_operands(x, sos, state, false);
  s.args.threads = threads;
  {
    const WithoutGil released;
    const auto& kernels = CLMER_KERNELS(bandpass);
    run(adjoint ? kernels.adjoint : kernels.forward, s.args);
  }
  return {s.y.tensor, s.state.tensor};
}

}  // namespace

void bind_bandpass(py::module_& m) { m.def("sosfilt", &sosfilt); }

}  // namespace clmer
