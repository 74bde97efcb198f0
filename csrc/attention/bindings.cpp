// clmer._C's side of clmer/ops/attention/op.py and gpu.py, which have validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <tuple>
#include <utility>

#include "attention/bindings_gpu.h"
#include "attention/operands.h"
#include "common/gil.h"
#include "common/simd.h"

namespace py = pybind11;

namespace clmer {

namespace {

template <class Kernels, class Args>
void run(const Kernels& kernels, const TensorView& query, const Args& a) {
  const StorageType type = type_of(query);
  const auto kernel = !type.half()           ? (type.bits == 64 ? kernels.f64 : kernels.f32)
                      : type.code == kBfloat ? kernels.bf16
                                             : kernels.f16;
  if (!kernel(a)) throw std::bad_alloc();
}

// O [..., Lq, Dv] and, where a backward wants it, the log-sum-exp [..., Lq]. `out`, if given, takes
// O in a memory order of its own. `weights` [..., Lq, Lk], if given, takes the weights, or (of size
// 1 in the last leading dimension) their mean over it.
std::pair<py::object, py::object> forward(TensorView query, TensorView key, TensorView value,
                                          OptionalTensor mask, OptionalTensor attn_mask,
                                          OptionalTensor bias, OptionalTensor seed,
                                          double dropout_p, double scale, bool causal,
                                          bool want_lse, OptionalTensor out, OptionalTensor weights,
                                          int threads) {
  AttentionArgs a;
  expect(query.device == kCPU, "attention_forward takes tensors on the CPU");
  const auto [made, lse] = new_results(query, value, out, want_lse);
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, causal,
                made.view, threads);
  a.lse = lse.view.data;
  if (weights) {
    expect_same_device(query, {&*weights});
    const int last = a.lead_dims - 1;
    const bool mean = last >= 0 && weights->shape[last] == 1 && a.lead[last] != 1;
    a.weights = operand(*weights, a, a.rows, a.keys, type_of(query).arithmetic(), "weights", mean);
    for (int d = 0; d < last; ++d) expect(weights->shape[d] == a.lead[d], "weights");
    expect(a.keys < 2 || a.weights.col == 1, "weights: expected adjacent keys");
    if (mean) a.weight_share = 1.0 / double(a.lead[last]);
  }
  {
    const WithoutGil released;
    run(CLMER_KERNELS(attention), query, a);
  }
  return {made.tensor, lse.tensor};
}

// The gradients of query, key and value, in `grad_query` and so on where these are given;
// grad_bias, [parts, bias's shape] of zeros, is added to.
std::tuple<py::object, py::object, py::object> backward(
    TensorView grad_out, TensorView query, TensorView key, TensorView value, TensorView out,
    TensorView lse, OptionalTensor mask, OptionalTensor attn_mask, OptionalTensor bias,
    OptionalTensor seed, double dropout_p, double scale, bool causal, OptionalTensor grad_bias,
    OptionalTensor grad_query, OptionalTensor grad_key, OptionalTensor grad_value, int threads) {
  AttentionGradArgs a;
  expect(query.device == kCPU, "attention_backward takes tensors on the CPU");
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, causal, out,
                threads);
  const Gradients made =
      fill_gradients(a, grad_out, query, key, value, lse, {grad_query, grad_key, grad_value});
  if (grad_bias) {
    expect(bias && grad_bias->ndim == query.ndim + 1 && grad_bias->contiguous(), "grad_bias");
    TensorView part = *grad_bias;
    a.parts = part.shape[0];
    a.part_stride = part.strides[0];
    --part.ndim;
    for (int i = 0; i < part.ndim; ++i) {
      part.shape[i] = part.shape[i + 1];
      part.strides[i] = part.strides[i + 1];
    }
    a.grad_bias = operand(part, a, a.rows, a.keys, type_of(query).arithmetic(), "grad_bias", true);
  }
  {
    const WithoutGil released;
    run(CLMER_KERNELS(attention_backward), query, a);
  }
  return made.tensors();
}

void run_on_gpu(const AttentionGradArgs& a, const ShortPlan& plan, Product product, bool backward,
                int device, uintptr_t stream) {
#ifdef CLMER_CUDA_BUILT
  attention_cuda(a, plan, product, backward, device, reinterpret_cast<void*>(stream));
#else
  (void)a, (void)plan, (void)product, (void)backward, (void)device, (void)stream;
  expect(false, "built without CUDA");
#endif
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_forward", &forward);
  m.def("attention_backward", &backward);
  bind_attention_short(m, kCUDA, &run_on_gpu);
}

}  // namespace clmer
