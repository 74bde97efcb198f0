// clmer._C's side of clmer/ops/bandpass/op.py, which brings torch tensors, and of
// clmer/signal/passes.py, which brings NumPy arrays: those come straight from their header, not
// through torch.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "bandpass/bindings_numpy.h"
#include "bandpass/gpu_plan.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Doubles = py::array_t<double>;

// ---- torch -------------------------------------------------------------------------------------
struct Sosfilt {
  SosfiltArgs args;
  NewTensor y, state;  // [rows, time], and [rows, S, 2] behind it
};

Sosfilt operands(const TensorView& x, const TensorView& sos, const TensorView& state, bool dense) {
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

// By the GPU's algorithm: on a GPU, or in its host form for tests. Scratch is torch's memory, like
// the results: nothing is allocated behind the back of a graph that captures the stream.
std::pair<py::object, py::object> run_plan(const TensorView& x, const TensorView& sos,
                                           const TensorView& state, bool adjoint, const Plan& plan,
                                           uintptr_t stream) {
  const Sosfilt s = operands(x, sos, state, true);
  NewTensor scratch;
  if (const int64_t size = plan.scratch(s.args.rows, s.args.sections)) {
    TensorView like = state;
    like.ndim = 1;
    like.shape[0] = size;
    scratch = new_tensor(like);
  }
  {
    const WithoutGil released;
    double* room = scratch.view.as<double>();
    if (x.device == kCPU) {
      sosfilt_blocked(s.args, adjoint, plan, room);
    } else {
#ifdef CLMER_CUDA_BUILT
      sosfilt_cuda(s.args, adjoint, plan, room, x.device_index, reinterpret_cast<void*>(stream));
#else
      (void)stream;
      expect(false, "built without CUDA");
#endif
    }
  }
  return {s.y.tensor, s.state.tensor};
}

std::pair<py::object, py::object> sosfilt(TensorView x, TensorView sos, TensorView state,
                                          bool adjoint, int threads, uintptr_t stream) {
  if (x.device != kCPU) {
    expect(x.ndim == 2 && sos.ndim == 2, "sosfilt takes x [rows, time] and sos [S, 6]");
    const Plan plan = choose_plan(x.shape[0], x.shape[1], sos.shape[0]);
    return run_plan(x, sos, state, adjoint, plan, stream);
  }
  Sosfilt s = operands(x, sos, state, false);
  s.args.threads = threads;
  {
    const WithoutGil released;
    const auto& kernels = CLMER_KERNELS(bandpass);
    run(adjoint ? kernels.adjoint : kernels.forward, s.args);
  }
  return {s.y.tensor, s.state.tensor};
}

constexpr const char* kForms[] = {"sequential", "tiled", "split"};

// (form, warps of a tile, tiles of a row, parts of a row) that a GPU takes for a shape.
py::tuple sosfilt_plan(int64_t rows, int64_t time, int64_t sections) {
  const Plan plan = choose_plan(rows, time, sections);
  return py::make_tuple(kForms[static_cast<int>(plan.form)], plan.warps, plan.tiles(),
                        plan.parts());
}

// With the form and the sizes of tiles and parts given, for tests.
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
  return run_plan(x, sos, state, adjoint, plan, stream);
}

// Why no CUDA kernel can run here; empty where they can.
std::string why_no_cuda() {
#ifdef CLMER_CUDA_BUILT
  return cuda_unavailable();
#else
  return "clmer._C was built without CUDA";
#endif
}

// ---- NumPy -------------------------------------------------------------------------------------
// In elements. A view of a field or of other bytes may step by parts of one.
int64_t stride(const py::array& a, int64_t d) {
  const int64_t bytes = a.strides(d), size = a.itemsize();
  expect(bytes % size == 0, "sosfilt: the array's strides are not whole elements");
  return bytes / size;
}

Signal signal(const py::array& a, const void* data, int64_t axis, const char* name) {
  Signal s;
  s.data = const_cast<void*>(data);
  if (!sample_type(a, &s.type)) {
    throw std::invalid_argument("clmer._C: " + std::string(name) + " has a dtype without a kernel");
  }
  s.time = stride(a, axis);
  return s;
}

// The dimensions of rows, as the operands step through them: the widest step of x outermost, and
// what all of them can take as one joined.
class RowDims {
 public:
  using Steps = std::array<int64_t, 4>;  // of x, y, state, state_out

  void add(int64_t size, const Steps& steps) {
    if (size == 1) return;
    expect(count_ < kMaxDims_, "sosfilt takes 32 dimensions at most");
    int at = count_++;
    for (; at > 0 && std::abs(steps_[at - 1][0]) < std::abs(steps[0]); --at) {
      size_[at] = size_[at - 1];
      steps_[at] = steps_[at - 1];
    }
    size_[at] = size;
    steps_[at] = steps;
  }

  void put_into(SosfiltArgs& a) const {
    int dims = 0;
    for (int d = 0; d < count_; ++d) {
      int64_t* all[] = {a.x.rows, a.y.rows, a.state.rows, a.state_out.rows};
      bool joins = dims > 0;
      for (int k = 0; joins && k < 4; ++k) joins = all[k][dims - 1] == size_[d] * steps_[d][k];
      if (!joins) {
        if (dims == kMaxRowDims) {
          throw std::invalid_argument(
              "sosfilt: found more than 8 dimensions of rows that do not lie evenly in memory; "
              "np.ascontiguousarray makes them do so");
        }
        a.row_sizes[dims++] = 1;
      }
      a.row_sizes[dims - 1] *= size_[d];
      for (int k = 0; k < 4; ++k) all[k][dims - 1] = steps_[d][k];
    }
    a.row_dims = dims > 0 ? dims : 1;
    if (dims == 0) a.row_sizes[0] = 1;
    a.rows = 1;
    for (int d = 0; d < a.row_dims; ++d) a.rows *= a.row_sizes[d];
  }

 private:
  static constexpr int kMaxDims_ = 32;
  int count_ = 0;
  std::array<int64_t, kMaxDims_> size_;
  std::array<Steps, kMaxDims_> steps_;
};

void set_sections(SosfiltArgs& a, const Doubles& sos) {
  expect(sos.ndim() == 2 && sos.shape(1) == 6 && (sos.flags() & py::array::c_style),
         "sos: expected a contiguous [S, 6]");
  expect(1 <= sos.shape(0) && sos.shape(0) <= kMaxSections, "sos: expected 1 to 64 sections");
  a.sections = sos.shape(0);
  a.sos = sos.data();
}

// A state [S, ..., 2, ...]: x's dimensions behind the sections, 2 in place of time.
States states(const Doubles& z, const py::array& x, const SosfiltArgs& a, int64_t axis) {
  bool fits = z.ndim() == x.ndim() + 1 && z.shape(0) == a.sections;
  for (int64_t d = 0; fits && d < x.ndim(); ++d) {
    fits = z.shape(d + 1) == (d == axis ? 2 : x.shape(d));
  }
  expect(fits, "state: expected [S, ..., 2, ...] beside x");
  States s;
  s.data = const_cast<double*>(z.data());
  s.section = stride(z, 0);
  s.z = stride(z, axis + 1);
  return s;
}

SosfiltArgs operands(const py::array& x, int64_t axis, const Doubles& sos, py::array* y,
                     double scale, int threads) {
  expect(0 <= axis && axis < x.ndim(), "sosfilt: no such axis");
  SosfiltArgs a;
  set_sections(a, sos);
  a.x = signal(x, x.data(), axis, "x");
  if (y) {
    expect(y->ndim() == x.ndim(), "y: expected x's shape");
    for (int64_t d = 0; d < x.ndim(); ++d)
      expect(y->shape(d) == x.shape(d), "y: expected x's shape");
    a.y = signal(*y, y->mutable_data(), axis, "y");
    expect(a.y.type == Sample::f32 || a.y.type == Sample::f64, "y: expected float32 or float64");
  }
  a.time = x.shape(axis);
  a.scale = scale;
  a.threads = threads;
  return a;
}

// x times scale, filtered along an axis into y (which may be x, or None where only the state
// matters) from state zi; the state behind it goes to zf, which may be zi.
void sosfilt_array(const py::array& x, int64_t axis, const Doubles& sos, const Doubles& zi,
                   Doubles zf, std::optional<py::array> y, double scale, int threads) {
  SosfiltArgs a = operands(x, axis, sos, y ? &*y : nullptr, scale, threads);
  zf.mutable_data();  // raises for a read-only one
  a.state = states(zi, x, a, axis);
  a.state_out = states(zf, x, a, axis);
  RowDims dims;
  for (int64_t d = 0; d < x.ndim(); ++d) {
    if (d == axis) continue;
    dims.add(x.shape(d),
             {stride(x, d), y ? stride(*y, d) : 0, stride(zi, d + 1), stride(zf, d + 1)});
  }
  dims.put_into(a);
  const WithoutGil released;
  run(CLMER_KERNELS(bandpass).forward, a);
}

// The same forwards and backwards, from the steady state zi [S, 2] of an input of ones, the signal
// being extended by `edge` samples at either end: 0 odd, 1 even, 2 constant.
void sosfiltfilt_array(const py::array& x, int64_t axis, const Doubles& sos, const Doubles& zi,
                       py::array y, int extension, int64_t edge, int threads) {
  SosfiltArgs a = operands(x, axis, sos, &y, 1.0, threads);
  expect(zi.ndim() == 2 && zi.shape(0) == a.sections && zi.shape(1) == 2, "zi: expected [S, 2]");
  expect(0 <= edge && edge < a.time, "edge: expected fewer samples than x has");
  a.state = {const_cast<double*>(zi.data()), {}, stride(zi, 0), stride(zi, 1)};
  a.extension = Extension(extension);
  a.edge = edge;
  RowDims dims;
  for (int64_t d = 0; d < x.ndim(); ++d) {
    if (d != axis) dims.add(x.shape(d), {stride(x, d), stride(y, d), 0, 0});
  }
  dims.put_into(a);
  const WithoutGil released;
  run(CLMER_KERNELS(bandpass).zero_phase, a);
}

}  // namespace

void bind_bandpass(py::module_& m) {
  m.def("sosfilt", &sosfilt);
  m.def("sosfilt_by", &sosfilt_by);
  m.def("sosfilt_plan", &sosfilt_plan);
  m.def("why_no_cuda", &why_no_cuda);
  m.def("sosfilt_array", &sosfilt_array, py::arg("x"), py::arg("axis"), py::arg("sos").noconvert(),
        py::arg("zi").noconvert(), py::arg("zf").noconvert(), py::arg("y"), py::arg("scale"),
        py::arg("threads"));
  m.def("sosfiltfilt_array", &sosfiltfilt_array, py::arg("x"), py::arg("axis"),
        py::arg("sos").noconvert(), py::arg("zi").noconvert(), py::arg("y"), py::arg("extension"),
        py::arg("edge"), py::arg("threads"));
}

}  // namespace clmer
