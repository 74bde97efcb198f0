// clmer._C: views of torch tensors in, kernels out. Allocation, shapes and messages are Python's.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bandpass.h"
#include "simd.h"
#include "tensor.h"

namespace py = pybind11;
using clmer::expect;
using clmer::expect_dense;
using clmer::expect_same_device;
using clmer::TensorView;

namespace clmer {
void bind_attention(py::module_& m);  // attention_bindings.cpp
void bind_ntxent(py::module_& m);     // ntxent_bindings.cpp
}  // namespace clmer

namespace {

void sosfilt(TensorView x, TensorView sos, TensorView state, TensorView y, TensorView state_out,
             bool adjoint, int threads, uintptr_t stream) {
  expect(x.bits == 32 || x.bits == 64, "sosfilt takes float32 or float64");
  const int64_t rows = x.shape[0], time = x.shape[1], sections = sos.shape[0];
  expect_dense(x, {rows, time}, x.bits, "x");
  expect_dense(y, {rows, time}, x.bits, "y");
  expect_dense(sos, {sections, 6}, 64, "sos");
  expect_dense(state, {rows, sections, 2}, 64, "state");
  expect_dense(state_out, {rows, sections, 2}, 64, "state_out");
  expect_same_device(x, {&sos, &state, &y, &state_out});
  expect(x.device != clmer::kCPU || sections <= clmer::kMaxSections, "sos: too many sections");
  const clmer::SosfiltArgs args{
      x.data, y.data,   sos.as<double>(), state.as<double>(), state_out.as<double>(), rows,
      time,   sections, threads};
  py::gil_scoped_release release;
  if (x.device == clmer::kCPU) {
    const auto& kernels = CLMER_KERNELS(bandpass);
    const bool wide = x.bits == 64;
    (adjoint ? (wide ? kernels.adjoint_f64 : kernels.adjoint_f32)
             : (wide ? kernels.forward_f64 : kernels.forward_f32))(args);
    return;
  }
#ifdef CLMER_CUDA_BUILT
  clmer::sosfilt_cuda(args, adjoint, x.bits == 64, x.device_index, reinterpret_cast<void*>(stream));
#else
  (void)stream;
  expect(false, "built without CUDA");
#endif
}

py::dict build_info() {
  py::dict info;
  info["compiler"] = CLMER_BUILD_COMPILER;
  info["simd_levels"] = py::str(CLMER_BUILD_LEVELS).attr("split")();
  info["simd_in_use"] = clmer::simd_name(clmer::simd_level());
#ifdef CLMER_CUDA_BUILT
  info["cuda"] = CLMER_CUDA_COMPILER;
  info["cuda_architectures"] = py::str(CLMER_CUDA_ARCHITECTURES).attr("split")();
#else
  info["cuda"] = py::none();
  info["cuda_architectures"] = py::list();
#endif
  return info;
}

bool set_simd_level(const std::string& name) {
  for (auto level : {clmer::Simd::baseline, clmer::Simd::avx2, clmer::Simd::avx512}) {
    if (name == clmer::simd_name(level)) return clmer::set_simd_level(level);
  }
  throw py::value_error("simd level: found '" + name + "', expected baseline, avx2 or avx512");
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.def("build_info", &build_info);
  m.def("set_exchange_api", &clmer::set_exchange_api);
  m.def("clear_exchange_api", [] { clmer::exchange_api = nullptr; });
  m.def("set_simd_level", &set_simd_level);
  m.def("sosfilt", &sosfilt);
  clmer::bind_attention(m);
  clmer::bind_ntxent(m);
}
