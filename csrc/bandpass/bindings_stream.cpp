// clmer._C's side of clmer/signal/stream.py: one push from NumPy's header to the kernel and back.
// Of its 3 us three quarters are Python, NumPy and the arguments' way, so that what stays the same
// from push to push is taken in once.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bandpass/bindings_numpy.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Doubles = py::array_t<double>;

// An infinity or NaN times 0 is NaN. Four sums, since one would wait for itself.
template <class X>
bool all_finite(const SosfiltArgs& a) {
  const X* x = static_cast<const X*>(a.x.data);
  X sums[4] = {};
  for (int64_t r = 0; r < a.rows; ++r, x += a.x.rows[0]) {
    int64_t t = 0;
    for (; t + 4 <= a.time; t += 4) {
      for (int k = 0; k < 4; ++k) sums[k] += x[(t + k) * a.x.time] * X(0);
    }
    for (; t < a.time; ++t) sums[0] += x[t * a.x.time] * X(0);
  }
  return sums[0] + sums[1] + sums[2] + sums[3] == 0;
}

bool all_finite(const SosfiltArgs& a) {
  switch (a.x.type) {
    case Sample::f32: return all_finite<float>(a);
    case Sample::f64: return all_finite<double>(a);
    case Sample::i16:
    case Sample::i32: break;
  }
  return true;
}

template <class X>
void copy_last(const SosfiltArgs& a, double* last) {
  const X* x = static_cast<const X*>(a.x.data) + (a.time - 1) * a.x.time;
  for (int64_t r = 0; r < a.rows; ++r) last[r] = static_cast<double>(x[r * a.x.rows[0]]);
}

void copy_last(const SosfiltArgs& a, double* last) {
  switch (a.x.type) {
    case Sample::f32: return copy_last<float>(a, last);
    case Sample::f64: return copy_last<double>(a, last);
    case Sample::i16: return copy_last<int16_t>(a, last);
    case Sample::i32: return copy_last<int32_t>(a, last);
  }
}

// C channels that run: sections, their state [S, 2, C] and the channels' newest samples [C]. The
// arrays are the caller's, who may change their values, and are kept alive.
class Cascade {
 public:
  Cascade(Doubles sos, Doubles state, Doubles last, double scale)
      : sos_(std::move(sos)), state_(std::move(state)), last_(std::move(last)) {
    expect(sos_.ndim() == 2 && sos_.shape(1) == 6 && is_dense(sos_), "sos: expected [S, 6]");
    expect(1 <= sos_.shape(0) && sos_.shape(0) <= kMaxSections, "sos: expected 1 to 64 sections");
    expect(state_.ndim() == 3 && state_.shape(0) == sos_.shape(0) && state_.shape(1) == 2 &&
               is_dense(state_),
           "state: expected a contiguous [S, 2, C]");
    const int64_t channels = state_.shape(2);
    expect(last_.ndim() == 1 && last_.shape(0) == channels && is_dense(last_),
           "last: expected [C]");
    args_.sos = sos_.data();
    args_.sections = sos_.shape(0);
    args_.state = {state_.mutable_data(), {1}, 2 * channels, channels};
    args_.state_out = args_.state;
    args_.rows = args_.row_sizes[0] = channels;
    args_.scale = scale;
    newest_ = last_.mutable_data();
  }

  // x [C, n] filtered into a fresh array, float32 for float32 and float64 for all else. None, and
  // nothing done, where x is no such array, no kernel reads it, or a sample is not finite.
  py::object push(const py::object& chunk, int threads) {
    constexpr int64_t kSmall = 1 << 16;  // samples and sections not worth the GIL's release
    if (!py::isinstance<py::array>(chunk)) return py::none();
    const auto x = py::reinterpret_borrow<py::array>(chunk);
    SosfiltArgs a = args_;
    if (x.ndim() != 2 || x.shape(0) != a.rows || !sample_type(x, &a.x.type)) return py::none();
    const int64_t size = x.itemsize();
    if (x.strides(0) % size || x.strides(1) % size) return py::none();
    a.x.data = const_cast<void*>(x.data());
    a.x.rows[0] = x.strides(0) / size;
    a.x.time = x.strides(1) / size;
    a.time = x.shape(1);
    if (!all_finite(a)) return py::none();
    const bool narrow = a.x.type == Sample::f32;
    py::array y(narrow ? py::dtype::of<float>() : py::dtype::of<double>(), {a.rows, a.time});
    a.y = {y.mutable_data(), narrow ? Sample::f32 : Sample::f64, {a.time}, 1};
    a.threads = threads;
    const Kernel kernel = CLMER_KERNELS(bandpass).forward;
    if (a.rows * a.time * a.sections < kSmall) {
      run(kernel, a);
    } else {
      const WithoutGil released;
      run(kernel, a);
    }
    if (a.time > 0) copy_last(a, newest_);
    return std::move(y);
  }

 private:
  static bool is_dense(const Doubles& a) { return a.flags() & py::array::c_style; }

  Doubles sos_, state_, last_;
  double* newest_;
  SosfiltArgs args_;
};

}  // namespace

void bind_bandpass_stream(py::module_& m) {
  py::class_<Cascade>(m, "Cascade")
      .def(py::init<Doubles, Doubles, Doubles, double>(), py::arg("sos").noconvert(),
           py::arg("state").noconvert(), py::arg("last").noconvert(), py::arg("scale"))
      .def("push", &Cascade::push, py::arg("chunk"), py::arg("threads"));
}

}  // namespace clmer
