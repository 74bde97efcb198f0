// clmer._C's side of clmer/signal/passes.py: NumPy arrays, straight from their header, not through
// torch.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <string>

#include "bandpass/bindings_numpy.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Doubles = py::array_t<double>;

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

void bind_bandpass_array(py::module_& m) {
  m.def("sosfilt_array", &sosfilt_array, py::arg("x"), py::arg("axis"), py::arg("sos").noconvert(),
        py::arg("zi").noconvert(), py::arg("zf").noconvert(), py::arg("y"), py::arg("scale"),
        py::arg("threads"));
  m.def("sosfiltfilt_array", &sosfiltfilt_array, py::arg("x"), py::arg("axis"),
        py::arg("sos").noconvert(), py::arg("zi").noconvert(), py::arg("y"), py::arg("extension"),
        py::arg("edge"), py::arg("threads"));
}

}  // namespace clmer
