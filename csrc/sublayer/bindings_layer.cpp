// clmer._C's side of clmer/ops/sublayer/layer.py, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"
#include "sublayer/layer_args.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Optional = std::optional<TensorView>;
using Views = std::vector<TensorView>;

const int64_t* integers(const TensorView& t, int64_t count) {
  expect(t.code == kInt && t.bits == 64 && t.device == kCPU && t.ndim == 1 && t.shape[0] == count &&
             t.contiguous(),
         "layer: expected int64 [3] seeds and [B] samples");
  return t.as<int64_t>();
}

template <class Args>
Args begin(const TensorView& x, const Views& weights, int64_t heads, bool first_only,
           const Optional& seeds, const Optional& samples, double dropout, int threads) {
  expect(x.device == kCPU && (x.is_float(32) || x.is_float(64)) && x.ndim == 3,
         "layer: expected float32 or float64 CPU tensors [B, L, dim]");
  expect(weights.size() == kLayerWeights, "layer: expected 12 weights");
  Args a;
  a.batch = x.shape[0], a.length = x.shape[1], a.dim = x.shape[2];
  expect(a.length >= 1 && a.dim >= 1 && heads >= 1 && a.dim % heads == 0,
         "layer: expected L >= 1 and heads that divide dim");
  a.heads = heads;
  a.queries = first_only ? 1 : a.length;
  a.threads = threads;
  expect_like(x, shaped(x, {a.batch, a.length, a.dim}), "x");
  a.x = x.data;
  expect(weights[kBias1].ndim == 1 && weights[kBias1].shape[0] >= 1, "layer: bias1 [hidden]");
  a.hidden = weights[kBias1].shape[0];
  for (int i = 0; i < kLayerWeights; ++i) {
    const bool matrix = LayerArgs::is_matrix(i);
    expect_like(weights[i],
                matrix ? shaped(x, {a.outputs_of(i), a.inputs_of(i)}) : shaped(x, {a.size_of(i)}),
                "weight");
    a.weights[i] = weights[i].data;
  }
  if (seeds) {
    a.seeds = integers(*seeds, 3);
    a.dropout = dropout;
  }
  if (samples) a.samples = integers(*samples, a.batch);
  return a;
}

// y, and what the backward reads.
std::pair<py::object, py::object> layer(TensorView x, Views weights, int64_t heads, bool first_only,
                                        Optional seeds, Optional samples, double dropout,
                                        int threads) {
  auto a = begin<LayerArgs>(x, weights, heads, first_only, seeds, samples, dropout, threads);
  const NewTensor y = new_tensor(shaped(x, {a.batch, a.queries, a.dim}));
  const NewTensor saved = new_tensor(shaped(x, {a.saved_size()}));
  a.y = y.view.data;
  a.saved = saved.view.data;
  const LayerKernels& kernels = CLMER_KERNELS(layer);
  {
    const WithoutGil released;
    if (!(x.bits == 64 ? kernels.forward_f64 : kernels.forward_f32)(a)) throw std::bad_alloc();
  }
  return {y.tensor, saved.tensor};
}

// The gradient of x, and those of all weights in one row.
std::pair<py::object, py::object> layer_backward(TensorView grad_y, TensorView x, TensorView saved,
                                                 Views weights, int64_t heads, bool first_only,
                                                 Optional seeds, Optional samples, double dropout,
                                                 int threads) {
  auto a = begin<LayerGradArgs>(x, weights, heads, first_only, seeds, samples, dropout, threads);
  expect_like(grad_y, shaped(x, {a.batch, a.queries, a.dim}), "grad_y");
  expect_like(saved, shaped(x, {a.saved_size()}), "saved");
  const NewTensor grad_x = new_tensor(x);
  const NewTensor grad_weights = new_tensor(shaped(x, {a.start_of(kLayerWeights)}));
  a.grad_y = grad_y.data;
  a.saved = saved.data;
  a.grad_x = grad_x.view.data;
  a.grad_weights = grad_weights.view.data;
  const LayerKernels& kernels = CLMER_KERNELS(layer);
  {
    const WithoutGil released;
    if (!(x.bits == 64 ? kernels.backward_f64 : kernels.backward_f32)(a)) throw std::bad_alloc();
  }
  return {grad_x.tensor, grad_weights.tensor};
}

}  // namespace

void bind_sublayer_layer(py::module_& m) {
  m.def("layer", &layer);
  m.def("layer_backward", &layer_backward);
}

}  // namespace clmer
