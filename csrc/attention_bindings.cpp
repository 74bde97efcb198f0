// clmer._C's side of clmer/ops/attention.py, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <optional>

#include "attention.h"
#include "simd.h"
#include "tensor.h"

namespace py = pybind11;

namespace clmer {

namespace {

using Optional = std::optional<TensorView>;

// `lead` leading dimensions, then `matrix` (2: rows and columns, 1: columns) of any strides.
Strided strided(const TensorView& t, int lead, int matrix) {
  expect(t.ndim == lead + matrix, "tensors of different rank");
  const auto stride = [&](int i) { return t.shape[i] == 1 ? 0 : t.strides[i]; };
  Strided s;
  s.data = t.data;
  for (int d = 0; d < lead; ++d) s.lead[d] = stride(d);
  if (matrix == 2) s.row = stride(lead);
  s.col = stride(t.ndim - 1);
  return s;
}

Strided operand(const TensorView& t, int lead, int bits) {
  expect(t.is_float(bits) && t.device == kCPU, "attention: mixed types or devices");
  return strided(t, lead, 2);
}

void fill(AttentionArgs& a, const TensorView& query, const TensorView& key, const TensorView& value,
          const Optional& bias, const Optional& mask, const Optional& seed, double dropout_p,
          double scale, const TensorView& out, const TensorView& lse, int threads) {
  const int bits = query.bits, lead = query.ndim - 2;
  expect(bits == 32 || bits == 64, "attention takes float32 or float64");
  expect(0 <= lead && lead <= kMaxLead, "attention takes 2 to 7 dimensions");
  a.lead_dims = lead;
  a.heads = 1;
  for (int d = 0; d < lead; ++d) a.heads *= a.lead[d] = query.shape[d];
  a.rows = query.shape[lead];
  a.dim = query.shape[lead + 1];
  a.query = operand(query, lead, bits);
  a.key = operand(key, lead, bits);
  a.value = operand(value, lead, bits);
  a.keys = key.shape[lead];
  a.value_dim = value.shape[lead + 1];
  expect(a.keys < int64_t(1) << 31, "attention takes fewer than 2^31 keys");
  if (bias) a.bias = operand(*bias, lead, bits);
  if (mask) {
    expect(mask->code == kBool && mask->device == kCPU, "key_padding_mask: expected bool");
    a.mask = strided(*mask, lead, 1);
  }
  if (seed) {
    expect(seed->code == kInt && seed->bits == 64 && seed->device == kCPU, "seed: expected int64");
    a.seed = seed->as<int64_t>();
  }
  a.dropout_p = dropout_p;
  a.scale = scale;
  expect_dense(out, query.ndim, bits, "out");
  expect_dense(lse, query.ndim - 1, bits, "lse");
  a.out = out.data;
  a.lse = lse.data;
  a.threads = threads;
}

void finish(bool done) {
  if (!done) throw std::bad_alloc();
}

void forward(TensorView query, TensorView key, TensorView value, Optional bias, Optional mask,
             Optional seed, double dropout_p, double scale, TensorView out, TensorView lse,
             int threads) {
  AttentionArgs a;
  fill(a, query, key, value, bias, mask, seed, dropout_p, scale, out, lse, threads);
  py::gil_scoped_release release;
  const auto& kernels = CLMER_KERNELS(attention);
  finish((query.bits == 64 ? kernels.f64 : kernels.f32)(a));
}

void backward(TensorView grad_out, TensorView query, TensorView key, TensorView value,
              TensorView out, TensorView lse, Optional bias, Optional mask, Optional seed,
              double dropout_p, double scale, TensorView grad_query, TensorView grad_key,
              TensorView grad_value, Optional grad_bias, int threads) {
  AttentionGradArgs a;
  fill(a, query, key, value, bias, mask, seed, dropout_p, scale, out, lse, threads);
  a.grad_out = operand(grad_out, a.lead_dims, query.bits);
  for (const auto* grad : {&grad_query, &grad_key, &grad_value}) {
    expect_dense(*grad, query.ndim, query.bits, "gradients");
  }
  a.grad_query = grad_query.data;
  a.grad_key = grad_key.data;
  a.grad_value = grad_value.data;
  if (grad_bias) {  // [parts, bias's shape]
    expect_dense(*grad_bias, query.ndim + 1, query.bits, "grad_bias");
    TensorView part = *grad_bias;
    a.parts = part.shape[0];
    a.part_stride = part.strides[0];
    --part.ndim;
    for (int i = 0; i < part.ndim; ++i) {
      part.shape[i] = part.shape[i + 1];
      part.strides[i] = part.strides[i + 1];
    }
    a.grad_bias = strided(part, a.lead_dims, 2);
  }
  py::gil_scoped_release release;
  const auto& kernels = CLMER_KERNELS(attention_backward);
  finish((query.bits == 64 ? kernels.f64 : kernels.f32)(a));
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_forward", &forward);
  m.def("attention_backward", &backward);
}

}  // namespace clmer
