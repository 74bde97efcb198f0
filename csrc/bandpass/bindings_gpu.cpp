#include "bandpass/bindings_gpu.h"

#include "common/gil.h"

namespace py = pybind11;

namespace clmer {

Sosfilt sosfilt_operands(const TensorView& x, const TensorView& sos, const TensorView& state,
                         bool dense) {
  expect(x.ndim == 2 && (x.is_float(32) || x.is_float(64)),
         "sosfilt takes float32 or float64 [rows, time]");
  expect(sos.ndim == 2, "sos: expected [S, 6]");
  const int64_t rows = x.shape[0], sections = sos.shape[0];
  expect_dense(sos, {sections, 6}, 64, "sos");
  expect_dense(state, {rows, sections, 2}, 64, "state");
  expect_same_device(x, {&sos, &state});
  expect(sections >= 1, "sos: no sections");
  expect(sections <= kMaxSections, "sos: too many sections");
  expect(!dense || x.contiguous(), "sosfilt takes dense tensors on a GPU");
  Sosfilt s = {{}, new_tensor(x), new_tensor(state)};
  SosfiltArgs& a = s.args;
  const Sample type = x.bits == 64 ? Sample::f64 : Sample::f32;
  a.x = {x.data, type, {x.strides[0]}, x.strides[1]};
  a.y = {s.y.view.data, type, {x.shape[1]}, 1};
  a.sos = sos.as<double>();
  a.state = {state.as<double>(), {2 * sections}};
  a.state_out = {s.state.view.as<double>(), {2 * sections}};
  a.rows = a.row_sizes[0] = rows;
  a.time = x.shape[1];
  a.sections = sections;
  return s;
}

// Scratch is torch's memory, like the results: nothing is allocated behind the back of a graph that
// captures the stream.
std::pair<py::object, py::object> sosfilt_by_plan(const TensorView& x, const TensorView& sos,
                                                  const TensorView& state, bool adjoint,
                                                  const Plan& plan, uintptr_t stream, RunPlan run) {
  const Sosfilt s = sosfilt_operands(x, sos, state, true);
  NewTensor scratch;
  if (const int64_t size = plan.scratch(s.args.rows, s.args.sections)) {
    TensorView like = state;
    like.ndim = 1;
    like.shape[0] = size;
    scratch = new_tensor(like);
  }
  {
    const WithoutGil released;
    run(s.args, adjoint, plan, scratch.view.as<double>(), x.device_index, stream);
  }
  return {s.y.tensor, s.state.tensor};
}

void run_plan_on_gpu(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                     int device, uintptr_t stream) {
#ifdef CLMER_CUDA_BUILT
  sosfilt_cuda(args, adjoint, plan, scratch, device, reinterpret_cast<void*>(stream));
#else
  (void)args, (void)adjoint, (void)plan, (void)scratch, (void)device, (void)stream;
  expect(false, "built without CUDA");
#endif
}

}  // namespace clmer
