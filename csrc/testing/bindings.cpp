// clmer._C_test: what only the tests call. The GPU's algorithms where no GPU is: attention's own
// source on emulated threads, sosfilt's in loops; and sosfilt in a form that a test picks.
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "attention/bindings_gpu.h"
#include "bandpass/bindings_gpu.h"
#include "testing/forms.h"

namespace py = pybind11;

namespace clmer {

namespace {

void run_emulated(const AttentionGradArgs& a, const ShortPlan& plan, Product product, bool backward,
                  int, uintptr_t order) {
  attention_emulated(a, plan, product, backward, static_cast<int>(order));
}

void run_on_host(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch, int,
                 uintptr_t) {
  sosfilt_blocked(args, adjoint, plan, scratch);
}

constexpr const char* kForms[] = {"sequential", "tiled", "split"};

// (form, warps of a tile, tiles of a row, parts of a row) that a GPU takes for a shape.
py::tuple sosfilt_plan(int64_t rows, int64_t time, int64_t sections) {
  const Plan plan = choose_plan(rows, time, sections);
  return py::make_tuple(kForms[static_cast<int>(plan.form)], plan.warps, plan.tiles(),
                        plan.parts());
}

// With the form and the sizes of tiles and parts given, where the tensors are.
std::pair<py::object, py::object> sosfilt_by(TensorView x, TensorView sos, TensorView state,
                                             bool adjoint, const std::string& form, int warps,
                                             int64_t walk, uintptr_t stream) {
  int which = 0;
  while (which < 3 && form != kForms[which]) ++which;
  expect(which < 3, "form: expected sequential, tiled or split");
  expect(warps == 1 || warps == 2 || warps == 4 || warps == 8, "warps: expected 1, 2, 4 or 8");
  expect(walk >= 1 && (walk & (walk - 1)) == 0, "walk: expected a power of two");
  expect(x.ndim == 2 && sos.ndim == 2, "sosfilt takes x [rows, time] and sos [S, 6]");
  const Plan plan = {Form(which), warps, x.shape[1], walk};
  expect(plan.form != Form::split || (sos.shape[0] <= kSplitSections && plan.time > 0),
         "form: split takes at most 8 sections and at least one sample");
  return sosfilt_by_plan(x, sos, state, adjoint, plan, stream,
                         x.device == kCPU ? &run_on_host : &run_plan_on_gpu);
}

}  // namespace

}  // namespace clmer

PYBIND11_MODULE(_C_test, m) {
  m.def("set_exchange_api", &clmer::set_exchange_api);
  clmer::bind_attention_short(m, clmer::kCPU, &clmer::run_emulated);
  m.def("sosfilt_by", &clmer::sosfilt_by);
  m.def("sosfilt_plan", &clmer::sosfilt_plan);
}
