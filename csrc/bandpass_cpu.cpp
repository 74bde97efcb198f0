// Plan: a task owns up to kMaxWidth rows and walks them in blocks of samples. A block is transposed
// into an L1 tile of doubles, where one vector holds one sample of `lanes` rows (rows that lie side
// by side in memory, [T, C], need no transposition); the sections pass over the tile, four at once
// with their states in registers; the tile is transposed back. Four sections are four chains, which
// the processor overlaps; each takes one multiply-add, 4 cycles, from sample to sample. The
// zero-phase form keeps the forward pass of a task's rows in scratch, as long as it is small in L2,
// and runs backwards over it. Every arrangement has the same arithmetic (bandpass_step.h), so that
// any chunking of time, layout and number of threads gives the same bits. Roofline: 5 multiply-adds
// a sample and section where x is in cache, else memory: x and y are read and written once.
#include "bandpass_tile.h"

#include "arena.h"
#include "threads.h"

#include "bandpass_step.h"

namespace clmer::CLMER_LEVEL {

namespace {

enum class Pass { forward, backward, adjoint };

constexpr int kAtOnce = 4;  // sections with their states in registers
constexpr int64_t kScratchBytes = 256 << 10;

// Flushes subnormal numbers to zero, which cost a hundred cycles each in a decaying tail, and gives
// the thread its floating-point mode back.
class FlushSubnormals {
 public:
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
#if defined(__SSE2__)
  FlushSubnormals() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | 0x8040);  // flush to zero, denormals are zero
  }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | (uint64_t(1) << 24)));
  }
  ~FlushSubnormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  uint64_t before_;
#else
  FlushSubnormals() = default;
#endif
};

// A Biquad in every lane: loading a vector costs what loading a number into all lanes does, and can
// be part of a multiply-add.
struct Section {
  V b0, b1, b2, minus_a1, minus_a2, c1, c2;
};

struct Cascade {
  Section section[kMaxSections];
  int64_t sections;

  explicit Cascade(const SosfiltArgs& a) : sections(a.sections) {
    for (int64_t s = 0; s < sections; ++s) {
      const Biquad f = biquad(a.sos + 6 * s);
      section[s] = {splat(f.b0),       splat(f.b1), splat(f.b2), splat(f.minus_a1),
                    splat(f.minus_a2), splat(f.c1), splat(f.c2)};
    }
  }
};

// S sections over one vector of rows: state [S, 2, width], tile [count, width].
template <int S, Pass kPass>
void run_sections(const Section* f, double* state, double* tile, int width, int64_t count) {
  V z0[S], z1[S];
  for (int s = 0; s < S; ++s) {
    z0[s] = load(state + 2 * s * width);
    z1[s] = load(state + (2 * s + 1) * width);
  }
  for (int64_t i = 0; i < count; ++i) {
    double* at = tile + (kPass == Pass::forward ? i : count - 1 - i) * width;
    V v = load(at);
    for (int k = 0; k < S; ++k) {
      const int s = kPass == Pass::adjoint ? S - 1 - k : k;
      v = kPass == Pass::adjoint ? adjoint_step(f[s], v, z0[s], z1[s])
                                 : forward_step(f[s], v, z0[s], z1[s]);
    }
    store(at, v);
  }
  for (int s = 0; s < S; ++s) {
    store(state + 2 * s * width, z0[s]);
    store(state + (2 * s + 1) * width, z1[s]);
  }
}

// All sections over all vectors of a tile, kAtOnce at a time; the adjoint takes the last ones
// first.
template <Pass kPass>
void run_cascade(const Cascade& c, double* state, double* tile, int width, int64_t count) {
  const int64_t groups = (c.sections + kAtOnce - 1) / kAtOnce;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t first = kAtOnce * (kPass == Pass::adjoint ? groups - 1 - i : i);
    const int64_t size = c.sections - first;
    const auto run = size >= 4   ? run_sections<4, kPass>
                     : size == 3 ? run_sections<3, kPass>
                     : size == 2 ? run_sections<2, kPass>
                                 : run_sections<1, kPass>;
    for (int g = 0; g < width; g += kWide) {
      run(c.section + first, state + 2 * first * width + g, tile + g, width, count);
    }
  }
}

struct Job {
  const SosfiltArgs& args;
  int64_t rows_per_task;
  bool failed = false;

  int64_t tasks() const { return (args.rows + rows_per_task - 1) / rows_per_task; }
  Lanes lanes(int64_t task) const {
    const int64_t first = task * rows_per_task, rest = args.rows - first;
    return Lanes(first, static_cast<int>(rest < rows_per_task ? rest : rows_per_task));
  }
};

template <Pass kPass>
void filter_rows(int64_t task, void* context) {
  const Job& job = *static_cast<const Job*>(context);
  const SosfiltArgs& a = job.args;
  const FlushSubnormals flushed;
  const Lanes lanes = job.lanes(task);
  const Offsets x(a, a.x.rows, lanes), y(a, a.y.rows, lanes);
  const Reader read = reader(a.x.type);
  const Writer write = writer(a.y.type);
  const Cascade cascade(a);
  alignas(64) double state[kMaxSections * 2 * kMaxWidth];
  alignas(64) double tile[kTileDoubles];
  load_states(a, lanes, state);
  const int64_t block = kTileDoubles / lanes.width;
  const int64_t blocks = (a.time + block - 1) / block;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t start = block * (kPass == Pass::adjoint ? blocks - 1 - i : i);
    const int count = static_cast<int>(a.time - start < block ? a.time - start : block);
    read(a, x, start, count, tile, lanes.width);
    run_cascade<kPass>(cascade, state, tile, lanes.width, count);
    write(a, y, start, count, tile, lanes.width);
  }
  save_states(a, lanes, state);
}

// The steady state of every section for an input that has always been `first` [width].
void start_steady(const SosfiltArgs& a, const double* first, int width, double* state) {
  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k, state += width) {
      const double z = a.state.data[s * a.state.section + k * a.state.z];
      for (int i = 0; i < width; ++i) state[i] = z * first[i];
    }
  }
}

// The edge samples beyond an end, from the end's own ones inwards, [edge + 1, width]. Beyond the
// left end `direction` is -1, and `to` is where the sample next to the end goes.
void extend(const SosfiltArgs& a, const double* inwards, int inward_step, double* to, int direction,
            int width) {
  for (int64_t j = 1; j <= a.edge; ++j, to += direction * width) {
    for (int i = 0; i < width; ++i) {
      const double end = inwards[i], mirror = inwards[j * inward_step * width + i];
      to[i] = a.extension == Extension::odd    ? 2 * end - mirror
              : a.extension == Extension::even ? mirror
                                               : end;
    }
  }
}

// Forwards into scratch [edge + time + edge, width], backwards over it and out. What the way back
// makes of the left extension nobody reads.
void filter_both_ways(int64_t task, void* context) {
  Job& job = *static_cast<Job*>(context);
  const SosfiltArgs& a = job.args;
  const FlushSubnormals flushed;
  const Lanes lanes = job.lanes(task);
  const int width = lanes.width;
  const Offsets x(a, a.x.rows, lanes), y(a, a.y.rows, lanes);
  const Reader read = reader(a.x.type);
  const Writer write = writer(a.y.type);
  const Cascade cascade(a);
  const int64_t edge = a.edge, padded = a.time + 2 * edge;
  Arena arena;
  double *whole = nullptr, *end = nullptr;
  for (int pass = 0; pass < 2; ++pass) {
    whole = arena.take<double>(padded * width);
    end = arena.take<double>((edge + 1) * width);
    if (pass == 0 && !arena.allocate()) {
      __atomic_store_n(&job.failed, true, __ATOMIC_RELAXED);
      return;
    }
  }
  alignas(64) double state[kMaxSections * 2 * kMaxWidth];
  double* inner = whole + edge * width;

  read(a, x, 0, static_cast<int>(edge + 1), end, width);
  extend(a, end, 1, inner - width, -1, width);
  start_steady(a, edge > 0 ? whole : end, width, state);
  run_cascade<Pass::forward>(cascade, state, whole, width, edge);
  const int64_t block = kTileDoubles / width, blocks = (a.time + block - 1) / block;
  for (int64_t start = 0; start < a.time; start += block) {
    const int count = static_cast<int>(a.time - start < block ? a.time - start : block);
    read(a, x, start, count, inner + start * width, width);
    run_cascade<Pass::forward>(cascade, state, inner + start * width, width, count);
  }
  double* right = inner + a.time * width;
  read(a, x, a.time - edge - 1, static_cast<int>(edge + 1), end, width);
  extend(a, end + edge * width, -1, right, 1, width);
  run_cascade<Pass::forward>(cascade, state, right, width, edge);

  start_steady(a, whole + (padded - 1) * width, width, state);
  run_cascade<Pass::backward>(cascade, state, right, width, edge);
  for (int64_t i = blocks - 1; i >= 0; --i) {
    const int64_t start = i * block;
    const int count = static_cast<int>(a.time - start < block ? a.time - start : block);
    run_cascade<Pass::backward>(cascade, state, inner + start * width, width, count);
    write(a, y, start, count, inner + start * width, width);
  }
}

// Whole vectors of rows, `most` at most, and as many tasks as threads where there are enough.
int64_t rows_per_task(const SosfiltArgs& a, int64_t most) {
  const int64_t vectors = (a.rows + kWide - 1) / kWide;
  const int64_t threads = a.threads > 1 ? a.threads : 1;
  int64_t share = (vectors + threads - 1) / threads;
  if (share > most / kWide) share = most / kWide;
  return kWide * (share > 0 ? share : 1);
}

bool run(const SosfiltArgs& a, int64_t most, void (*task)(int64_t, void*)) {
  if (a.rows == 0) return true;
  const bool small = a.rows * a.time * a.sections < 1 << 16;  // some 15 us: not worth a pool
  SosfiltArgs args = a;
  if (small) args.threads = 1;
  Job job{args, rows_per_task(args, most)};
  parallel_for(job.tasks(), args.threads, task, &job);
  return !job.failed;
}

// Side by side, rows share cache lines and pages: many to a task. Otherwise long runs of few.
template <Pass kPass>
bool filter(const SosfiltArgs& a) {
  const bool side_by_side = a.x.rows[a.row_dims - 1] == 1 && a.x.time != 1;
  return run(a, side_by_side ? kMaxWidth : kMaxWidth / 2, filter_rows<kPass>);
}

bool zero_phase(const SosfiltArgs& a) {
  const int64_t row_bytes = 8 * (a.time + 3 * a.edge + 1);
  const int64_t fit = kScratchBytes / row_bytes;
  return run(a, fit < kWide ? kWide : fit < kMaxWidth ? fit : kMaxWidth, filter_both_ways);
}

}  // namespace

const BandpassKernels bandpass = {filter<Pass::forward>, filter<Pass::adjoint>, zero_phase};

}  // namespace clmer::CLMER_LEVEL
