// A block of GPU threads on the CPU, for tests: the names of common/cuda_device.h over fibers.
//
// A thread runs until it meets a barrier. Those of a warp go one after the other in an order that
// the caller picks, and a warp goes on alone to the block's barrier before the next one starts:
// what is read before it is written, or written twice, gives other bits in another order. Shared
// memory begins as NaN, and copies arrive no earlier than they are waited for. What cannot be seen
// here: a GPU's own rounding inside a product and of exp2, its timing, and accesses that run in
// step. Matrix products follow the PTX ISA's fragments: exact products, summed once and cut towards
// zero, which is what such units were found to do (Fasi et al., PeerJ Computer Science 2021).
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "common/simd_half.h"

#define CLMER_DEVICE inline

namespace clmer::CLMER_LEVEL {

constexpr int kWarp = 32;

class EmulatedBlock {
 public:
  using Kernel = std::function<void()>;

  // Order 0 is ascending, 1 descending, others are seeds of shuffles.
  EmulatedBlock(int threads, size_t shared_bytes, int order)
      : fibers_(static_cast<size_t>(threads)),
        shared_(shared_bytes / kUnit + 2),
        warps_(sequence(threads / kWarp, order)),
        lanes_(sequence(kWarp, order)) {
    for (Fiber& fiber : fibers_) fiber.stack.resize(kStack);
  }

  void run(int64_t block, const Kernel& kernel) {
    block_ = block;
    kernel_ = &kernel;
    std::memset(shared_.data(), 0xFF, shared_.size() * kUnit);  // NaN in every type
    running_ = this;
    for (Fiber& fiber : fibers_) start(fiber);
    while (to_block_barrier() != Stop::done) continue;
    const auto* guard = reinterpret_cast<const unsigned char*>(&shared_.back());
    if (std::any_of(guard, guard + kUnit, [](unsigned char c) { return c != 0xFF; })) {
      throw std::logic_error("written past the end of shared memory");
    }
  }

  // ---- for the running thread
  static int thread() { return running_->now_; }
  static int64_t block() { return running_->block_; }
  static char* shared() { return reinterpret_cast<char*>(running_->shared_.data()); }
  static void wait_warp() { running_->stop(Stop::warp); }
  static void wait_block() { running_->stop(Stop::block); }

  // What every lane of the warp brings, by lane.
  template <class T>
  static std::array<T, kWarp> exchange(const T& mine) {
    static_assert(sizeof(T) <= kSlot);
    EmulatedBlock& b = *running_;
    Fiber& fiber = b.fibers_[b.now_];
    const int side = fiber.exchanges++ % 2;  // a lane may be one exchange ahead, no more
    std::memcpy(fiber.slot[side], &mine, sizeof(T));
    const int first = b.now_ / kWarp * kWarp;
    wait_warp();
    std::array<T, kWarp> all;
    for (int lane = 0; lane < kWarp; ++lane) {
      std::memcpy(&all[lane], b.fibers_[first + lane].slot[side], sizeof(T));
    }
    return all;
  }

  static void copy_later(void* to, const void* from, bool wanted) {
    running_->fibers_[running_->now_].copies.push_back({to, wanted ? from : nullptr});
  }

  static void wait_for_copies() {
    auto& copies = running_->fibers_[running_->now_].copies;
    for (const Copy& copy : copies) {
      copy.from ? std::memcpy(copy.to, copy.from, kUnit) : std::memset(copy.to, 0, kUnit);
    }
    copies.clear();
  }

 private:
  enum class Stop { warp, block, done };
  static constexpr size_t kStack = 64 << 10, kUnit = 16, kSlot = 32;

  struct alignas(kUnit) Unit {
    unsigned char bytes[kUnit];
  };
  struct Copy {
    void* to;
    const void* from;
  };
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    Stop stopped;
    int exchanges;
    char slot[2][kSlot];
    std::vector<Copy> copies;
  };

  static std::vector<int> sequence(int count, int order) {
    std::vector<int> at(static_cast<size_t>(count));
    std::iota(at.begin(), at.end(), 0);
    if (order == 1) std::reverse(at.begin(), at.end());
    if (order > 1) std::shuffle(at.begin(), at.end(), std::mt19937(static_cast<unsigned>(order)));
    return at;
  }

  static void enter() {
    (*running_->kernel_)();
    running_->stop(Stop::done);
  }

  void start(Fiber& fiber) {
    fiber.exchanges = 0;
    fiber.copies.clear();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &EmulatedBlock::enter, 0);
  }

  void stop(Stop reason) {
    Fiber& fiber = fibers_[now_];
    fiber.stopped = reason;
    swapcontext(&fiber.context, &scheduler_);
  }

  // All lanes of a warp to their next barrier.
  Stop to_barrier(int warp) {
    for (const int lane : lanes_) {
      now_ = warp * kWarp + lane;
      swapcontext(&scheduler_, &fibers_[now_].context);
    }
    const Stop reason = fibers_[warp * kWarp].stopped;
    for (int lane = 0; lane < kWarp; ++lane) {
      if (fibers_[warp * kWarp + lane].stopped != reason) {
        throw std::logic_error("lanes of a warp wait at different barriers");
      }
    }
    return reason;
  }

  Stop to_block_barrier() {
    Stop reason = Stop::done;
    for (size_t i = 0; i < warps_.size(); ++i) {
      Stop mine = to_barrier(warps_[i]);
      while (mine == Stop::warp) mine = to_barrier(warps_[i]);
      if (i > 0 && mine != reason) throw std::logic_error("warps wait at different barriers");
      reason = mine;
    }
    return reason;
  }

  static inline thread_local EmulatedBlock* running_ = nullptr;
  ucontext_t scheduler_;
  std::vector<Fiber> fibers_;
  std::vector<Unit> shared_;  // the last one is a guard
  std::vector<int> warps_, lanes_;
  int now_ = 0;
  int64_t block_ = 0;
  const Kernel* kernel_ = nullptr;
};

// ---- threads ----------------------------------------------------------------------------------
inline int thread_number() { return EmulatedBlock::thread(); }
inline int64_t block_number() { return EmulatedBlock::block(); }
inline void sync_block() { EmulatedBlock::wait_block(); }
inline void sync_warp() { EmulatedBlock::wait_warp(); }
inline float shuffle_xor(float x, int lanes) {
  return EmulatedBlock::exchange(x)[thread_number() % kWarp ^ lanes];
}
inline uint32_t ballot(bool x) {
  const auto all = EmulatedBlock::exchange(x);
  uint32_t bits = 0;
  for (int lane = 0; lane < kWarp; ++lane) bits |= uint32_t(all[lane]) << lane;
  return bits;
}

// ---- memory -----------------------------------------------------------------------------------
inline char* shared_memory() { return EmulatedBlock::shared(); }
inline void copy_async(void* to, const void* from, bool wanted) {
  EmulatedBlock::copy_later(to, from, wanted);
}
inline void wait_for_copies() { EmulatedBlock::wait_for_copies(); }
template <int kBytes>
void copy_vector(void* to, const void* from) {
  std::memcpy(to, from, kBytes);
}

template <bool kTransposed>
void load_matrices(const void* row, uint32_t (&r)[4]) {
  const auto rows = EmulatedBlock::exchange(static_cast<const uint16_t*>(row));
  const int lane = thread_number() % kWarp, own = lane / 4, pair = lane % 4 * 2;
  for (int matrix = 0; matrix < 4; ++matrix) {
    const auto at = [&](int i) {
      return uint32_t(kTransposed ? rows[8 * matrix + pair + i][own]
                                  : rows[8 * matrix + own][pair + i]);
    };
    r[matrix] = at(0) | at(1) << 16;
  }
}

// ---- numbers ----------------------------------------------------------------------------------
template <class T>
uint32_t pack(T, float first, float second) {
  T low, high;
  narrow(first, &low);
  narrow(second, &high);
  return low.bits | uint32_t(high.bits) << 16;
}

inline float to_tf32(float x) {  // ties away from zero
  return std::isfinite(x) ? from_bits((to_bits(x) + 0x1000) & ~0x1FFFu) : x;
}

inline float exp2_of(float x) { return std::exp2(x); }
inline float log2_of(float x) { return std::log2(x); }

// ---- products: c [16, 8] += a [16, k] b [k, 8] ------------------------------------------------
// The sum of the exact products and c, cut towards zero.
inline float cut(double sum) {
  const float near = static_cast<float>(sum);
  return std::abs(static_cast<double>(near)) > std::abs(sum) ? std::nextafter(near, 0.0f) : near;
}

template <class T>
void multiply_add(T, float* c, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {  // k = 16
  struct Part {
    uint32_t a[4], b[2];
  };
  const auto parts = EmulatedBlock::exchange(Part{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const auto half = [](uint32_t word, int i) { return widen(T{uint16_t(word >> 16 * i)}); };
  const int lane = thread_number() % kWarp;
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4, column = lane % 4 * 2 + e % 2;
    double sum = c[e];
    for (int k = 0; k < 16; ++k) {
      const int owner = k % 8 / 2, far = k / 8;
      sum += double(half(parts[4 * row + owner].a[e / 2 + 2 * far], k % 2)) *
             half(parts[4 * column + owner].b[far], k % 2);
    }
    c[e] = cut(sum);
  }
}

inline void multiply_add(float* c, const float (&a)[4], float b0, float b1) {  // tf32, k = 8
  struct Part {
    float a[4], b[2];
  };
  const auto parts = EmulatedBlock::exchange(Part{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const int lane = thread_number() % kWarp;
  for (int e = 0; e < 4; ++e) {
    const int row = lane / 4, column = lane % 4 * 2 + e % 2;
    double sum = c[e];
    for (int k = 0; k < 8; ++k) {
      sum += double(parts[4 * row + k % 4].a[e / 2 + 2 * (k / 4)]) *
             parts[4 * column + k % 4].b[k / 4];
    }
    c[e] = cut(sum);
  }
}

}  // namespace clmer::CLMER_LEVEL
