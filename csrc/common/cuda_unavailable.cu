#include "common/cuda_unavailable.h"

#include <cuda_runtime.h>

namespace clmer {

std::string cuda_unavailable() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return "";
  return status == cudaSuccess ? "no CUDA device" : cudaGetErrorString(status);
}

}  // namespace clmer
