// clmer._C's side of clmer/ops/attention/op.py and gpu.py, which has validated the shapes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <new>
#include <optional>
#include <tuple>
#include <utility>

#include "attention/args.h"
#include "attention/gpu_plan.h"
#include "common/gil.h"
#include "common/simd.h"
#include "common/tensor.h"

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
  expect(type.of(t), "attention: mixed types");
  expect_shape(t, a, {rows, cols}, broadcast, name);
  return strided(t, a.lead_dims, 2);
}

// Contiguous, for the kernels to write whole or to read in order.
void* dense(const TensorView& t, const AttentionArgs& a, std::initializer_list<int64_t> tail,
            Type type, const char* name) {
  expect(type.of(t) && t.contiguous(), "attention: expected dense floats");
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
  expect_same_device(query, {&key, &value, &out});
  for (const Optional* t : {&mask, &attn_mask, &bias, &seed}) {
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

std::pair<NewTensor, NewTensor> new_results(const TensorView& query, const TensorView& value,
                                            bool want_lse) {
  expect(query.ndim >= 2 && value.ndim == query.ndim, "tensors of different rank");
  TensorView made = query;
  made.shape[query.ndim - 1] = value.shape[query.ndim - 1];
  NewTensor out = new_tensor(made), lse{py::none(), {}};
  if (want_lse) {
    const Type type = type_of(query).arithmetic();
    made.code = type.code, made.bits = type.bits;
    --made.ndim;
    lse = new_tensor(made);
  }
  return {std::move(out), std::move(lse)};
}

// O [..., Lq, Dv] and, where a backward wants it, the log-sum-exp [..., Lq].
std::pair<py::object, py::object> forward(TensorView query, TensorView key, TensorView value,
                                          Optional mask, Optional attn_mask, Optional bias,
                                          Optional seed, double dropout_p, double scale,
                                          bool want_lse, int threads) {
  AttentionArgs a;
  expect(query.device == kCPU, "attention_forward takes tensors on the CPU");
  const auto [out, lse] = new_results(query, value, want_lse);
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out.view, threads);
  a.lse = lse.view.data;
  {
    const WithoutGil released;
    run(CLMER_KERNELS(attention), query, a);
  }
  return {out.tensor, lse.tensor};
}

struct Gradients {
  NewTensor query, key, value;

  std::tuple<py::object, py::object, py::object> tensors() const {
    return {query.tensor, key.tensor, value.tensor};
  }
};

Gradients fill_gradients(AttentionGradArgs& a, const TensorView& grad_out, const TensorView& query,
                         const TensorView& key, const TensorView& value, const TensorView& lse) {
  expect_same_device(query, {&grad_out, &lse});
  const Type type = type_of(query);
  a.lse = dense(lse, a, {a.rows}, type.arithmetic(), "lse");
  a.grad_out = operand(grad_out, a, a.rows, a.value_dim, type, "grad_out");
  Gradients made = {new_tensor(query), new_tensor(key), new_tensor(value)};
  a.grad_query = made.query.view.data;
  a.grad_key = made.key.view.data;
  a.grad_value = made.value.view.data;
  return made;
}

// The gradients of query, key and value; grad_bias, [parts, bias's shape] of zeros, is added to.
std::tuple<py::object, py::object, py::object> backward(
    TensorView grad_out, TensorView query, TensorView key, TensorView value, TensorView out,
    TensorView lse, Optional mask, Optional attn_mask, Optional bias, Optional seed,
    double dropout_p, double scale, Optional grad_bias, int threads) {
  AttentionGradArgs a;
  expect(query.device == kCPU, "attention_backward takes tensors on the CPU");
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out, threads);
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

// ---- gpu_short.h: on a GPU, or on emulated threads where the tensors are on the CPU
// --------
Product product_of(const TensorView& query, bool tf32) {
  const Type type = type_of(query);
  expect(type.bits <= 32, "attention_short takes float32, bfloat16 and float16");
  if (!type.half()) return tf32 ? Product::tf32 : Product::f32;
  return type.code == kBfloat ? Product::bf16 : Product::f16;
}

// `stream` is of the GPU, `order` of the emulated threads.
void run_short(AttentionGradArgs& a, const TensorView& query, bool backward, bool tf32,
               uintptr_t stream, int order) {
  const std::string refusal = short_refusal(a.rows, a.dim, a.keys, a.value_dim);
  if (!refusal.empty()) throw std::invalid_argument("impl='cuda': " + refusal);
  for (const Strided* s : {&a.query, &a.key, &a.value, &a.grad_out}) {
    expect(s->data == nullptr || s->col <= 1, "attention_short takes adjacent features");
  }
  expect(a.heads < int64_t(1) << 31, "attention_short takes fewer than 2^31 heads");
  const Product product = product_of(query, tf32);
  join_leading(a);
  const ShortPlan plan = plan_short(a, product, backward);
  const WithoutGil released;
  if (query.device == kCPU) return attention_emulated(a, plan, product, backward, order);
#ifdef CLMER_CUDA_BUILT
  attention_cuda(a, plan, product, backward, query.device_index, reinterpret_cast<void*>(stream));
#else
  (void)stream;
  expect(false, "built without CUDA");
#endif
}

std::pair<py::object, py::object> short_forward(TensorView query, TensorView key, TensorView value,
                                                Optional mask, Optional attn_mask, Optional bias,
                                                Optional seed, double dropout_p, double scale,
                                                bool tf32, uintptr_t stream, int order) {
  AttentionGradArgs a;
  const auto [out, lse] = new_results(query, value, true);
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out.view, 1);
  a.lse = lse.view.data;
  run_short(a, query, false, tf32, stream, order);
  return {out.tensor, lse.tensor};
}

// The gradients of query, key and value; grad_scores [..., Lq, Lk], if given, is written whole.
std::tuple<py::object, py::object, py::object> short_backward(
    TensorView grad_out, TensorView query, TensorView key, TensorView value, TensorView out,
    TensorView lse, Optional mask, Optional attn_mask, Optional bias, Optional seed,
    double dropout_p, double scale, Optional grad_scores, bool tf32, uintptr_t stream, int order) {
  AttentionGradArgs a;
  fill(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, out, 1);
  const Gradients made = fill_gradients(a, grad_out, query, key, value, lse);
  if (grad_scores) {
    expect_same_device(query, {&*grad_scores});
    a.grad_bias = operand(*grad_scores, a, a.rows, a.keys, {kFloat, 32}, "grad_scores");
  }
  run_short(a, query, true, tf32, stream, order);
  return made.tensors();
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_forward", &forward);
  m.def("attention_backward", &backward);
  m.def("attention_short_forward", &short_forward);
  m.def("attention_short_backward", &short_backward);
  m.def("attention_short_refusal", &short_refusal);
}

}  // namespace clmer
