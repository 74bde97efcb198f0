// A torch tensor as the bindings receive it, without linking torch.
//
// Two ways in, one view out: torch's DLPack C exchange API where torch has it (a C call, no
// Python), else the tensor's own data_ptr(), shape and strides. The view borrows: it lives as long
// as the call.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "dlpack_abi.h"

namespace clmer {

constexpr int kMaxDims = 8;

struct TensorView {
  void* data = nullptr;
  int32_t device = kCPU;
  int32_t device_index = 0;
  uint8_t code = kFloat;
  uint8_t bits = 32;
  int32_t ndim = 0;
  int64_t shape[kMaxDims] = {};
  int64_t strides[kMaxDims] = {};

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  bool is_float(int width) const { return code == kFloat && bits == width; }
  bool contiguous() const {
    for (int i = 0; i < ndim; ++i) {
      if (shape[i] == 0) return true;
    }
    int64_t expected = 1;
    for (int i = ndim - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
};

// Cheap guards. The public functions have validated; torch.ops.clmer.* come here unchecked, and
// must not reach memory that is not theirs.
inline void expect(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("clmer._C: ") + what);
}

inline std::string shape_text(const int64_t* shape, int ndim) {
  std::string text = "[";
  for (int i = 0; i < ndim; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

inline void expect_dense(const TensorView& t, std::initializer_list<int64_t> shape, int float_bits,
                         const char* name) {
  const int ndim = static_cast<int>(shape.size());
  bool fits = t.ndim == ndim && t.is_float(float_bits) && t.contiguous();
  for (int i = 0; fits && i < ndim; ++i) fits = t.shape[i] == shape.begin()[i];
  if (fits) return;
  throw std::invalid_argument("clmer._C: " + std::string(name) + ": found shape " +
                              shape_text(t.shape, t.ndim) + ", expected a contiguous float" +
                              std::to_string(float_bits) + " tensor " +
                              shape_text(shape.begin(), ndim));
}

inline void expect_same_device(const TensorView& first,
                               std::initializer_list<const TensorView*> others) {
  for (const TensorView* t : others) {
    expect(t->device == first.device && t->device_index == first.device_index, "devices differ");
  }
}

// Set once from Python; null where torch has no exchange API.
inline const DLPackExchangeAPI* exchange_api = nullptr;

inline void set_exchange_api(pybind11::object capsule) {
  auto* api = static_cast<const DLPackExchangeAPI*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (api == nullptr) throw pybind11::error_already_set();
  auto* header = &api->header;
  while (header != nullptr && header->version.major != 1) header = header->prev_api;
  api = reinterpret_cast<const DLPackExchangeAPI*>(header);
  exchange_api = api != nullptr && api->dltensor_from_py_object_no_sync ? api : nullptr;
}

inline TensorView view_by_exchange(PyObject* object) {
  DLTensor dl;
  if (exchange_api->dltensor_from_py_object_no_sync(object, &dl) != 0) {
    throw pybind11::error_already_set();
  }
  expect(dl.ndim <= kMaxDims, "too many dimensions");
  TensorView view;
  view.data = static_cast<char*>(dl.data) + dl.byte_offset;
  view.device = dl.device.type;
  view.device_index = dl.device.id;
  view.code = dl.dtype.code;
  view.bits = dl.dtype.bits;
  view.ndim = dl.ndim;
  for (int i = 0; i < dl.ndim; ++i) {
    view.shape[i] = dl.shape[i];
    view.strides[i] = dl.strides[i];
  }
  return view;
}

inline TensorView view_by_attributes(pybind11::handle tensor) {
  TensorView view;
  view.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
  if (tensor.attr("is_cuda").cast<bool>()) {
    view.device = kCUDA;
    view.device_index = tensor.attr("get_device")().cast<int32_t>();
  }
  auto dtype = pybind11::str(tensor.attr("dtype")).cast<std::string>();  // "torch.float32"
  view.bits = static_cast<uint8_t>(8 * tensor.attr("element_size")().cast<int>());
  view.code = dtype == "torch.bfloat16"            ? kBfloat
              : dtype.rfind("torch.float", 0) == 0 ? kFloat
              : dtype == "torch.bool"              ? kBool
              : dtype.rfind("torch.uint", 0) == 0  ? kUInt
                                                   : kInt;
  auto shape = pybind11::tuple(tensor.attr("shape"));
  auto strides = pybind11::tuple(tensor.attr("stride")());
  view.ndim = static_cast<int32_t>(shape.size());
  expect(view.ndim <= kMaxDims, "too many dimensions");
  for (int i = 0; i < view.ndim; ++i) {
    view.shape[i] = shape[i].cast<int64_t>();
    view.strides[i] = strides[i].cast<int64_t>();
  }
  return view;
}

}  // namespace clmer

namespace pybind11::detail {

template <>
struct type_caster<clmer::TensorView> {
  PYBIND11_TYPE_CASTER(clmer::TensorView, const_name("torch.Tensor"));
  bool load(handle source, bool) {
    if (!hasattr(source, "data_ptr")) return false;
    value = clmer::exchange_api ? clmer::view_by_exchange(source.ptr())
                                : clmer::view_by_attributes(source);
    return true;
  }
};

}  // namespace pybind11::detail
