// What the bindings make of tensors: a kernel's arguments, with cheap guards, and its results.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "attention/args.h"
#include "common/tensor.h"

namespace clmer {

using OptionalTensor = std::optional<TensorView>;

// A storage type: float32, float64, bfloat16 or float16.
struct StorageType {
  uint8_t code, bits;

  bool of(const TensorView& t) const { return t.code == code && t.bits == bits; }
  bool half() const { return bits == 16; }
  // lse, the bias and its gradient
  StorageType arithmetic() const { return {kFloat, uint8_t(half() ? 32 : bits)}; }
};

StorageType type_of(const TensorView& t);

// A tensor [lead..., rows, cols] of any strides, whose shape is the query's or broadcasts to it.
Strided operand(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols,
                StorageType type, const char* name, bool broadcast = false);

// The same for what a kernel writes: adjacent columns, nothing broadcast.
Strided result(const TensorView& t, const AttentionArgs& a, int64_t rows, int64_t cols,
               StorageType type, const char* name);

// All that the forward reads, and `out`, which it writes.
void fill_operands(AttentionArgs& a, const TensorView& query, const TensorView& key,
                   const TensorView& value, const OptionalTensor& mask,
                   const OptionalTensor& attn_mask, const OptionalTensor& bias,
                   const OptionalTensor& seed, double dropout_p, double scale, bool causal,
                   const TensorView& out, int threads);

// O [..., Lq, Dv], new if it is not given, and, if wanted, the log-sum-exp [..., Lq].
std::pair<NewTensor, NewTensor> new_results(const TensorView& query, const TensorView& value,
                                            const OptionalTensor& out, bool want_lse);

struct Gradients {
  NewTensor query, key, value;

  std::tuple<pybind11::object, pybind11::object, pybind11::object> tensors() const {
    return {query.tensor, key.tensor, value.tensor};
  }
};

struct GivenGradients {
  OptionalTensor query, key, value;
};

// What the backward reads besides, and the gradients that it writes: new ones if not given.
Gradients fill_gradients(AttentionGradArgs& a, const TensorView& grad_out, const TensorView& query,
                         const TensorView& key, const TensorView& value, const TensorView& lse,
                         const GivenGradients& given = {});

}  // namespace clmer
