// What the bindings of whole arrays and of streams share.
#pragma once

#include <pybind11/numpy.h>

#include <new>

#include "bandpass/args.h"

namespace clmer {

using Kernel = bool (*)(const SosfiltArgs&);

inline void run(Kernel kernel, const SosfiltArgs& args) {
  if (!kernel(args)) throw std::bad_alloc();
}

// The sample type of an array in this machine's byte order; false for one that no kernel reads.
inline bool sample_type(const pybind11::array& a, Sample* type) {
  constexpr int kAligned = pybind11::detail::npy_api::NPY_ARRAY_ALIGNED_;
  const pybind11::dtype dtype = a.dtype();
  // Native order has two names: "=", and the one that says which.
  const char own = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? '<' : '>', order = dtype.byteorder();
  const bool native = order == '=' || order == '|' || order == own;
  if (!native || !(a.flags() & kAligned)) return false;
  const auto kind = dtype.kind();
  const auto size = dtype.itemsize();
  if (kind == 'f' && size == 4) return *type = Sample::f32, true;
  if (kind == 'f' && size == 8) return *type = Sample::f64, true;
  if (kind == 'i' && size == 2) return *type = Sample::i16, true;
  if (kind == 'i' && size == 4) return *type = Sample::i32, true;
  return false;
}

}  // namespace clmer
