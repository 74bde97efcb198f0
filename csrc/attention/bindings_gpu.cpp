#include "attention/bindings_gpu.h"

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

#include "attention/operands.h"
#include "common/gil.h"

namespace py = pybind11;

namespace clmer {

namespace {

Product product_of(const TensorView& query, bool tf32) {
  const StorageType type = type_of(query);
  expect(type.bits <= 32, "attention_short takes float32, bfloat16 and float16");
  if (!type.half()) return tf32 ? Product::tf32 : Product::f32;
  return type.code == kBfloat ? Product::bf16 : Product::f16;
}

struct Runner {
  int32_t device_type;
  RunShort run;

  void operator()(AttentionGradArgs& a, const TensorView& query, bool backward, bool tf32,
                  uintptr_t where) const {
    expect(query.device == device_type, device_type == kCUDA
                                            ? "attention_short takes tensors on a GPU"
                                            : "attention_short takes tensors on the CPU here");
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
    run(a, plan, product, backward, query.device_index, where);
  }
};

std::pair<py::object, py::object> forward(const Runner& run, const TensorView& query,
                                          const TensorView& key, const TensorView& value,
                                          const OptionalTensor& mask,
                                          const OptionalTensor& attn_mask,
                                          const OptionalTensor& bias, const OptionalTensor& seed,
                                          double dropout_p, double scale, bool causal, bool tf32,
                                          uintptr_t where) {
  AttentionGradArgs a;
  const auto [out, lse] = new_results(query, value, std::nullopt, true);
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, causal,
                out.view, 1);
  a.lse = lse.view.data;
  run(a, query, false, tf32, where);
  return {out.tensor, lse.tensor};
}

// The gradients of query, key and value; grad_scores [..., Lq, Lk], if given, is written whole.
std::tuple<py::object, py::object, py::object> backward(
    const Runner& run, const TensorView& grad_out, const TensorView& query, const TensorView& key,
    const TensorView& value, const TensorView& out, const TensorView& lse,
    const OptionalTensor& mask, const OptionalTensor& attn_mask, const OptionalTensor& bias,
    const OptionalTensor& seed, double dropout_p, double scale, bool causal,
    const OptionalTensor& grad_scores, bool tf32, uintptr_t where) {
  AttentionGradArgs a;
  expect(out.contiguous(), "attention_short_backward takes a dense out");
  fill_operands(a, query, key, value, mask, attn_mask, bias, seed, dropout_p, scale, causal, out,
                1);
  const Gradients made = fill_gradients(a, grad_out, query, key, value, lse);
  if (grad_scores) {
    expect_same_device(query, {&*grad_scores});
    a.grad_bias = operand(*grad_scores, a, a.rows, a.keys, {kFloat, 32}, "grad_scores");
  }
  run(a, query, true, tf32, where);
  return made.tensors();
}

// A function of Python whose first argument is bound.
template <class Result, class... Rest>
auto with_runner(Result (*function)(const Runner&, Rest...), const Runner& run) {
  return [=](Rest... rest) { return function(run, rest...); };
}

}  // namespace

void bind_attention_short(py::module_& m, int32_t device_type, RunShort run) {
  const Runner runner = {device_type, run};
  m.def("attention_short_forward", with_runner(&forward, runner));
  m.def("attention_short_backward", with_runner(&backward, runner));
  m.def("attention_short_refusal", &short_refusal);
}

}  // namespace clmer
