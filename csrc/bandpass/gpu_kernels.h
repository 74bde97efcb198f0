// Plan (the algorithm is in gpu_blocks.h): a block of threads owns a row, or a part of one,
// and walks its tiles; blocks stay and take another row, so that tables are made once per block. A
// warp reads its 32 segments in runs of 128 bytes, 16 bytes per lane, and turns them round in its
// own 4.5 KB of shared memory, so that a thread holds 32 samples of one segment as doubles in
// registers; there they stay while all sections pass over them, one barrier per section (a warp's
// totals for the next), and go back the same way. Meanwhile the next tile is fetched into L2. x is
// read and y written once: the roofline is memory, or about 9 double-precision operations a sample
// and section (5 from rest, 3 for the response to the start, 1 to join). Few long rows read x twice
// (`split`). Streams' chunks and very many rows take the same segments with a thread per row and no
// joins. The launches are in gpu_launch.cu.
#pragma once

#include "bandpass/gpu_runs.h"

namespace clmer::CLMER_LEVEL {

namespace {

constexpr unsigned kAll = 0xffffffff;
constexpr int kTables = 8;  // sections whose tables are in shared memory at once

// ---- a thread per row: streams' chunks, and very many rows ------------------------------------
struct Operands {
  const double* sos;
  const double* state;  // before the first sample; null for rest
  double* state_out;
  int64_t rows, time;
  int sections;
  bool wide;  // every row of x and y begins at a multiple of 16 bytes
};

// N sections from k on over the first `length` samples, from and to a lane's states: N chains,
// which overlap.
template <bool kAdjoint, int N>
__device__ __forceinline__ void filter_in_order(const Operands& o, int k, double* states, int lane,
                                                double (&v)[kSegment], int length) {
  Biquad f[N];
  Pair z[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int s = section_at<kAdjoint>(k + i, o.sections);
    f[i] = biquad(o.sos + 6 * s);
    z[i] = {states[2 * s * kLanes + lane], states[(2 * s + 1) * kLanes + lane]};
  }
  const auto pass = [&](double sample) {
#pragma unroll
    for (int i = 0; i < N; ++i) sample = step<kAdjoint>(f[i], sample, z[i]);
    return sample;
  };
  if (length >= kSegment) {
#pragma unroll
    for (int m = 0; m < kSegment; ++m) v[m] = pass(v[m]);
  } else {
#pragma unroll
    for (int m = 0; m < kSegment; ++m) {
      if (m < length) v[m] = pass(v[m]);
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int s = section_at<kAdjoint>(k + i, o.sections);
    states[2 * s * kLanes + lane] = z[i].p;
    states[(2 * s + 1) * kLanes + lane] = z[i].q;
  }
}

// One warp per block; the states of its rows [sections, 2, 32] behind the strip.
template <class T, bool kAdjoint>
__global__ void filter_rows(const T* x, T* y, Operands o) {
  __shared__ Strip<T> strip;
  extern __shared__ double states[];
  const int lane = threadIdx.x;
  const int64_t first_row = int64_t(blockIdx.x) * kLanes, row = first_row + lane;
  for (int i = 0; i < 2 * o.sections; ++i) {
    states[i * kLanes + lane] = row < o.rows ? o.state[row * 2 * o.sections + i] : 0;
  }
  for (int64_t begin = 0; begin < o.time; begin += kSegment) {
    const int count = int(min(int64_t(kSegment), o.time - begin));
    const auto length = [&](int run) { return first_row + run < o.rows ? count : 0; };
    const int64_t runs = run_begin<kAdjoint>(first_row, o.time, begin);
    double v[kSegment];
    load_runs<kAdjoint>(o.wide, x + runs, o.time, strip, lane, length, v);
    if (row < o.rows && begin + 2 * kSegment <= o.time) {
      prefetch(x + run_begin<kAdjoint>(row, o.time, begin + kSegment));
    }
    int k = 0;
    for (; k + 1 < o.sections; k += 2) filter_in_order<kAdjoint, 2>(o, k, states, lane, v, count);
    if (k < o.sections) filter_in_order<kAdjoint, 1>(o, k, states, lane, v, count);
    store_runs<kAdjoint>(o.wide, y + runs, o.time, strip, lane, length, v);
  }
  if (row >= o.rows) return;
  for (int i = 0; i < 2 * o.sections; ++i) {
    o.state_out[row * 2 * o.sections + i] = states[i * kLanes + lane];
  }
}

// ---- a block of threads per row, or per tile --------------------------------------------------
// Beside a strip per warp, which is dynamic.
struct TileMemory {
  SectionTable table[kTables];
  Wide power[2][kTables][4];
  Pair total[2][kMaxWarps];
  Pair carry[2][kMaxSections];  // before a tile, and behind it
};

// One section over a tile: v in place. Returns the state behind sample `length` - 1 of the segment.
// `total` alternates from call to call, so that one barrier keeps a fast warp from the totals that
// a slow one still reads.
template <bool kAdjoint>
__device__ __forceinline__ Pair filter_tile(const SectionTable& table, Pair (&total)[kMaxWarps],
                                            const Pair& before, double (&v)[kSegment], int length) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  Pair kept = {0, 0};
  Pair sum = filter_from_rest<kAdjoint>(table.f, v, length, kept);
  sum = to_joint<kAdjoint>(table.sign, sum);
#pragma unroll
  for (int k = 0; k < kLevels; ++k) {
    const Pair earlier = {__shfl_up_sync(kAll, sum.p, 1 << k), __shfl_up_sync(kAll, sum.q, 1 << k)};
    if (lane >= 1 << k) sum = advance(table.power[k], earlier, sum);
  }
  if (lane == kLanes - 1) total[warp] = sum;
  __syncthreads();
  Pair start = to_joint<kAdjoint>(table.sign, before);
#pragma unroll 1
  for (int w = 0; w < warp; ++w) start = advance(table.power[kLevels], start, total[w]);
  start = carried(table, lane, start);
  const Pair earlier = {__shfl_up_sync(kAll, sum.p, 1), __shfl_up_sync(kAll, sum.q, 1)};
  if (lane > 0) start = {start.p + earlier.p, start.q + earlier.q};
  add_response<kAdjoint>(table.f, from_joint<kAdjoint>(table.sign, start), v, length, kept);
  return kept;
}

// The tables of up to kTables sections from `first` on, in the order of passing. Powers take a lane
// an element, in the first warp.
template <bool kAdjoint>
__device__ __forceinline__ void fill_tables(const Operands& o, int first, TileMemory& memory) {
  static_assert(4 * kTables == kLanes);
  const int count = min(kTables, o.sections - first), thread = threadIdx.x;
  const auto row = [&](int k) { return o.sos + 6 * section_at<kAdjoint>(first + k, o.sections); };
  if (thread < kLanes) {
    const int k = thread / 4, i = thread % 4;
    if (k < count) {
      const Biquad f = biquad(row(k));
      const Joint own = joint<kAdjoint>(f);
      if (i == 0) {
        memory.table[k].f = f;
        memory.table[k].sign = own.sign;
      }
      memory.power[0][k][i] = own.step[i];
    }
    for (int squarings = 0; squarings <= kSquarings; ++squarings) {
      __syncwarp();
      if (k >= count) continue;
      const auto& now = memory.power[squarings % 2][k];
      keep_power(memory.table[k], squarings, i, now[i]);
      memory.power[(squarings + 1) % 2][k][i] = square_element(now, 2, i / 2, i % 2);
    }
  }
  __syncthreads();
  for (int i = thread; i < count * kJumps; i += blockDim.x) {
    fill_jump(memory.table[i / kJumps], i % kJumps);
  }
  __syncthreads();
}

// Job j takes `tiles` tiles from tile (j % parts) * tiles of row j / parts on. Its start is
// state[j], its end goes to state_out[j]; with `last_only`, to state_out[row], by the last part.
// Worker w of `workers` takes jobs w, w + workers, ...
struct Share {
  unsigned parts, jobs;
  int64_t tiles;
  bool last_only;
  unsigned worker, workers;
};

// y may be null where only ends matter.
template <class T, bool kAdjoint>
__device__ __forceinline__ void filter_share(const T* x, T* y, const Operands& o,
                                             const Share& share, TileMemory& memory) {
  extern __shared__ __align__(16) double strips[];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  Strip<T>& strip = reinterpret_cast<Strip<T>*>(strips)[warp];
  const int tile = blockDim.x * kSegment, own = threadIdx.x * kSegment;
  const int64_t part = share.tiles * tile;
  const auto fetch = [&](unsigned job, int64_t t) {
    if (job < share.jobs && t + own + kSegment <= o.time) {
      prefetch(x + run_begin<kAdjoint>(job / share.parts, o.time, t + own));
    }
  };
  fetch(share.worker, share.worker % share.parts * part);
  fill_tables<kAdjoint>(o, 0, memory);
  int parity = 0;
  bool filled = true;
  for (unsigned job = share.worker; job < share.jobs; job += share.workers) {
    const unsigned next = job + share.workers;
    const int64_t row = job / share.parts, begin = job % share.parts * part;
    const int64_t stop = min(o.time, begin + part);
    for (int k = threadIdx.x; k < o.sections; k += blockDim.x) {
      const double* z =
          o.state + (int64_t(job) * o.sections + section_at<kAdjoint>(k, o.sections)) * 2;
      memory.carry[0][k] = o.state ? Pair{z[0], z[1]} : Pair{0, 0};
    }
    int side = 0;
    for (int64_t t0 = begin; t0 < stop; t0 += tile, side ^= 1) {
      const int count = int(min(int64_t(tile), stop - t0)), owner = (count - 1) / kSegment;
      const int length = int(threadIdx.x) == owner ? count - owner * kSegment : kSegment;
      const auto length_of = [&](int run) { return count - (warp * kLanes + run) * kSegment; };
      const int64_t runs = run_begin<kAdjoint>(row, o.time, t0 + warp * kLanes * kSegment);
      constexpr int kStride = kAdjoint ? -kSegment : kSegment;
      double v[kSegment];
      load_runs<kAdjoint>(o.wide, x + runs, kStride, strip, lane, length_of, v);
      t0 + tile < stop ? fetch(job, t0 + tile) : fetch(next, next % share.parts * part);
      for (int k = 0; k < o.sections; ++k, parity ^= 1) {
        if (o.sections > kTables && k % kTables == 0 && !filled) {
          __syncthreads();
          fill_tables<kAdjoint>(o, k, memory);
        }
        filled = false;
        const Pair end = filter_tile<kAdjoint>(memory.table[k % kTables], memory.total[parity],
                                               memory.carry[side][k], v, length);
        if (int(threadIdx.x) == owner) memory.carry[side ^ 1][k] = end;
      }
      if (y) {
        store_runs<kAdjoint>(o.wide, y + runs, kStride, strip, lane, length_of, v);
      }
    }
    __syncthreads();
    if (share.last_only && begin + part < o.time) continue;
    const int64_t out = share.last_only ? row : job;
    for (int k = threadIdx.x; k < o.sections; k += blockDim.x) {
      double* z = o.state_out + (out * o.sections + section_at<kAdjoint>(k, o.sections)) * 2;
      z[0] = memory.carry[side][k].p;
      z[1] = memory.carry[side][k].q;
    }
  }
}

template <class T, bool kAdjoint>
__global__ void __launch_bounds__(kMaxWarps* kLanes, 2)
    filter_tiles(const T* x, T* y, Operands o, Share share) {
  __shared__ TileMemory memory;
  share.worker = blockIdx.x;
  share.workers = gridDim.x;
  filter_share<T, kAdjoint>(x, y, o, share, memory);
}

// ---- few long rows ----------------------------------------------------------------------------
constexpr int kStates = 2 * kSplitSections;

// The transition of all sections over so many samples, [2S, 2S], by one block of threads.
template <bool kAdjoint>
__device__ void fill_transition(const Operands& o, int64_t samples, Wide (&m)[2][kStates * kStates],
                                double* transition) {
  const int n = 2 * o.sections;
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    m[0][i] = transition_element<kAdjoint>(o.sos, o.sections, i / n, i % n);
  }
  __syncthreads();
  int now = 0;
  for (int64_t done = 1; done < samples; done *= 2, now ^= 1) {
    for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
      m[now ^ 1][i] = square_element(m[now], n, i / n, i % n);
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) transition[i] = m[now][i].hi;
}

// The states that parts leave when they start from rest, ends [rows, parts, S, 2] = o.state_out;
// the first block makes the transition over a part.
template <class T, bool kAdjoint>
__global__ void __launch_bounds__(kMaxWarps* kLanes, 2)
    find_ends(const T* x, Operands o, Share share, double* transition) {
  __shared__ union Memory {
    TileMemory tile;
    Wide transition[2][kStates * kStates];
    __device__ Memory() {}
  } memory;
  if (blockIdx.x == 0) {
    fill_transition<kAdjoint>(o, share.tiles * blockDim.x * kSegment, memory.transition,
                              transition);
    return;
  }
  share.worker = blockIdx.x - 1;
  share.workers = gridDim.x - 1;
  filter_share<T, kAdjoint>(x, static_cast<T*>(nullptr), o, share, memory.tile);
}

// A warp per row, a lane per state: turns ends [rows, parts, S, 2] into the parts' true starts. A
// batch of them is in shared memory at once, so that no step waits for memory.
template <bool kAdjoint>
__global__ void join_parts(Operands o, int64_t parts, const double* transition, double* ends) {
  constexpr int kBatch = 32;
  __shared__ double left[kBatch * kStates], now[kStates];
  const int n = 2 * o.sections, r = threadIdx.x, lane = r < n ? r : 0, pair = lane & ~1;
  double row[kStates];
#pragma unroll
  for (int c = 0; c < kStates; ++c) row[c] = c <= (lane | 1) ? transition[lane * n + c] : 0;
  const int section = section_at<kAdjoint>(lane / 2, o.sections), at = 2 * section;
  const double sign = joint<kAdjoint>(biquad(o.sos + 6 * section)).sign;
  const auto own = [&](Pair z) { return lane % 2 == 0 ? z.p : z.q; };
  const auto read = [&](const double* z) { return own(to_joint<kAdjoint>(sign, {z[0], z[1]})); };
  double start = read(o.state + int64_t(blockIdx.x) * n + at);
  for (int64_t first = 0; first < parts; first += kBatch) {
    const int count = int(min(int64_t(kBatch), parts - first));
    double* batch = ends + (blockIdx.x * parts + first) * n;
    for (int i = r; i < count * n; i += kLanes) left[i] = batch[i];
    for (int part = 0; part < count; ++part) {
      if (r < n) now[r] = start;
      __syncwarp();
      double* end = left + part * n + at;
      start = join_element(row, lane, now, read(end));
      const double true_start = own(from_joint<kAdjoint>(sign, {now[pair], now[pair + 1]}));
      __syncwarp();  // before a neighbour writes what was read
      if (r < n) end[r % 2] = true_start;
    }
    __syncwarp();
    for (int i = r; i < count * n; i += kLanes) batch[i] = left[i];
    __syncwarp();
  }
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
