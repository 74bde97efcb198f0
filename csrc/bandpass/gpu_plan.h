// Which form a GPU takes for a shape (gpu_blocks.h says what they are), and what it needs.
#pragma once

#include <cstdint>

#include "bandpass/args.h"

namespace clmer {

constexpr int kSplitSections = 8;  // the cascade's transition is at most 16 x 16

enum class Form : int { sequential, tiled, split };

struct Plan {
  static constexpr int kMaxWarps = 8;
  static constexpr int kWarpSamples = 1024;

  Form form;
  int warps;  // of a tile: a power of two
  int64_t time;
  int64_t walk = 1;  // tiles of a part in `split`: a power of two

  int64_t tile() const { return int64_t(warps) * kWarpSamples; }
  int64_t tiles() const { return (time + tile() - 1) / tile(); }
  int64_t walked() const { return form == Form::split ? walk : tiles(); }  // by a block, in order
  int64_t part() const { return walk * tile(); }
  int64_t parts() const { return form == Form::split ? (time + part() - 1) / part() : 1; }
  // In doubles: a state per part, and the transition over a part.
  int64_t scratch(int64_t rows, int64_t sections) const {
    return form == Form::split ? rows * parts() * 2 * sections + 4 * sections * sections : 0;
  }
};

// By the shape alone, so that a shape has the same bits on every GPU. The bounds are reckoned from
// multiply-adds and bytes; on an H200 1, 2, 4 and 8 warps per tile are within 5 %.
inline Plan choose_plan(int64_t rows, int64_t time, int64_t sections) {
  constexpr int64_t kStream = 512;        // samples: pushes of streams keep the bits of one pass
  constexpr int64_t kManyRows = 1 << 14;  // with a thread each, a warp for each of 512 schedulers
  constexpr int64_t kFewRows = 128;       // below, a block of threads each leaves half a GPU idle
  constexpr int64_t kLeastTiles = 4;
  constexpr int kBusyWarps = 4;  // blocks that wait at barriers of their own fill a busy GPU better
  constexpr int64_t kJobs = 1024;  // parts of all rows: more only lengthen the joins
  if (time <= kStream || rows >= kManyRows) return {Form::sequential, 1, time};
  const int most = rows < kFewRows ? Plan::kMaxWarps : kBusyWarps;
  Plan plan = {Form::tiled, 1, time};
  while (plan.warps < most && plan.tile() < time) plan.warps *= 2;
  if (rows < kFewRows && plan.tiles() >= kLeastTiles && sections <= kSplitSections) {
    plan.form = Form::split;
    plan.warps = kBusyWarps;
    while (rows * plan.parts() >= 2 * kJobs) plan.walk *= 2;
  }
  return plan;
}

#ifdef CLMER_CUDA_BUILT
// Launches; dense float or double, one dimension of rows, scale 1; all pointers are on `device`,
// which need not be the current one; `stream` is a cudaStream_t of it. Throws std::runtime_error
// with CUDA's words.
void sosfilt_cuda(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                  int device, void* stream);
#endif

}  // namespace clmer
