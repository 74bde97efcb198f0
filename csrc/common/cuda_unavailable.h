// Why no CUDA device can be used, in CUDA's words; empty where one can. Of builds with CUDA.
#pragma once

#include <string>

namespace clmer {

std::string cuda_unavailable();

}  // namespace clmer
