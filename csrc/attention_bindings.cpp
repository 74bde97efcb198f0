// clmer._C's side of clmer/ops/attention.py, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
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

void expect_shape(const TensorView& t, const AttentionArgs& a, std::initializer_list<int64_t> tail,
                  bool broadcast, const char* name) {
  bool fits = t.ndim == a.lead_dims + int(tail.size());
  for (int i = 0; fits && i < t.ndim; ++i) {
    const int64_t full = i < a.lead_dims ? a.lead[i] : tail.begin()[i - a.lead_dims];
    fits = t.shape[i] == full || (broadcast && t.shape[i] == 1);
  }
  if (fits) return;
  throw std::invalid_argument("clmer._C: attention: " + std::string(name) + " has shape " +
                              shape_text(t.shape, t.ndim) + ", which does not fit query's");
}

Strided operand(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols, int bits,
                const char* name, bool broadcast = false) {
  expect(t.is_float(bits) && t.device == kCPU, "attention: mixed types or devices");
  expect_shape(t, a, {rows, cols}, broadcast, name);
  return strided(t, a.lead_dims, 2);
}

// Contiguous, for the kernels to write whole or to read in order.
void* dense(const TensorView& t, const AttentionArgs& a, std::initializer_list<int64_t> tail,
            int bits, const char* name) {
  expect(t.is_float(bits) && t.device == kCPU && t.contiguous(),
         "attention: expected dense floats");
  expect_shape(t, a, tail, false, name);
  return t.data;
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
  expect(key.ndim == query.ndim && value.ndim == query.ndim, "tensors of different rank");
  a.keys = key.shape[lead];
  a.value_dim = value.shape[lead + 1];
  a.query = operand(query, a, a.rows, a.dim, bits, "query");
  a.key = operand(key, a, a.keys, a.dim, bits, "key");
  a.value = operand(value, a, a.keys, a.value_dim, bits, "value");
  expect(a.keys < int64_t(1) << 31, "attention takes fewer than 2^31 keys");
  if (bias) a.bias = operand(*bias, a, a.rows, a.keys, bits, "attn_bias", true);
  if (mask) {
    expect(mask->code == kBool && mask->device == kCPU, "key_padding_mask: expected bool");
    expect_shape(*mask, a, {a.keys}, true, "key_padding_mask");
    a.mask = strided(*mask, lead, 1);
  }
  if (seed) {
    expect(seed->code == kInt && seed->bits == 64 && seed->device == kCPU && seed->ndim == 0,
           "seed: expected 0-d int64");
    a.seed = seed->as<int64_t>();
  }
  a.dropout_p = dropout_p;
  a.scale = scale;
  a.out = dense(out, a, {a.rows, a.value_dim}, bits, "out");
  a.lse = dense(lse, a, {a.rows}, bits, "lse");
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
  a.grad_out = operand(grad_out, a, a.rows, a.value_dim, query.bits, "grad_out");
  a.grad_query = dense(grad_query, a, {a.rows, a.dim}, query.bits, "grad_query");
  a.grad_key = dense(grad_key, a, {a.keys, a.dim}, query.bits, "grad_key");
  a.grad_value = dense(grad_value, a, {a.keys, a.value_dim}, query.bits, "grad_value");
  if (grad_bias) {  // [parts, bias's shape]; clmer/ops/attention.py makes it
    expect(bias && grad_bias->ndim == query.ndim + 1 && grad_bias->contiguous(), "grad_bias");
    TensorView part = *grad_bias;
    a.parts = part.shape[0];
    a.part_stride = part.strides[0];
    --part.ndim;
    for (int i = 0; i < part.ndim; ++i) {
      part.shape[i] = part.shape[i + 1];
      part.strides[i] = part.strides[i + 1];
    }
    a.grad_bias = operand(part, a, a.rows, a.keys, query.bits, "grad_bias", true);
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
