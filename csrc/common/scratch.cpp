#include "common/scratch.h"

#include <stdlib.h>

#include <utility>

namespace clmer {

namespace {

constexpr size_t kKept = size_t(16) << 20;  // larger blocks go back to the system

struct Holder {
  Scratch scratch;
  ~Holder() { free(scratch.data); }
};
thread_local Holder kept;

}  // namespace

Scratch take_scratch(size_t bytes) {
  Scratch made;
  if (bytes <= kKept) {
    const Scratch found = std::exchange(kept.scratch, {});
    if (found.size >= bytes && found.data != nullptr) return found;
    free(found.data);
  }
  if (posix_memalign(&made.data, 64, bytes > 0 ? bytes : 1) != 0) return {};
  made.size = bytes;
  return made;
}

void give_scratch(Scratch scratch) {
  if (scratch.size > kept.scratch.size && scratch.size <= kKept) std::swap(scratch, kept.scratch);
  free(scratch.data);
}

}  // namespace clmer
