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

// O [..., Lq, Dv] and, where a backward wants it, the log-sum-exp [..., Lq].
std::pair<py::object, py::object> forward(TensorView query, TensorView key, TensorView value,
                                          OptionalTensor mask, OptionalTensor attn_mask,
                                          OptionalTensor bias, OptionalTensor seed,
                                          double dropout_p, double scale, bool want_lse,
                                          int threads) {
  AttentionArgs a;
  expect(query.device == kCPU, "attention_forward takes tensors on the CPU");
  const auto [out, lse] = new_results(query, value, want_lse);
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out.view,
                threads);
  a.lse = lse.view.data;
  {
    const WithoutGil released;
    run(CLMER_KERNELS(attention), query, a);
  }
  return {out.tensor, lse.tensor};
}

// The gradients of query, key and value; grad_bias, [parts, bias's shape] of zeros, is added to.
std::tuple<py::object, py::object, py::object> backward(
    TensorView grad_out, TensorView query, TensorView key, TensorView value, TensorView out,
    TensorView lse, OptionalTensor mask, OptionalTensor attn_mask, OptionalTensor bias,
    OptionalTensor seed, double dropout_p, double scale, OptionalTensor grad_bias, int threads) {
  AttentionGradArgs a;
  expect(query.device == kCPU, "attention_backward takes tensors on the CPU");
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out, threads);
  const Gradients made = fill_gradients(a, grad_out, query, key, value, lse);
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
