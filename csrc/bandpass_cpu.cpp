// Plan: a task owns kRows signals and walks them in blocks of kBlock samples. A block is transposed
// into an L1 tile of doubles [kBlock, kRows], where one vector holds one sample of `lanes` signals;
// the sections pass over the tile, up to four at once with their state in registers; the tile is
// transposed back. Signals that lie side by side in memory ([T, C]) need no transposition. The
// chain of a section is 8 cycles a sample; four sections at four samples of a wavefront hide it.
// The same instructions serve every lane, layout and block length, so that any chunking of time
// gives the same bits. Roofline: 5 multiply-adds a sample and section; x and y are read and written
// once.
#include "bandpass.h"

#include "simd_vec.h"
#include "threads.h"

#include "bandpass_step.h"

namespace clmer::CLMER_LEVEL {

namespace {

using V = Vec<double>;
constexpr int kWide = kLanes<double>;
#if defined(__AVX512F__)
constexpr int kGroups = 2;  // 4 sections of state and 2 samples in 32 registers
#else
constexpr int kGroups = 1;  // 16 registers
#endif
constexpr int kRows = kWide * kGroups;
constexpr int kBlock = 1024 / kRows;  // samples: a tile is a quarter of L1

struct alignas(64) Tile {
  double sample[kBlock][kRows];
};

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

// kWide samples side by side, in doubles.
template <class X>
struct Lanes {
  typedef X Loose __attribute__((vector_size(kWide * sizeof(X)), may_alias, aligned(alignof(X))));
};
template <class X>
inline V load_wide(const X* p) {
  return __builtin_convertvector(*reinterpret_cast<const typename Lanes<X>::Loose*>(p), V);
}
template <class Y>
inline void store_wide(Y* p, V v) {
  typedef typename Lanes<Y>::Loose Loose;
  *reinterpret_cast<Loose*>(p) = __builtin_convertvector(v, Loose);
}

// The `rows` signals of a task; lanes beyond them repeat the last one, and nothing of it is
// written.
struct Rows {
  int64_t first;
  int rows;
  int64_t at(int lane) const { return first + (lane < rows ? lane : rows - 1); }
  bool whole() const { return rows == kRows; }
};

template <class X>
void read_tile(const Signal& x, const Rows& r, int64_t start, int count, double scale, Tile& tile) {
  const X* base = static_cast<const X*>(x.data) + start * x.time;
  if (x.row == 1 && r.whole()) {
    for (int t = 0; t < count; ++t) {
      const X* at = base + t * x.time + r.first;
      for (int g = 0; g < kRows; g += kWide) store(&tile.sample[t][g], load_wide(at + g) * scale);
    }
    return;
  }
  int t = 0;
  for (; x.time == 1 && t + kWide <= count; t += kWide) {
    for (int g = 0; g < kRows; g += kWide) {
      V block[kWide];
#pragma GCC unroll 8
      for (int i = 0; i < kWide; ++i) block[i] = load_wide(base + r.at(g + i) * x.row + t) * scale;
      transpose<double, false>(block);
#pragma GCC unroll 8
      for (int i = 0; i < kWide; ++i) store(&tile.sample[t + i][g], block[i]);
    }
  }
  for (; t < count; ++t) {
    for (int i = 0; i < kRows; ++i) {
      tile.sample[t][i] = double(base[r.at(i) * x.row + t * x.time]) * scale;
    }
  }
}

template <class Y>
void write_tile(const Tile& tile, const Signal& y, const Rows& r, int64_t start, int count) {
  Y* base = static_cast<Y*>(y.data) + start * y.time;
  if (y.row == 1 && r.whole()) {
    for (int t = 0; t < count; ++t) {
      Y* at = base + t * y.time + r.first;
      for (int g = 0; g < kRows; g += kWide) store_wide(at + g, load(&tile.sample[t][g]));
    }
    return;
  }
  int t = 0;
  for (; y.time == 1 && t + kWide <= count; t += kWide) {
    for (int g = 0; g < r.rows; g += kWide) {
      V block[kWide];
#pragma GCC unroll 8
      for (int i = 0; i < kWide; ++i) block[i] = load(&tile.sample[t + i][g]);
      transpose<double, false>(block);
#pragma GCC unroll 8
      for (int i = 0; i < kWide; ++i) {
        if (g + i < r.rows) store_wide(base + (r.first + g + i) * y.row + t, block[i]);
      }
    }
  }
  for (; t < count; ++t) {
    for (int i = 0; i < r.rows; ++i) {
      base[(r.first + i) * y.row + t * y.time] = static_cast<Y>(tile.sample[t][i]);
    }
  }
}

// Sections [first, first + S) over the tile. `state` is [sections][2][kRows].
template <int S, bool kAdjoint>
void run_sections(const Biquad* filters, double (*state)[2][kRows], Tile& tile, int count) {
  V z0[S][kGroups], z1[S][kGroups];
  for (int s = 0; s < S; ++s) {
    for (int g = 0; g < kGroups; ++g) {
      z0[s][g] = load(&state[s][0][g * kWide]);
      z1[s][g] = load(&state[s][1][g * kWide]);
    }
  }
  for (int i = 0; i < count; ++i) {
    double* row = tile.sample[kAdjoint ? count - 1 - i : i];
    V v[kGroups];
    for (int g = 0; g < kGroups; ++g) v[g] = load(row + g * kWide);
    for (int k = 0; k < S; ++k) {
      const int s = kAdjoint ? S - 1 - k : k;
      for (int g = 0; g < kGroups; ++g) {
        v[g] = kAdjoint ? adjoint_step(filters[s], v[g], z0[s][g], z1[s][g])
                        : forward_step(filters[s], v[g], z0[s][g], z1[s][g]);
      }
    }
    for (int g = 0; g < kGroups; ++g) store(row + g * kWide, v[g]);
  }
  for (int s = 0; s < S; ++s) {
    for (int g = 0; g < kGroups; ++g) {
      store(&state[s][0][g * kWide], z0[s][g]);
      store(&state[s][1][g * kWide], z1[s][g]);
    }
  }
}

template <bool kAdjoint>
void run_group(int size, const Biquad* f, double (*z)[2][kRows], Tile& tile, int count) {
  if (size == 4) run_sections<4, kAdjoint>(f, z, tile, count);
  if (size == 3) run_sections<3, kAdjoint>(f, z, tile, count);
  if (size == 2) run_sections<2, kAdjoint>(f, z, tile, count);
  if (size == 1) run_sections<1, kAdjoint>(f, z, tile, count);
}

// All sections over one tile, four at a time; the adjoint takes the last ones first.
template <bool kAdjoint>
void run_cascade(int64_t sections, const Biquad* f, double (*z)[2][kRows], Tile& tile, int count) {
  const int64_t groups = (sections + 3) / 4;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t first = 4 * (kAdjoint ? groups - 1 - i : i);
    const int size = static_cast<int>(sections - first < 4 ? sections - first : 4);
    run_group<kAdjoint>(size, f + first, z + first, tile, count);
  }
}

struct Job {
  const SosfiltArgs& args;
  int64_t rows;  // of a task: one tile, or several where these share cache lines
};

// kRows signals, and what passes from one block of samples to the next.
struct Cascade {
  Rows rows;
  alignas(64) double state[kMaxSections][2][kRows];

  void load(const SosfiltArgs& a) {
    for (int64_t s = 0; s < a.sections; ++s) {
      for (int k = 0; k < 2; ++k) {
        for (int i = 0; i < kRows; ++i) {
          state[s][k][i] = a.state[(rows.at(i) * a.sections + s) * 2 + k];
        }
      }
    }
  }
  void save(const SosfiltArgs& a) const {
    for (int64_t s = 0; s < a.sections; ++s) {
      for (int k = 0; k < 2; ++k) {
        for (int i = 0; i < rows.rows; ++i) {
          a.state_out[(rows.at(i) * a.sections + s) * 2 + k] = state[s][k][i];
        }
      }
    }
  }
};

constexpr int64_t kTaskRows = kRows < 16 ? 16 : kRows;  // at most

template <class X, class Y, bool kAdjoint>
void filter_rows(int64_t task, void* context) {
  const Job& job = *static_cast<const Job*>(context);
  const SosfiltArgs& a = job.args;
  const FlushSubnormals flushed;
  const int64_t end = (task + 1) * job.rows < a.rows ? (task + 1) * job.rows : a.rows;
  Biquad filters[kMaxSections];
  for (int64_t s = 0; s < a.sections; ++s) filters[s] = biquad(a.sos + 6 * s);
  Cascade cascades[kTaskRows / kRows];
  int tiles = 0;
  for (int64_t first = task * job.rows; first < end; first += kRows, ++tiles) {
    cascades[tiles].rows = {first, static_cast<int>(end - first < kRows ? end - first : kRows)};
    cascades[tiles].load(a);
  }
  Tile tile;
  const int64_t blocks = (a.time + kBlock - 1) / kBlock;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t start = kBlock * (kAdjoint ? blocks - 1 - i : i);
    const int count = static_cast<int>(a.time - start < kBlock ? a.time - start : kBlock);
    for (int t = 0; t < tiles; ++t) {
      Cascade& c = cascades[t];
      read_tile<X>(a.x, c.rows, start, count, a.scale, tile);
      run_cascade<kAdjoint>(a.sections, filters, c.state, tile, count);
      write_tile<Y>(tile, a.y, c.rows, start, count);
    }
  }
  for (int t = 0; t < tiles; ++t) cascades[t].save(a);
}

template <class X, class Y, bool kAdjoint = false>
void filter(const SosfiltArgs& args) {
  const bool side_by_side = args.x.row == 1 && args.x.time != 1;
  Job job{args, side_by_side ? kTaskRows : kRows};
  const bool small =
      args.rows * args.time * args.sections < 1 << 16;  // under 0.1 ms: not worth a pool
  const int64_t tasks = (args.rows + job.rows - 1) / job.rows;
  parallel_for(tasks, small ? 1 : args.threads, filter_rows<X, Y, kAdjoint>, &job);
}

}  // namespace

const BandpassKernels bandpass = {
    filter<float, float>,    filter<float, double>,      filter<double, double>,
    filter<int16_t, float>,  filter<int16_t, double>,    filter<int32_t, float>,
    filter<int32_t, double>, filter<float, float, true>, filter<double, double, true>};

}  // namespace clmer::CLMER_LEVEL
