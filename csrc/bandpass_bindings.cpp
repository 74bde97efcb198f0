// clmer._C's side of clmer/ops/bandpass.py (torch tensors) and clmer/signal.py (NumPy arrays).
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <new>

#include "bandpass.h"
#include "scratch.h"
#include "simd.h"
#include "tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Kernel = void (*)(const SosfiltArgs&);

Signal signal(const TensorView& t, int64_t rows, int64_t time, const char* name) {
  const bool fits = t.ndim == 2 && t.shape[0] == rows && t.shape[1] == time;
  if (!fits) {
    throw std::invalid_argument("clmer._C: " + std::string(name) + ": found shape " +
                                shape_text(t.shape, t.ndim) + ", expected x's");
  }
  return {t.data, t.strides[0], t.strides[1]};
}

void sosfilt(TensorView x, TensorView sos, TensorView state, TensorView y, TensorView state_out,
             bool adjoint, int threads, uintptr_t stream) {
  expect(x.is_float(32) || x.is_float(64), "sosfilt takes float32 or float64");
  expect(x.ndim == 2 && y.is_float(x.bits), "sosfilt takes x [rows, time], and y of its type");
  const int64_t rows = x.shape[0], time = x.shape[1], sections = sos.shape[0];
  expect_dense(sos, {sections, 6}, 64, "sos");
  expect_dense(state, {rows, sections, 2}, 64, "state");
  expect_dense(state_out, {rows, sections, 2}, 64, "state_out");
  expect_same_device(x, {&sos, &state, &y, &state_out});
  expect(x.device != kCPU || sections <= kMaxSections, "sos: too many sections");
  const SosfiltArgs args{signal(x, rows, time, "x"),
                         signal(y, rows, time, "y"),
                         1.0,
                         sos.as<double>(),
                         state.as<double>(),
                         state_out.as<double>(),
                         rows,
                         time,
                         sections,
                         threads};
  const bool wide = x.bits == 64;
  if (x.device == kCPU) {
    py::gil_scoped_release release;
    const auto& kernels = CLMER_KERNELS(bandpass);
    (adjoint ? (wide ? kernels.adjoint_f64 : kernels.adjoint_f32)
             : (wide ? kernels.f64_f64 : kernels.f32_f32))(args);
    return;
  }
  expect(x.contiguous() && y.contiguous(), "sosfilt takes dense tensors on a GPU");
#ifdef CLMER_CUDA_BUILT
  py::gil_scoped_release release;
  sosfilt_cuda(args, adjoint, wide, x.device_index, reinterpret_cast<void*>(stream));
#else
  (void)stream;
  expect(false, "built without CUDA");
#endif
}

// The kernel for these types, null where there is none.
Kernel kernel_for(const py::dtype& x, const py::dtype& y) {
  const auto& k = CLMER_KERNELS(bandpass);
  const bool wide = y.itemsize() == 8;
  if (x.kind() == 'f' && x.itemsize() == 4) return wide ? k.f32_f64 : k.f32_f32;
  if (x.kind() == 'f' && x.itemsize() == 8) return wide ? k.f64_f64 : nullptr;
  if (x.kind() == 'i' && x.itemsize() == 2) return wide ? k.i16_f64 : k.i16_f32;
  if (x.kind() == 'i' && x.itemsize() == 4) return wide ? k.i32_f64 : k.i32_f32;
  return nullptr;
}

template <class X>
void copy_last(const SosfiltArgs& a, double* last) {
  const X* at = static_cast<const X*>(a.x.data) + (a.time - 1) * a.x.time;
  for (int64_t r = 0; r < a.rows; ++r) last[r] = a.scale * static_cast<double>(at[r * a.x.row]);
}

void copy_last(const SosfiltArgs& a, const py::dtype& type, double* last) {
  if (type.kind() == 'f' && type.itemsize() == 4) copy_last<float>(a, last);
  if (type.kind() == 'f' && type.itemsize() == 8) copy_last<double>(a, last);
  if (type.kind() == 'i' && type.itemsize() == 2) copy_last<int16_t>(a, last);
  if (type.kind() == 'i' && type.itemsize() == 4) copy_last<int32_t>(a, last);
}

Signal signal(const py::array& a, void* data) {
  const int64_t size = a.itemsize();
  expect(a.strides(0) % size == 0 && a.strides(1) % size == 0, "sosfilt takes aligned arrays");
  return {data, a.strides(0) / size, a.strides(1) / size};
}

using Sections = py::array_t<double>;  // [S, 6]

// Arguments for x [rows, time] of any strides into y, with state [rows, S, 2] brought up to date.
SosfiltArgs arguments(const py::array& x, const Sections& sos, py::array_t<double>& state,
                      py::array& y, double scale, int threads) {
  const int64_t rows = x.shape(0), time = x.shape(1), sections = sos.shape(0);
  expect(sos.ndim() == 2 && sos.shape(1) == 6 && (sos.flags() & py::array::c_style),
         "sos: expected a contiguous [S, 6]");
  expect(sections <= kMaxSections, "sos: too many sections");
  expect(state.ndim() == 3 && state.shape(0) == rows && state.shape(1) == sections &&
             state.shape(2) == 2 && (state.flags() & py::array::c_style),
         "state: expected a contiguous [rows, S, 2]");
  double* z = state.mutable_data();
  return {signal(x, const_cast<void*>(x.data())),
          signal(y, y.mutable_data()),
          scale,
          sos.data(),
          z,
          z,
          rows,
          time,
          sections,
          threads};
}

// Float or 16- or 32-bit integers, filtered into y, float32 or float64.
void sosfilt_array(const py::array& x, const Sections& sos, py::array_t<double>& state, py::array y,
                   double scale, int threads) {
  expect(x.ndim() == 2 && y.ndim() == 2, "sosfilt takes x and y [rows, time]");
  expect(y.shape(0) == x.shape(0) && y.shape(1) == x.shape(1), "y: expected x's shape");
  expect(y.dtype().kind() == 'f' && y.itemsize() >= 4, "y: expected float32 or float64");
  const Kernel kernel = kernel_for(x.dtype(), y.dtype());
  expect(kernel != nullptr, "sosfilt has no kernel for these types");
  const SosfiltArgs args = arguments(x, sos, state, y, scale, threads);
  py::gil_scoped_release release;
  kernel(args);
}

bool finite(const double* values, int64_t count) {
  double zero = 0.0;
  for (int64_t i = 0; i < count; ++i) zero += values[i] * 0.0;
  return zero == 0.0;
}

// The same into a fresh array, float32 for float32 and float64 for all else; `last` [rows] takes
// x's last samples. Where a sample was not finite, which then stays in the state, both are left as
// they were and the result is None.
py::object push_array(const py::array& x, const Sections& sos, py::array_t<double>& state,
                      py::array_t<double>& last, double scale, int threads) {
  expect(x.ndim() == 2 && last.ndim() == 1 && last.shape(0) == x.shape(0), "push takes [C, n]");
  const bool narrow = x.dtype().kind() == 'f' && x.itemsize() == 4;
  py::array y(narrow ? py::dtype::of<float>() : py::dtype::of<double>(), {x.shape(0), x.shape(1)});
  const Kernel kernel = kernel_for(x.dtype(), y.dtype());
  expect(kernel != nullptr, "push has no kernel for this type");
  SosfiltArgs args = arguments(x, sos, state, y, scale, threads);
  const int64_t values = state.size();
  const Scratch scratch = take_scratch(size_t(values) * sizeof(double));
  if (scratch.data == nullptr) throw std::bad_alloc();
  args.state_out = static_cast<double*>(scratch.data);
  {
    py::gil_scoped_release release;
    kernel(args);
  }
  const bool sound = finite(args.state_out, values);
  if (sound) {
    std::copy(args.state_out, args.state_out + values, state.mutable_data());
    if (args.time > 0) copy_last(args, x.dtype(), last.mutable_data());
  }
  give_scratch(scratch);
  return sound ? py::object(y) : py::none();
}

}  // namespace

void bind_bandpass(py::module_& m) {
  m.def("sosfilt", &sosfilt);
  m.def("sosfilt_array", &sosfilt_array, py::arg("x"), py::arg("sos").noconvert(),
        py::arg("state").noconvert(), py::arg("y"), py::arg("scale"), py::arg("threads"));
  m.def("push_array", &push_array, py::arg("x"), py::arg("sos").noconvert(),
        py::arg("state").noconvert(), py::arg("last").noconvert(), py::arg("scale"),
        py::arg("threads"));
}

}  // namespace clmer
