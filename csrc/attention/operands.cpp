#include "attention/operands.h"

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace clmer {

namespace {

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

// A result that the caller has made, in the memory order it wants, or a contiguous one.
NewTensor given_or_new(const OptionalTensor& given, const TensorView& like) {
  if (!given) return new_tensor(like);
  expect_same_device(like, {&*given});
  return {py::reinterpret_borrow<py::object>(given->object), *given};
}

}  // namespace

StorageType type_of(const TensorView& t) {
  expect(t.code == kFloat || (t.code == kBfloat && t.bits == 16), "attention takes floats");
  return {t.code, t.bits};
}

Strided operand(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols,
                StorageType type, const char* name, bool broadcast) {
  expect(type.of(t), "attention: mixed types");
  expect_shape(t, a, {rows, cols}, broadcast, name);
  return strided(t, a.lead_dims, 2);
}

Strided result(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols,
               StorageType type, const char* name) {
  expect(t.ndim > 0 && (t.shape[t.ndim - 1] < 2 || t.strides[t.ndim - 1] == 1),
         "attention: expected adjacent features in a result");
  return operand(t, a, rows, cols, type, name);
}

void fill_operands(AttentionArgs& a, const TensorView& query, const TensorView& key,
                   const TensorView& value, const OptionalTensor& mask,
                   const OptionalTensor& attn_mask, const OptionalTensor& bias,
                   const OptionalTensor& seed, double dropout_p, double scale, bool causal,
                   const TensorView& out, int threads) {
  const StorageType type = type_of(query);
  const int lead = query.ndim - 2;
  expect(0 <= lead && lead <= kMaxLead, "attention takes 2 to 7 dimensions");
  expect_same_device(query, {&key, &value, &out});
  for (const OptionalTensor* t : {&mask, &attn_mask, &bias, &seed}) {
    if (*t) expect_same_device(query, {&**t});
  }
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
    expect(mask->code == kBool, "key_padding_mask: expected bool");
    expect_shape(*mask, a, {a.keys}, true, "key_padding_mask");
    a.mask = strided(*mask, lead, 1);
  }
  if (attn_mask) {
    expect(attn_mask->code == kBool, "attn_mask: expected bool");
    expect_shape(*attn_mask, a, {a.rows, a.keys}, true, "attn_mask");
    a.attn_mask = strided(*attn_mask, lead, 2);
  }
  if (seed) {
    expect(seed->code == kInt && seed->bits == 64 && seed->ndim == 0, "seed: expected 0-d int64");
    a.seed = seed->as<int64_t>();
  }
  a.dropout_p = dropout_p;
  a.scale = scale;
  a.causal = causal;
  a.out = result(out, a, a.rows, a.value_dim, type, "out");
  a.threads = threads;
}

std::pair<NewTensor, NewTensor> new_results(const TensorView& query, const TensorView& value,
                                            const OptionalTensor& out, bool want_lse) {
  expect(query.ndim >= 2 && value.ndim == query.ndim, "tensors of different rank");
  TensorView made = query;
  made.shape[query.ndim - 1] = value.shape[query.ndim - 1];
  NewTensor result = given_or_new(out, made), lse{py::none(), {}};
  if (want_lse) {
    const StorageType type = type_of(query).arithmetic();
    made.code = type.code, made.bits = type.bits;
    --made.ndim;
    lse = new_tensor(made);
  }
  return {std::move(result), std::move(lse)};
}

Gradients fill_gradients(AttentionGradArgs& a, const TensorView& grad_out, const TensorView& query,
                         const TensorView& key, const TensorView& value, const TensorView& lse,
                         const GivenGradients& given) {
  expect_same_device(query, {&grad_out, &lse});
  const StorageType type = type_of(query);
  expect(type.arithmetic().of(lse) && lse.contiguous(), "attention: expected a dense lse");
  expect_shape(lse, a, {a.rows}, false, "lse");
  a.lse = lse.data;
  a.grad_out = operand(grad_out, a, a.rows, a.value_dim, type, "grad_out");
  Gradients made = {given_or_new(given.query, query), given_or_new(given.key, key),
                    given_or_new(given.value, value)};
  a.grad_query = result(made.query.view, a, a.rows, a.dim, type, "grad_query");
  a.grad_key = result(made.key.view, a, a.keys, a.dim, type, "grad_key");
  a.grad_value = result(made.value.view, a, a.keys, a.value_dim, type, "grad_value");
  return made;
}

}  // namespace clmer
