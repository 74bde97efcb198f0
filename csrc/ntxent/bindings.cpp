// clmer._C's side of clmer/ops/ntxent/op.py, which has validated the shapes.
#include <pybind11/pybind11.h>

#include <cmath>
#include <initializer_list>
#include <new>
#include <tuple>
#include <utility>

#include "ntxent/args.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

// Views [N, D], or [G, N, D] with G = 1 where there is no such dimension.
NtXentArgs arguments(const TensorView& view_a, const TensorView& view_b, double temperature,
                     bool normalize, int threads) {
  expect(view_a.device == kCPU, "nt_xent takes CPU tensors");
  expect(view_a.is_float(32) || view_a.is_float(64), "nt_xent takes float32 or float64");
  expect(view_a.ndim == 2 || view_a.ndim == 3, "nt_xent takes views [N, D] or [G, N, D]");
  NtXentArgs args{};
  args.groups = view_a.ndim == 3 ? view_a.shape[0] : 1;
  args.n = view_a.shape[view_a.ndim - 2];
  args.dim = view_a.shape[view_a.ndim - 1];
  expect_like(view_a, view_a, "view_a");
  expect_like(view_b, view_a, "view_b");
  // Here too, for callers of the op and graphs whose temperature changed after they were traced.
  expect(temperature > 0.0 && std::isfinite(temperature),
         "temperature: expected a finite number > 0");
  args.view_a = view_a.data;
  args.view_b = view_b.data;
  args.temperature = temperature;
  args.normalize = normalize;
  args.threads = threads;
  return args;
}

// The views' leading dimensions, then `tail`.
TensorView shaped(const TensorView& views, std::initializer_list<int64_t> tail, uint8_t bits) {
  TensorView t = views;
  t.bits = bits;
  t.ndim = views.ndim - 2;
  for (const int64_t size : tail) t.shape[t.ndim++] = size;
  return t;
}

// loss [] or [G], and stats [6, 2N] or [G, 6, 2N] float64.
std::pair<py::object, py::object> forward(TensorView view_a, TensorView view_b, double temperature,
                                          bool normalize, bool ranked, int threads) {
  NtXentArgs args = arguments(view_a, view_b, temperature, normalize, threads);
  args.ranked = ranked;
  const NewTensor loss = new_tensor(shaped(view_a, {}, view_a.bits));
  const NewTensor stats = new_tensor(shaped(view_a, {kNtXentStats, 2 * args.n}, 64));
  args.loss = loss.view.data;
  args.stats = stats.view.as<double>();
  {
    const WithoutGil released;
    const auto& kernels = CLMER_KERNELS(ntxent);
    const auto kernel = view_a.bits == 64 ? kernels.forward_f64 : kernels.forward_f32;
    if (!kernel(args)) throw std::bad_alloc();
  }
  return {loss.tensor, stats.tensor};
}

// The gradients of both views and of the temperature.
std::tuple<py::object, py::object, double> backward(TensorView grad_loss, TensorView view_a,
                                                    TensorView view_b, double temperature,
                                                    TensorView stats, bool normalize, int threads) {
  NtXentArgs args = arguments(view_a, view_b, temperature, normalize, threads);
  expect_like(grad_loss, shaped(view_a, {}, view_a.bits), "grad_loss");
  expect_like(stats, shaped(view_a, {kNtXentStats, 2 * args.n}, 64), "stats");
  const NewTensor grad_a = new_tensor(view_a), grad_b = new_tensor(view_a);
  double grad_temperature = 0.0;
  args.grad_loss = grad_loss.data;
  args.stats = stats.as<double>();
  args.grad_a = grad_a.view.data;
  args.grad_b = grad_b.view.data;
  args.grad_temperature = &grad_temperature;
  {
    const WithoutGil released;
    const auto& kernels = CLMER_KERNELS(ntxent);
    const auto kernel = view_a.bits == 64 ? kernels.backward_f64 : kernels.backward_f32;
    if (!kernel(args)) throw std::bad_alloc();
  }
  return {grad_a.tensor, grad_b.tensor, grad_temperature};
}

}  // namespace

void bind_ntxent(py::module_& m) {
  m.def("nt_xent_forward", &forward);
  m.def("nt_xent_backward", &backward);
}

}  // namespace clmer
