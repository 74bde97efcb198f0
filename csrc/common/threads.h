// One loop over OpenMP's pool, which torch shares (both load libgomp.so.1).
#pragma once

#include <cstdint>

namespace clmer {

// Calls body(i, context) for i in [0, count), each once. One thread never enters OpenMP; a forked
// child always runs on one, since the parent's pool does not survive a fork.
void parallel_for(int64_t count, int threads, void (*body)(int64_t i, void* context),
                  void* context);

}  // namespace clmer
