// clmer._C: what was built, and which kernels run. An op's own side is in <op>/bindings.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/cuda_unavailable.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {
void bind_attention(py::module_& m);        // attention/bindings.cpp
void bind_bandpass(py::module_& m);         // bandpass/bindings.cpp
void bind_bandpass_array(py::module_& m);   // bandpass/bindings_array.cpp
void bind_bandpass_stream(py::module_& m);  // bandpass/bindings_stream.cpp
void bind_normpool(py::module_& m);         // normpool/bindings.cpp
void bind_ntxent(py::module_& m);           // ntxent/bindings.cpp
void bind_sublayer(py::module_& m);         // sublayer/bindings.cpp
void bind_sublayer_layer(py::module_& m);   // sublayer/bindings_layer.cpp
}  // namespace clmer

namespace {

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
  info["cuda_why"] = CLMER_CUDA_WHY;
  return info;
}

// Why no CUDA kernel can run here; empty where they can.
std::string why_no_cuda() {
#ifdef CLMER_CUDA_BUILT
  return clmer::cuda_unavailable();
#else
  return "clmer._C was built without CUDA";
#endif
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
  m.def("why_no_cuda", &why_no_cuda);
  m.def("set_exchange_api", &clmer::set_exchange_api);
  m.def("set_simd_level", &set_simd_level);
  m.def("let_threads_stop", &clmer::let_threads_stop);
  clmer::bind_attention(m);
  clmer::bind_bandpass(m);
  clmer::bind_bandpass_array(m);
  clmer::bind_bandpass_stream(m);
  clmer::bind_normpool(m);
  clmer::bind_ntxent(m);
  clmer::bind_sublayer(m);
  clmer::bind_sublayer_layer(m);
}
