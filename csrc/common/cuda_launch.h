// What launches share: CUDA's errors as exceptions, the device that a stream belongs to, grids.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace clmer {

inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error("clmer: " + what + ": " + cudaGetErrorString(status));
}

inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

// Makes a device the current one: a stream takes launches from no other.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    check(cudaSetDevice(device), "cudaSetDevice");
  }
  ~DeviceGuard() { cudaSetDevice(before_); }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

inline unsigned grid(int64_t blocks, const char* op) {
  if (blocks >= int64_t(1) << 31) {
    throw std::invalid_argument("clmer: " + std::string(op) + ": too many rows or heads");
  }
  return static_cast<unsigned>(blocks);
}

}  // namespace clmer
