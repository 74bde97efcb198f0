#include "common/threads.h"

#include <pthread.h>

namespace clmer {

namespace {
bool forked = false;
const int registered = pthread_atfork(nullptr, nullptr, [] { forked = true; });
}  // namespace

void parallel_for(int64_t count, int threads, void (*body)(int64_t, void*), void* context) {
  if (threads <= 1 || count <= 1 || forked || registered != 0) {
    for (int64_t i = 0; i < count; ++i) body(i, context);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < count; ++i) body(i, context);
}

}  // namespace clmer
