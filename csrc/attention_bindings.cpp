// clmer._C's side of clmer/ops/attention.py, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <new>
#include <optional>
#include <tuple>
#include <utility>

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

// A storage type: float32, float64, bfloat16 or float16.
struct Type {
  uint8_t code, bits;

  bool of(const TensorView& t) const { return t.code == code && t.bits == bits; }
  bool half() const { return bits == 16; }
  // lse, the bias and its gradient
  Type arithmetic() const { return {kFloat, uint8_t(half() ? 32 : bits)}; }
};

Type type_of(const TensorView& t) {
  expect(t.code == kFloat || (t.code == kBfloat && t.bits == 16), "attention takes floats");
  return {t.code, t.bits};
}

Strided operand(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols, Type type,
                const char* name, bool broadcast = false) {
  expect(type.of(t) && t.device == kCPU, "attention: mixed types or devices");
  expect_shape(t, a, {rows, cols}, broadcast, name);
  return strided(t, a.lead_dims, 2);
}

// Contiguous, for the kernels to write whole or to read in order.
void* dense(const TensorView& t, const AttentionArgs& a, std::initializer_list<int64_t> tail,
            Type type, const char* name) {
  expect(type.of(t) && t.device == kCPU && t.contiguous(), "attention: expected dense floats");
  expect_shape(t, a, tail, false, name);
  return t.data;
}

void fill(AttentionArgs& a, const TensorView& query, const TensorView& key, const TensorView& value,
          const Optional& mask, const Optional& attn_mask, const Optional& bias,
          const Optional& seed, double dropout_p, double scale, const TensorView& out,
          int threads) {
  const Type type = type_of(query);
  const int lead = query.ndim - 2;
  expect(0 <= lead && lead <= kMaxLead, "attention takes 2 to 7 dimensions");
  a.lead_dims = lead;
  a.heads = 1;
  for (int d = 0; d < lead; ++d) a.heads *= a.lead[d] = query.shape[d];
  a.rows = query.shape[lead];
  a.dim = query.shape[lead + 1];
  expect(key.ndim == query.ndim && value.ndim == query.ndim, "tensors of different rank");
  a.keys = key.shape[lead];
  a.value_dim = value.shape[lead + 1];
  a.query = operand(query, a, a.rows, a.dim, type, "query");
  a.key = operand(key, a, a.keys, a.dim, type, "key");
  a.value = operand(value, a, a.keys, a.value_dim, type, "value");
  expect(a.keys < int64_t(1) << 31, "attention takes fewer than 2^31 keys");
  if (bias) a.bias = operand(*bias, a, a.rows, a.keys, type.arithmetic(), "attn_bias", true);
  if (mask) {
    expect(mask->code == kBool && mask->device == kCPU, "key_padding_mask: expected bool");
    expect_shape(*mask, a, {a.keys}, true, "key_padding_mask");
    a.mask = strided(*mask, lead, 1);
  }
  if (attn_mask) {
    expect(attn_mask->code == kBool && attn_mask->device == kCPU, "attn_mask: expected bool");
    expect_shape(*attn_mask, a, {a.rows, a.keys}, true, "attn_mask");
    a.attn_mask = strided(*attn_mask, lead, 2);
  }
  if (seed) {
    expect(seed->code == kInt && seed->bits == 64 && seed->device == kCPU && seed->ndim == 0,
           "seed: expected 0-d int64");
    a.seed = seed->as<int64_t>();
  }
  a.dropout_p = dropout_p;
  a.scale = scale;
  a.out = dense(out, a, {a.rows, a.value_dim}, type, "out");
  a.threads = threads;
}

template <class Kernels, class Args>
void run(const Kernels& kernels, const TensorView& query, const Args& a) {
  const Type type = type_of(query);
  const auto kernel = !type.half()           ? (type.bits == 64 ? kernels.f64 : kernels.f32)
                      : type.code == kBfloat ? kernels.bf16
                                             : kernels.f16;
  if (!kernel(a)) throw std::bad_alloc();
}

// O [..., Lq, Dv] and, where a backward wants it, the log-sum-exp [..., Lq].
std::pair<py::object, py::object> forward(TensorView query, TensorView key, TensorView value,
                                          Optional mask, Optional attn_mask, Optional bias,
                                          Optional seed, double dropout_p, double scale,
                                          bool want_lse, int threads) {
  AttentionArgs a;
  expect(query.ndim >= 2 && value.ndim == query.ndim, "tensors of different rank");
  TensorView made = query;
  made.shape[query.ndim - 1] = value.shape[query.ndim - 1];
  const NewTensor out = new_tensor(made);
  NewTensor lse{py::none(), {}};
  if (want_lse) {
    const Type type = type_of(query).arithmetic();
    made.code = type.code, made.bits = type.bits;
    --made.ndim;
    lse = new_tensor(made);
  }
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out.view, threads);
  a.lse = lse.view.data;
  {
    py::gil_scoped_release release;
    run(CLMER_KERNELS(attention), query, a);
  }
  return {out.tensor, lse.tensor};
}

// The gradients of query, key and value; grad_bias, [parts, bias's shape] of zeros, is added to.
std::tuple<py::object, py::object, py::object> backward(
    TensorView grad_out, TensorView query, TensorView key, TensorView value, TensorView out,
    TensorView lse, Optional mask, Optional attn_mask, Optional bias, Optional seed,
    double dropout_p, double scale, Optional grad_bias, int threads) {
  AttentionGradArgs a;
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out, threads);
  const Type type = type_of(query);
  a.lse = dense(lse, a, {a.rows}, type.arithmetic(), "lse");
  a.grad_out = operand(grad_out, a, a.rows, a.value_dim, type, "grad_out");
  const NewTensor grad_query = new_tensor(query);
  const NewTensor grad_key = new_tensor(key);
  const NewTensor grad_value = new_tensor(value);
  a.grad_query = grad_query.view.data;
  a.grad_key = grad_key.view.data;
  a.grad_value = grad_value.view.data;
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
    a.grad_bias = operand(part, a, a.rows, a.keys, type.arithmetic(), "grad_bias", true);
  }
  {
    py::gil_scoped_release release;
    run(CLMER_KERNELS(attention_backward), query, a);
  }
  return {grad_query.tensor, grad_key.tensor, grad_value.tensor};
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_forward", &forward);
  m.def("attention_backward", &backward);
}

}  // namespace clmer
