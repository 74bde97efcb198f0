// Plan (the algorithm is in bandpass_blocks.h): a block of threads owns a row and walks its tiles,
// 8192 samples at most. A warp reads its 32 segments in runs of 128 bytes and turns them round in
// its own 4 KB of shared memory, so that a thread holds 32 samples of one segment as doubles in
// registers; there they stay while all sections pass over them, one barrier a section (a warp's
// totals for the next), and go back the same way. x is read and y written once: the roofline is
// memory, or about 9 double-precision operations a sample and section. Few long rows read x twice
// (`split`). Streams' chunks and very many rows take the same segments with a thread a row and no
// joins. Tables are made by the first lanes of each block while the other warps load.
// Launches are all on the caller's stream; scratch is the caller's.
#define CLMER_LEVEL cuda
#include "bandpass_blocks.h"

#include <string>

#include "cuda_launch.h"

namespace clmer {

namespace {

using namespace cuda;

constexpr const char* kOp = "sosfilt";
constexpr unsigned kAll = 0xffffffff;
constexpr int kTables = 8;  // sections whose tables are in shared memory at once

// ---- samples between memory and registers -----------------------------------------------------
// 32 runs of 32 samples, a run a lane, through a warp's own shared memory in strips of 128 bytes a
// run. `at(run, m)` is where a sample lies, below 0 for none (read as 0). The odd pitch keeps lanes
// on banks of their own both ways.
template <class T>
struct Strip {
  static constexpr int kWidth = 128 / sizeof(T);  // samples of a run
  static constexpr int kRuns = kLanes / kWidth;   // that one load of the warp takes
  static constexpr int kPitch = kWidth + 1;
  T sample[kLanes * kPitch];
};

template <class T, class At>
__device__ __forceinline__ void load_runs(const T* x, Strip<T>& strip, int lane, At at,
                                          double (&v)[kSegment]) {
  using S = Strip<T>;
#pragma unroll
  for (int first = 0; first < kSegment; first += S::kWidth) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < S::kWidth; ++i) {
      const int run = i * S::kRuns + lane / S::kWidth, m = lane % S::kWidth;
      const int64_t offset = at(run, first + m);
      strip.sample[run * S::kPitch + m] = offset < 0 ? T(0) : x[offset];
    }
    __syncwarp();
#pragma unroll
    for (int m = 0; m < S::kWidth; ++m) {
      v[first + m] = static_cast<double>(strip.sample[lane * S::kPitch + m]);
    }
  }
}

template <class T, class At>
__device__ __forceinline__ void store_runs(T* y, Strip<T>& strip, int lane, At at,
                                           const double (&v)[kSegment]) {
  using S = Strip<T>;
#pragma unroll
  for (int first = 0; first < kSegment; first += S::kWidth) {
    __syncwarp();
#pragma unroll
    for (int m = 0; m < S::kWidth; ++m) {
      strip.sample[lane * S::kPitch + m] = static_cast<T>(v[first + m]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < S::kWidth; ++i) {
      const int run = i * S::kRuns + lane / S::kWidth, m = lane % S::kWidth;
      const int64_t offset = at(run, first + m);
      if (offset >= 0) y[offset] = strip.sample[run * S::kPitch + m];
    }
  }
}

// ---- a thread a row: streams' chunks, and very many rows --------------------------------------
struct Operands {
  const double* sos;
  const double* state;  // before the first sample; null for rest
  double* state_out;
  int64_t rows, time;
  int sections;
};

// One warp a block; the states of its rows [sections, 2, 32] behind the strip.
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
    const auto at = [&](int run, int m) {
      const int64_t t = begin + m;
      if (first_row + run >= o.rows || t >= o.time) return int64_t(-1);
      return (first_row + run) * o.time + (kAdjoint ? o.time - 1 - t : t);
    };
    const int length = o.time - begin < kSegment ? int(o.time - begin) : kSegment;
    double v[kSegment];
    load_runs(x, strip, lane, at, v);
    for (int k = 0; k < o.sections; ++k) {
      const int s = section_at<kAdjoint>(k, o.sections);
      double* z = states + 2 * s * kLanes + lane;
      const Pair end =
          filter_segment<kAdjoint>(biquad(o.sos + 6 * s), {z[0], z[kLanes]}, v, length);
      z[0] = end.p;
      z[kLanes] = end.q;
    }
    store_runs(y, strip, lane, at, v);
  }
  if (row >= o.rows) return;
  for (int i = 0; i < 2 * o.sections; ++i) {
    o.state_out[row * 2 * o.sections + i] = states[i * kLanes + lane];
  }
}

// ---- a block of threads a row, or a tile ------------------------------------------------------
template <class T>
struct TileMemory {
  Strip<T> strip[kMaxWarps];
  SectionTable table[kTables];
  Pair total[2][kMaxWarps];
  Pair carry[2][kMaxSections];  // before a tile, and behind it
};

// One section over a tile: v in place. Returns the state behind sample `length` - 1 of the segment.
// `parity` alternates from call to call, so that one barrier keeps a fast warp from the totals that
// a slow one still reads.
template <bool kAdjoint>
__device__ __forceinline__ Pair filter_tile(const SectionTable& table, Pair (&total)[kMaxWarps],
                                            const Pair& before, double (&v)[kSegment], int length) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  Pair sum = end_from_rest(table, v);
#pragma unroll
  for (int k = 0; k < kLevels; ++k) {
    const Pair earlier = {__shfl_up_sync(kAll, sum.p, 1 << k), __shfl_up_sync(kAll, sum.q, 1 << k)};
    if (lane >= 1 << k) sum = advance(table.power[k], earlier, sum);
  }
  if (lane == kLanes - 1) total[warp] = sum;
  __syncthreads();
  Pair start = to_joint<kAdjoint>(table.sign, before);
  for (int w = 0; w < warp; ++w) start = advance(table.power[kLevels], start, total[w]);
  start = carried(table, lane, start);
  const Pair earlier = {__shfl_up_sync(kAll, sum.p, 1), __shfl_up_sync(kAll, sum.q, 1)};
  if (lane > 0) start = {start.p + earlier.p, start.q + earlier.q};
  start = from_joint<kAdjoint>(table.sign, start);
  return filter_segment<kAdjoint>(table.f, start, v, length);
}

template <bool kAdjoint>
__device__ void fill_tables(const Operands& o, int first, SectionTable* table) {
  const int k = threadIdx.x;
  if (k < kTables && first + k < o.sections) {
    fill_table<kAdjoint>(o.sos + 6 * section_at<kAdjoint>(first + k, o.sections), table[k]);
  }
}

// Block b takes `tiles` tiles from tile (b % parts) * tiles of row b / parts on. Its start is
// state[b], its end goes to state_out[b]; with `last_only`, to state_out[row], by the last part.
struct Share {
  int64_t parts, tiles;
  bool last_only;
};

// y may be null where only ends matter.
template <class T, bool kAdjoint>
__device__ __forceinline__ void filter_share(const T* x, T* y, const Operands& o,
                                             const Share& share, TileMemory<T>& memory) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t block = blockIdx.x, row = block / share.parts, part = block % share.parts;
  const int64_t tile = blockDim.x * kSegment, begin = part * share.tiles * tile;
  const int64_t stop = min(o.time, begin + share.tiles * tile);
  for (int k = threadIdx.x; k < o.sections; k += blockDim.x) {
    const double* z = o.state + (block * o.sections + section_at<kAdjoint>(k, o.sections)) * 2;
    memory.carry[0][k] = o.state ? Pair{z[0], z[1]} : Pair{0, 0};
  }
  fill_tables<kAdjoint>(o, 0, memory.table);
  int parity = 0, side = 0;
  for (int64_t t0 = begin; t0 < stop; t0 += tile, side ^= 1) {
    const int count = int(min(tile, stop - t0)), owner = (count - 1) / kSegment;
    const int length = int(threadIdx.x) == owner ? count - owner * kSegment : kSegment;
    const int64_t first = row * o.time + (kAdjoint ? o.time - 1 - t0 : t0);
    const auto at = [&](int run, int m) {
      const int i = (warp * kLanes + run) * kSegment + m;
      return i < count ? first + (kAdjoint ? -i : i) : int64_t(-1);
    };
    double v[kSegment];
    load_runs(x, memory.strip[warp], lane, at, v);
    for (int k = 0; k < o.sections; ++k, parity ^= 1) {
      if (k % kTables == 0 && (k > 0 || (t0 > begin && o.sections > kTables))) {
        __syncthreads();
        fill_tables<kAdjoint>(o, k, memory.table);
      }
      if (k % kTables == 0) __syncthreads();
      const Pair end = filter_tile<kAdjoint>(memory.table[k % kTables], memory.total[parity],
                                             memory.carry[side][k], v, length);
      if (int(threadIdx.x) == owner) memory.carry[side ^ 1][k] = end;
    }
    if (y) store_runs(y, memory.strip[warp], lane, at, v);
  }
  if (share.last_only && part + 1 < share.parts) return;
  __syncthreads();
  const int64_t out = share.last_only ? row : block;
  for (int k = threadIdx.x; k < o.sections; k += blockDim.x) {
    double* z = o.state_out + (out * o.sections + section_at<kAdjoint>(k, o.sections)) * 2;
    z[0] = memory.carry[side][k].p;
    z[1] = memory.carry[side][k].q;
  }
}

template <class T, bool kAdjoint>
__global__ void __launch_bounds__(kMaxWarps* kLanes, 2)
    filter_tiles(const T* x, T* y, Operands o, Share share) {
  __shared__ TileMemory<T> memory;
  filter_share<T, kAdjoint>(x, y, o, share, memory);
}

// ---- few long rows ----------------------------------------------------------------------------
constexpr int kStates = 2 * kSplitSections;

// The transition of all sections over a tile, [2S, 2S], by one block of threads.
template <bool kAdjoint>
__device__ void fill_transition(const Operands& o, int64_t tile, Wide (&m)[2][kStates * kStates],
                                double* transition) {
  const int n = 2 * o.sections;
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
    m[0][i] = transition_element<kAdjoint>(o.sos, o.sections, i / n, i % n);
  }
  __syncthreads();
  int now = 0;
  for (int64_t samples = 1; samples < tile; samples *= 2, now ^= 1) {
    for (int i = threadIdx.x; i < n * n; i += blockDim.x) {
      m[now ^ 1][i] = square_element(m[now], n, i / n, i % n);
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < n * n; i += blockDim.x) transition[i] = m[now][i].hi;
}

// The states that tiles leave when they start from rest, ends [rows, tiles, S, 2] = o.state_out;
// one more block makes the transition.
template <class T, bool kAdjoint>
__global__ void __launch_bounds__(kMaxWarps* kLanes, 2)
    find_ends(const T* x, Operands o, int64_t tiles, double* transition) {
  __shared__ union Memory {
    TileMemory<T> tile;
    Wide transition[2][kStates * kStates];
    __device__ Memory() {}
  } memory;
  if (blockIdx.x == gridDim.x - 1) {
    fill_transition<kAdjoint>(o, blockDim.x * kSegment, memory.transition, transition);
  } else {
    filter_share<T, kAdjoint>(x, static_cast<T*>(nullptr), o, {tiles, 1, false}, memory.tile);
  }
}

// A warp a row, a lane a state: turns ends [rows, tiles, S, 2] into the tiles' true starts.
template <bool kAdjoint>
__global__ void join_tiles(Operands o, int64_t tiles, const double* transition, double* ends) {
  __shared__ double rows[kStates * (kStates + 1)], now[kStates];
  const int n = 2 * o.sections, r = threadIdx.x, lane = r < n ? r : 0;
  for (int i = r; i < n * n; i += kLanes) rows[i / n * (n + 1) + i % n] = transition[i];
  const int section = section_at<kAdjoint>(lane / 2, o.sections);
  const double sign = joint<kAdjoint>(biquad(o.sos + 6 * section)).sign;
  const auto own = [&](Pair z) { return lane % 2 == 0 ? z.p : z.q; };
  const auto read = [&](const double* z) { return own(to_joint<kAdjoint>(sign, {z[0], z[1]})); };
  double* end = ends + blockIdx.x * tiles * n + 2 * section;
  double start = read(o.state + int64_t(blockIdx.x) * n + 2 * section), left = read(end);
  for (int64_t tile = 0; tile < tiles; ++tile, end += n) {
    const double next_left = tile + 1 < tiles ? read(end + n) : 0;
    if (r < n) now[r] = start;
    __syncwarp();  // and all lanes have read `end`, which a neighbour will write
    if (r < n) {
      const int pair = r & ~1;
      end[r % 2] = own(from_joint<kAdjoint>(sign, {now[pair], now[pair + 1]}));
      start = join_element(rows + r * (n + 1), r, now, left);
    }
    __syncwarp();
    left = next_left;
  }
}

// ---- launches ---------------------------------------------------------------------------------
template <class T, bool kAdjoint>
void launch_split(const T* x, T* y, Operands o, const Plan& plan, double* scratch, cudaStream_t s) {
  const int threads = plan.warps * kLanes;
  double* ends = scratch;
  double* transition = scratch + o.rows * plan.tiles() * 2 * o.sections;
  Operands rest = o, whole = o;
  rest.state = nullptr;
  rest.state_out = ends;
  whole.state = ends;
  const unsigned blocks = grid(o.rows * plan.tiles() + 1, kOp);
  find_ends<T, kAdjoint><<<blocks, threads, 0, s>>>(x, rest, plan.tiles(), transition);
  check_launch("launch of sosfilt's find_ends");
  join_tiles<kAdjoint><<<grid(o.rows, kOp), kLanes, 0, s>>>(o, plan.tiles(), transition, ends);
  check_launch("launch of sosfilt's join_tiles");
  filter_tiles<T, kAdjoint>
      <<<blocks - 1, threads, 0, s>>>(x, y, whole, Share{plan.tiles(), 1, true});
  check_launch("launch of sosfilt's filter_tiles");
}

template <class T, bool kAdjoint>
void launch(const SosfiltArgs& a, const Plan& plan, double* scratch, cudaStream_t s) {
  const T* x = static_cast<const T*>(a.x.data);
  T* y = static_cast<T*>(a.y.data);
  const Operands o = {a.sos, a.state.data, a.state_out.data, a.rows, a.time, int(a.sections)};
  switch (plan.form) {
    case Form::sequential: {
      const size_t states = 2 * sizeof(double) * kLanes * a.sections;
      filter_rows<T, kAdjoint>
          <<<grid((a.rows + kLanes - 1) / kLanes, kOp), kLanes, states, s>>>(x, y, o);
      return check_launch("launch of sosfilt's filter_rows");
    }
    case Form::tiled:
      filter_tiles<T, kAdjoint>
          <<<grid(a.rows, kOp), plan.warps * kLanes, 0, s>>>(x, y, o, Share{1, plan.tiles(), true});
      return check_launch("launch of sosfilt's filter_tiles");
    case Form::split: return launch_split<T, kAdjoint>(x, y, o, plan, scratch, s);
  }
}

}  // namespace

void sosfilt_cuda(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch,
                  int device, void* stream) {
  auto s = static_cast<cudaStream_t>(stream);
  if (args.rows == 0) return;
  const DeviceGuard guard(device);
  if (args.x.type == Sample::f64) {
    adjoint ? launch<double, true>(args, plan, scratch, s)
            : launch<double, false>(args, plan, scratch, s);
  } else {
    adjoint ? launch<float, true>(args, plan, scratch, s)
            : launch<float, false>(args, plan, scratch, s);
  }
}

std::string cuda_unavailable() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaSuccess && devices > 0) return "";
  return status == cudaSuccess ? "no CUDA device" : cudaGetErrorString(status);
}

}  // namespace clmer
