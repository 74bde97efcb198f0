// Samples between a GPU's memory and registers: 32 runs of 32 samples, a run per lane, through a
// warp's own shared memory in strips of 128 bytes per run. x and y are at the first sample of run 0
// as it lies in memory, which the adjoint takes last; the next run is `stride` away. length(run)
// samples exist, the first ones taken; others are read as 0. Accesses are of W samples: 16 bytes
// where rows begin at multiples of these, one sample elsewhere. The pitch keeps lanes on banks of
// their own both ways.
#pragma once

#include "bandpass/gpu_blocks.h"

namespace clmer {
namespace CLMER_LEVEL {

template <class T, int W>
struct alignas(sizeof(T) * W) Piece {
  T sample[W];
};

template <class T>
struct Strip {
  static constexpr int kWidth = 128 / sizeof(T);  // samples of a run
  static constexpr int kWide = 16 / sizeof(T);
  static constexpr int kPitch = kWidth + kWide;
  alignas(16) T sample[kLanes * kPitch];

  template <int W>
  __device__ Piece<T, W>& piece(int run, int m) {
    return *reinterpret_cast<Piece<T, W>*>(sample + run * kPitch + m);
  }
};

// Calls visit(i, run, m, exists) for the pieces of a strip that a lane moves: m is the first sample
// in memory.
template <class T, int W, bool kAdjoint, class Length, class Visit>
__device__ __forceinline__ void each_piece(int first, int lane, Length length, Visit visit) {
  constexpr int kPieces = Strip<T>::kWidth / W;  // of a run
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int run = i * (kLanes / kPieces) + lane / kPieces, m = first + lane % kPieces * W;
    visit(i, run, m, (kAdjoint ? kSegment - 1 - m : m) < length(run));
  }
}

template <int W, bool kAdjoint, class T, class Length>
__device__ __forceinline__ void load_pieces(const T* x, int64_t stride, Strip<T>& strip, int lane,
                                            Length length, double (&v)[kSegment]) {
  using S = Strip<T>;
#pragma unroll
  for (int first = 0; first < kSegment; first += S::kWidth) {
    Piece<T, W> held[S::kWidth / W];
    each_piece<T, W, kAdjoint>(first, lane, length, [&](int i, int run, int m, bool exists) {
      held[i] =
          exists ? *reinterpret_cast<const Piece<T, W>*>(x + run * stride + m) : Piece<T, W>{};
    });
    __syncwarp();
    each_piece<T, W, kAdjoint>(first, lane, length, [&](int i, int run, int m, bool) {
      strip.template piece<W>(run, m - first) = held[i];
    });
    __syncwarp();
#pragma unroll
    for (int m = 0; m < S::kWidth; m += S::kWide) {
      const auto own = strip.template piece<S::kWide>(lane, m);
#pragma unroll
      for (int j = 0; j < S::kWide; ++j) {
        const int at = first + m + j;
        v[kAdjoint ? kSegment - 1 - at : at] = static_cast<double>(own.sample[j]);
      }
    }
  }
}

template <int W, bool kAdjoint, class T, class Length>
__device__ __forceinline__ void store_pieces(T* y, int64_t stride, Strip<T>& strip, int lane,
                                             Length length, const double (&v)[kSegment]) {
  using S = Strip<T>;
#pragma unroll
  for (int first = 0; first < kSegment; first += S::kWidth) {
    __syncwarp();
#pragma unroll
    for (int m = 0; m < S::kWidth; m += S::kWide) {
      Piece<T, S::kWide> own;
#pragma unroll
      for (int j = 0; j < S::kWide; ++j) {
        const int at = first + m + j;
        own.sample[j] = static_cast<T>(v[kAdjoint ? kSegment - 1 - at : at]);
      }
      strip.template piece<S::kWide>(lane, m) = own;
    }
    __syncwarp();
    each_piece<T, W, kAdjoint>(first, lane, length, [&](int, int run, int m, bool exists) {
      if (exists) {
        *reinterpret_cast<Piece<T, W>*>(y + run * stride + m) =
            strip.template piece<W>(run, m - first);
      }
    });
  }
}

template <bool kAdjoint, class T, class Length>
__device__ __forceinline__ void load_runs(bool wide, const T* x, int64_t stride, Strip<T>& strip,
                                          int lane, Length length, double (&v)[kSegment]) {
  wide ? load_pieces<Strip<T>::kWide, kAdjoint>(x, stride, strip, lane, length, v)
       : load_pieces<1, kAdjoint>(x, stride, strip, lane, length, v);
}

template <bool kAdjoint, class T, class Length>
__device__ __forceinline__ void store_runs(bool wide, T* y, int64_t stride, Strip<T>& strip,
                                           int lane, Length length, const double (&v)[kSegment]) {
  wide ? store_pieces<Strip<T>::kWide, kAdjoint>(y, stride, strip, lane, length, v)
       : store_pieces<1, kAdjoint>(y, stride, strip, lane, length, v);
}

// Where a run begins in memory whose first sample taken is at t of a row.
template <bool kAdjoint>
__device__ __forceinline__ int64_t run_begin(int64_t row, int64_t time, int64_t t) {
  return row * time + (kAdjoint ? time - t - kSegment : t);
}

// Has L2 fetch a segment, where a whole one follows.
template <class T>
__device__ __forceinline__ void prefetch(const T* x) {
#pragma unroll
  for (int m = 0; m < kSegment; m += 128 / sizeof(T)) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(x + m));
  }
}

}  // namespace CLMER_LEVEL
}  // namespace clmer
