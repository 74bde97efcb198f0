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
#include <string_view>

#include "common/dlpack_abi.h"

namespace clmer {

constexpr int kMaxDims = 8;

struct TensorView {
  PyObject* object = nullptr;  // borrowed
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

inline std::string type_text(const TensorView& t) {
  const char* kind = t.code == kFloat    ? "float"
                     : t.code == kBfloat ? "bfloat"
                     : t.code == kBool   ? "bool"
                     : t.code == kUInt   ? "uint"
                                         : "int";
  return kind + std::to_string(t.bits);
}

// A tensor of another shape, to make or to expect: only its shape, dtype and device count.
inline TensorView shaped(const TensorView& like, std::initializer_list<int64_t> shape) {
  TensorView t = like;
  t.ndim = 0;
  for (const int64_t size : shape) t.shape[t.ndim++] = size;
  return t;
}

// A contiguous tensor of the shape, width and device of another.
inline void expect_like(const TensorView& t, const TensorView& like, const char* name) {
  bool fits = t.ndim == like.ndim && t.is_float(like.bits) && t.contiguous() &&
              t.device == like.device && t.device_index == like.device_index;
  for (int i = 0; fits && i < t.ndim; ++i) fits = t.shape[i] == like.shape[i];
  if (fits) return;
  throw std::invalid_argument("clmer._C: " + std::string(name) + ": found shape " +
                              shape_text(t.shape, t.ndim) + " of " + type_text(t) +
                              ", expected a contiguous float" + std::to_string(like.bits) +
                              " tensor " + shape_text(like.shape, like.ndim) + " on one device");
}

inline void expect_dense(const TensorView& t, std::initializer_list<int64_t> shape, int float_bits,
                         const char* name) {
  TensorView like = shaped(t, shape);
  like.bits = static_cast<uint8_t>(float_bits);
  expect_like(t, like, name);
}

inline void expect_same_device(const TensorView& first,
                               std::initializer_list<const TensorView*> others) {
  for (const TensorView* t : others) {
    expect(t->device == first.device && t->device_index == first.device_index, "devices differ");
  }
}

// Set from Python; null where torch has no exchange API. Each module has its own.
inline const DLPackExchangeAPI* exchange_api = nullptr;

// None: tensors cross by their attributes from here on.
inline void set_exchange_api(pybind11::object capsule) {
  if (capsule.is_none()) {
    exchange_api = nullptr;
    return;
  }
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

// An attribute's name, made once.
class Name {
 public:
  explicit Name(const char* text) : text_(PyUnicode_InternFromString(text)) {}
  pybind11::object of(pybind11::handle object) const {
    return checked(PyObject_GetAttr(object.ptr(), text_));
  }
  bool in(pybind11::handle object) const { return PyObject_HasAttr(object.ptr(), text_) == 1; }
  pybind11::object call(pybind11::handle object) const {
    return checked(PyObject_CallMethodNoArgs(object.ptr(), text_));
  }

 private:
  static pybind11::object checked(PyObject* result) {
    if (result == nullptr) throw pybind11::error_already_set();
    return pybind11::reinterpret_steal<pybind11::object>(result);
  }
  PyObject* text_;
};

inline void* address_of(pybind11::handle tensor) {
  static const Name data_ptr("data_ptr");
  return PyLong_AsVoidPtr(data_ptr.call(tensor).ptr());
}

inline TensorView view_by_attributes(pybind11::handle tensor) {
  static const Name is_cuda("is_cuda"), get_device("get_device"), dtype("dtype"),
      element_size("element_size"), shape("shape"), stride("stride");
  TensorView view;
  view.data = address_of(tensor);
  if (is_cuda.of(tensor).ptr() == Py_True) {
    view.device = kCUDA;
    view.device_index = get_device.call(tensor).cast<int32_t>();
  }
  const pybind11::str name(dtype.of(tensor));
  const std::string_view type = PyUnicode_AsUTF8(name.ptr());  // "torch.float32"
  view.bits = static_cast<uint8_t>(8 * PyLong_AsLong(element_size.call(tensor).ptr()));
  view.code = type == "torch.bfloat16"            ? kBfloat
              : type.rfind("torch.float", 0) == 0 ? kFloat
              : type == "torch.bool"              ? kBool
              : type.rfind("torch.uint", 0) == 0  ? kUInt
                                                  : kInt;
  const pybind11::object sizes = shape.of(tensor), steps = stride.call(tensor);  // tuples
  const Py_ssize_t ndim = PyTuple_Size(sizes.ptr());
  expect(ndim <= kMaxDims, "too many dimensions");
  view.ndim = static_cast<int32_t>(ndim);
  for (int i = 0; i < view.ndim; ++i) {
    view.shape[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(sizes.ptr(), i));
    view.strides[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(steps.ptr(), i));
  }
  if (PyErr_Occurred()) throw pybind11::error_already_set();
  return view;
}

inline TensorView view_of(pybind11::handle tensor) {
  TensorView view = exchange_api ? view_by_exchange(tensor.ptr()) : view_by_attributes(tensor);
  view.object = tensor.ptr();
  return view;
}

// A fresh contiguous tensor, and the view of it.
struct NewTensor {
  pybind11::object tensor;
  TensorView view;
};

// Of like's shape, type and device. `like` may be a view that was reshaped or given another float
// width, as long as its object is a tensor of the device.
inline NewTensor new_tensor(const TensorView& like) {
  static const Name new_empty("new_empty");
  NewTensor made;
  TensorView& view = made.view = like;
  for (int64_t i = like.ndim - 1, step = 1; i >= 0; step *= like.shape[i--]) view.strides[i] = step;
  if (!exchange_api || !exchange_api->managed_tensor_allocator) {
    pybind11::tuple sizes(like.ndim);
    for (int i = 0; i < like.ndim; ++i) sizes[i] = like.shape[i];
    const std::string name =
        (like.code == kBfloat ? "bfloat" : "float") + std::to_string(like.bits);
    // An object: `auto` would be an accessor, which keeps no more than a pointer to the name.
    const pybind11::object type = pybind11::module_::import("torch").attr(name.c_str());
    made.tensor = new_empty.of(like.object)(sizes, pybind11::arg("dtype") = type);
    view.data = address_of(made.tensor);
    return made;
  }
  DLTensor prototype{};
  prototype.device = {like.device, like.device_index};
  prototype.ndim = view.ndim;
  prototype.dtype = {view.code, view.bits, 1};
  prototype.shape = view.shape;
  DLManagedTensorVersioned* managed = nullptr;
  std::string message;
  const auto set_error = [](void* to, const char*, const char* text) {
    *static_cast<std::string*>(to) = text;
  };
  if (exchange_api->managed_tensor_allocator(&prototype, &managed, &message, set_error) != 0) {
    throw std::runtime_error("clmer._C: no memory for a result: " + message);
  }
  view.data = static_cast<char*>(managed->dl_tensor.data) + managed->dl_tensor.byte_offset;
  void* object = nullptr;
  if (exchange_api->managed_tensor_to_py_object_no_sync(managed, &object) != 0) {
    throw pybind11::error_already_set();
  }
  made.tensor = pybind11::reinterpret_steal<pybind11::object>(static_cast<PyObject*>(object));
  return made;
}

}  // namespace clmer

namespace pybind11::detail {

template <>
struct type_caster<clmer::TensorView> {
  PYBIND11_TYPE_CASTER(clmer::TensorView, const_name("torch.Tensor"));
  bool load(handle source, bool) {
    static const clmer::Name data_ptr("data_ptr");
    if (!data_ptr.in(source)) return false;
    value = clmer::view_of(source);
    return true;
  }
};

}  // namespace pybind11::detail
