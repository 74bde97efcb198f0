// clmer._C's side of clmer/ops/sublayer, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "common/gil.h"
#include "common/simd.h"
#include "sublayer/args.h"
#include "common/tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Optional = std::optional<TensorView>;
using Views = std::vector<TensorView>;

const void* dense(const TensorView& t, const TensorView& like, std::initializer_list<int64_t> shape,
                  const char* name) {
  expect_like(t, shaped(like, shape), name);
  return t.data;
}

TensorView heads_like(const TensorView& x, const SublayerArgs& a) {
  return shaped(x, {a.streams, a.batch, a.heads, a.length, a.dim / a.heads});
}

// Sizes from x [S, B, L, dim].
template <class Args>
Args begin(Sublayer kind, const TensorView& x, int64_t heads, int threads) {
  expect(x.device == kCPU && (x.is_float(32) || x.is_float(64)) && x.ndim == 4,
         "sublayer: expected float32 or float64 CPU tensors [S, B, L, dim]");
  Args a;
  a.kind = kind;
  a.streams = x.shape[0], a.batch = x.shape[1], a.length = x.shape[2], a.dim = x.shape[3];
  expect(heads >= 1 && a.dim >= 1 && a.dim % heads == 0, "sublayer: heads must divide dim");
  a.heads = heads;
  a.threads = threads;
  a.rows = a.batch * a.length;
  const int64_t tiles = (a.rows + kSublayerTile - 1) / kSublayerTile;
  a.chunk_rows = (tiles <= 8 ? 1 : (tiles + 7) / 8) * kSublayerTile;  // at most eight chunks
  return a;
}

void set_parts(SublayerArgs& a, const TensorView& x, const Views& parts) {
  expect(!parts.empty() && parts.size() <= kMaxParts, "sublayer: 1 to 64 tensors of heads");
  a.part_count = int64_t(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    expect_like(parts[i], heads_like(x, a), "heads");
    a.parts[i] = parts[i].data;
  }
}

void set_dropout(const Optional& seed, double p, const int64_t** to_seed, double* to_p) {
  if (!seed) return;
  expect(seed->code == kInt && seed->bits == 64 && seed->device == kCPU && seed->ndim == 0,
         "seed: expected 0-d int64");
  *to_seed = seed->as<int64_t>();
  *to_p = p;
}

template <class Args>
void run(bool (*f32)(const Args&), bool (*f64)(const Args&), const TensorView& x, const Args& a) {
  const WithoutGil released;
  if (!(x.bits == 64 ? f64 : f32)(a)) throw std::bad_alloc();
}

void run(const TensorView& x, const SublayerArgs& a) {
  const SublayerKernels& kernels = CLMER_KERNELS(sublayer);
  run(kernels.forward_f32, kernels.forward_f64, x, a);
}

void run(const TensorView& x, const SublayerGradArgs& a) {
  const SublayerKernels& kernels = CLMER_KERNELS(sublayer);
  run(kernels.backward_f32, kernels.backward_f64, x, a);
}

std::vector<py::object> project(TensorView x, TensorView weight, TensorView bias, int64_t heads,
                                int threads) {
  auto a = begin<SublayerArgs>(Sublayer::project, x, heads, threads);
  expect(weight.ndim == 3 && weight.shape[2] % a.dim == 0, "sublayer: weight of whole heads");
  a.outputs = weight.shape[2];
  a.x = dense(x, x, {a.streams, a.batch, a.length, a.dim}, "x");
  a.weight2 = dense(weight, x, {a.streams, a.dim, a.outputs}, "weight");
  a.bias2 = dense(bias, x, {a.streams, 1, a.outputs}, "bias");
  std::vector<py::object> made;
  Views parts;
  for (int64_t i = 0; i < a.outputs / a.dim; ++i) {
    const NewTensor part = new_tensor(heads_like(x, a));
    made.push_back(part.tensor);
    parts.push_back(part.view);
  }
  set_parts(a, x, parts);
  run(x, a);
  return made;
}

py::object merge(TensorView x, TensorView heads, TensorView weight, TensorView bias, Optional seed,
                 double dropout, int threads) {
  expect(heads.ndim == 5, "sublayer: heads [S, B, h, L, dim / h]");
  auto a = begin<SublayerArgs>(Sublayer::merge, x, heads.shape[2], threads);
  a.outputs = a.dim;
  a.x = dense(x, x, {a.streams, a.batch, a.length, a.dim}, "x");
  a.weight2 = dense(weight, x, {a.streams, a.dim, a.dim}, "weight");
  a.bias2 = dense(bias, x, {a.streams, 1, a.dim}, "bias");
  set_parts(a, x, {heads});
  set_dropout(seed, dropout, &a.out_seed, &a.out_dropout);
  const NewTensor out = new_tensor(x);
  a.out = out.view.data;
  run(x, a);
  return out.tensor;
}

// x + ..., and the hidden rows where `keep` asks for them.
std::pair<py::object, py::object> feed_forward(TensorView x, TensorView weight1, TensorView bias1,
                                               TensorView weight2, TensorView bias2,
                                               Optional hidden_seed, Optional out_seed,
                                               double hidden_dropout, double out_dropout, bool keep,
                                               int threads) {
  auto a = begin<SublayerArgs>(Sublayer::feed_forward, x, 1, threads);
  expect(weight1.ndim == 3 && weight1.shape[2] >= 1, "sublayer: weight1 [S, dim, hidden]");
  a.hidden = weight1.shape[2];
  a.outputs = a.dim;
  a.x = dense(x, x, {a.streams, a.batch, a.length, a.dim}, "x");
  a.weight1 = dense(weight1, x, {a.streams, a.dim, a.hidden}, "weight1");
  a.bias1 = dense(bias1, x, {a.streams, 1, a.hidden}, "bias1");
  a.weight2 = dense(weight2, x, {a.streams, a.hidden, a.dim}, "weight2");
  a.bias2 = dense(bias2, x, {a.streams, 1, a.dim}, "bias2");
  set_dropout(hidden_seed, hidden_dropout, &a.hidden_seed, &a.hidden_dropout);
  set_dropout(out_seed, out_dropout, &a.out_seed, &a.out_dropout);
  const NewTensor out = new_tensor(x);
  NewTensor kept{py::none(), {}};
  if (keep) kept = new_tensor(shaped(x, {a.streams, a.batch, a.length, a.hidden}));
  a.out = out.view.data;
  a.kept = kept.view.data;
  run(x, a);
  return {out.tensor, kept.tensor};
}

// The gradients' tensors of a sublayer, made as they are asked for.
struct Made {
  TensorView x;
  SublayerGradArgs& a;
  py::list tensors;

  void* like(std::initializer_list<int64_t> shape) {
    const NewTensor made = new_tensor(shaped(x, shape));
    tensors.append(made.tensor);
    return made.view.data;
  }
  void* chunks(int64_t inputs, int64_t outputs) {
    return like({(a.rows + a.chunk_rows - 1) / a.chunk_rows, a.streams, inputs, outputs});
  }
};

// dx, and [chunks, ...] of dW and db.
py::list project_backward(Views grads, TensorView x, TensorView weight_t, int64_t heads,
                          int threads) {
  auto a = begin<SublayerGradArgs>(Sublayer::project, x, heads, threads);
  a.outputs = int64_t(grads.size()) * a.dim;
  set_parts(a, x, grads);
  a.x = dense(x, x, {a.streams, a.batch, a.length, a.dim}, "x");
  a.weight2_t = dense(weight_t, x, {a.streams, a.outputs, a.dim}, "weight_t");
  Made made{x, a, py::list()};
  a.grad_x = made.like({a.streams, a.batch, a.length, a.dim});
  a.grad_weight2 = made.chunks(a.dim, a.outputs);
  a.grad_bias2 = made.chunks(1, a.outputs);
  run(x, a);
  return made.tensors;
}

// d heads, and [chunks, ...] of dW and db; dx is grad itself.
py::list merge_backward(TensorView grad, TensorView heads, TensorView weight_t, Optional seed,
                        double dropout, int threads) {
  expect(heads.ndim == 5, "sublayer: heads [S, B, h, L, dim / h]");
  auto a = begin<SublayerGradArgs>(Sublayer::merge, grad, heads.shape[2], threads);
  a.outputs = a.dim;
  set_parts(a, grad, {heads});
  a.grad_out = dense(grad, grad, {a.streams, a.batch, a.length, a.dim}, "grad");
  a.weight2_t = dense(weight_t, grad, {a.streams, a.dim, a.dim}, "weight_t");
  set_dropout(seed, dropout, &a.out_seed, &a.out_dropout);
  Made made{grad, a, py::list()};
  a.grad_part = made.like({a.streams, a.batch, a.heads, a.length, a.dim / a.heads});
  a.grad_weight2 = made.chunks(a.dim, a.dim);
  a.grad_bias2 = made.chunks(1, a.dim);
  run(grad, a);
  return made.tensors;
}

// dx, and [chunks, ...] of dW1, db1, dW2, db2.
py::list feed_forward_backward(TensorView grad, TensorView x, TensorView kept, TensorView weight1_t,
                               TensorView weight2_t, Optional hidden_seed, Optional out_seed,
                               double hidden_dropout, double out_dropout, int threads) {
  auto a = begin<SublayerGradArgs>(Sublayer::feed_forward, x, 1, threads);
  expect(kept.ndim == 4 && kept.shape[3] >= 1, "sublayer: kept [S, B, L, hidden]");
  a.hidden = kept.shape[3];
  a.outputs = a.dim;
  a.x = dense(x, x, {a.streams, a.batch, a.length, a.dim}, "x");
  a.grad_out = dense(grad, x, {a.streams, a.batch, a.length, a.dim}, "grad");
  a.kept = const_cast<void*>(dense(kept, x, {a.streams, a.batch, a.length, a.hidden}, "kept"));
  a.weight1_t = dense(weight1_t, x, {a.streams, a.hidden, a.dim}, "weight1_t");
  a.weight2_t = dense(weight2_t, x, {a.streams, a.dim, a.hidden}, "weight2_t");
  set_dropout(hidden_seed, hidden_dropout, &a.hidden_seed, &a.hidden_dropout);
  set_dropout(out_seed, out_dropout, &a.out_seed, &a.out_dropout);
  Made made{x, a, py::list()};
  a.grad_x = made.like({a.streams, a.batch, a.length, a.dim});
  a.grad_weight1 = made.chunks(a.dim, a.hidden);
  a.grad_bias1 = made.chunks(1, a.hidden);
  a.grad_weight2 = made.chunks(a.hidden, a.dim);
  a.grad_bias2 = made.chunks(1, a.dim);
  run(x, a);
  return made.tensors;
}

}  // namespace

void bind_sublayer(py::module_& m) {
  m.def("project", &project);
  m.def("merge", &merge);
  m.def("feed_forward", &feed_forward);
  m.def("project_backward", &project_backward);
  m.def("merge_backward", &merge_backward);
  m.def("feed_forward_backward", &feed_forward_backward);
}

}  // namespace clmer
