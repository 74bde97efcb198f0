// clmer._C's side of clmer/ops/normpool, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <optional>
#include <tuple>

#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"
#include "normpool/args.h"

namespace py = pybind11;

namespace clmer {

namespace {

template <class Args>
Args begin(const TensorView& x, const TensorView& gain, const TensorView& offset, double eps,
           bool measure, int threads) {
  expect(x.device == kCPU && (x.is_float(32) || x.is_float(64)) && x.ndim == 3 && x.shape[2] >= 1,
         "normpool: expected a float32 or float64 CPU tensor [B, C, T], T >= 1");
  Args a;
  a.batch = x.shape[0], a.channels = x.shape[1], a.length = x.shape[2];
  expect_like(x, shaped(x, {a.batch, a.channels, a.length}), "x");
  expect_like(gain, shaped(x, {a.channels}), "weight");
  expect_like(offset, shaped(x, {a.channels}), "bias");
  a.x = x.data, a.gain = gain.data, a.offset = offset.data;
  a.eps = eps, a.measure = measure, a.threads = threads;
  return a;
}

void set_stats(NormPoolArgs& a, const TensorView& stats) {
  expect_dense(stats, {2, a.channels}, 64, "stats");
  a.mean = stats.as<double>();
  a.var = a.mean + a.channels;
}

// y, with stats [2, C] written where `measure` asks for it.
py::object normpool(TensorView x, TensorView gain, TensorView offset, TensorView stats, double eps,
                    bool measure, int threads) {
  auto a = begin<NormPoolArgs>(x, gain, offset, eps, measure, threads);
  set_stats(a, stats);
  const NewTensor y = new_tensor(shaped(x, {a.batch, a.channels, a.pooled()}));
  a.y = y.view.data;
  const NormPoolKernels& kernels = CLMER_KERNELS(normpool);
  {
    const WithoutGil released;
    if (!(x.bits == 64 ? kernels.forward_f64 : kernels.forward_f32)(a)) throw std::bad_alloc();
  }
  return y.tensor;
}

// The gradients of x, weight and bias.
std::tuple<py::object, py::object, py::object> normpool_backward(TensorView grad_y, TensorView x,
                                                                 TensorView gain, TensorView offset,
                                                                 TensorView stats, double eps,
                                                                 bool measure, int threads) {
  auto a = begin<NormPoolGradArgs>(x, gain, offset, eps, measure, threads);
  set_stats(a, stats);
  expect_like(grad_y, shaped(x, {a.batch, a.channels, a.pooled()}), "grad_y");
  const NewTensor grad_x = new_tensor(x), grad_gain = new_tensor(gain),
                  grad_offset = new_tensor(offset);
  a.grad_y = grad_y.data;
  a.grad_x = grad_x.view.data;
  a.grad_gain = grad_gain.view.data;
  a.grad_offset = grad_offset.view.data;
  const NormPoolKernels& kernels = CLMER_KERNELS(normpool);
  {
    const WithoutGil released;
    if (!(x.bits == 64 ? kernels.backward_f64 : kernels.backward_f32)(a)) throw std::bad_alloc();
  }
  return {grad_x.tensor, grad_gain.tensor, grad_offset.tensor};
}

}  // namespace

void bind_normpool(py::module_& m) {
  m.def("normpool", &normpool);
  m.def("normpool_backward", &normpool_backward);
}

}  // namespace clmer
