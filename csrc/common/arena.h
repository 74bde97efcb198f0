// One task's working memory, handed out piece by piece. Compiled once per SIMD level.
#pragma once

#include <cstdint>

#include "common/scratch.h"

namespace clmer::CLMER_LEVEL {

// Two passes: take() everything to measure, allocate(), take() the same again.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { give_scratch(memory_); }

  template <class T>
  T* take(int64_t count) {
    const size_t start = used_;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return memory_.data ? reinterpret_cast<T*>(static_cast<char*>(memory_.data) + start) : nullptr;
  }
  bool allocate() {
    memory_ = take_scratch(used_ + 64);
    used_ = 0;
    return memory_.data != nullptr;
  }

 private:
  Scratch memory_;
  size_t used_ = 0;
};

}  // namespace clmer::CLMER_LEVEL
