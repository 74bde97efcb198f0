// Working memory that a thread keeps from call to call.
//
// The allocator hands large blocks back to the system, and a fresh page costs about a microsecond
// where it is first touched: on problems of a few hundred rows a third of the time.
#pragma once

#include <cstddef>

namespace clmer {

struct Scratch {
  void* data = nullptr;  // aligned to a cache line; null where memory is out
  size_t size = 0;
};

// At least `bytes`, uninitialised; give it back on the same thread.
Scratch take_scratch(size_t bytes);
void give_scratch(Scratch scratch);

}  // namespace clmer
