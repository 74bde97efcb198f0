// Plan: a task owns kGroups * lanes rows and walks them in blocks of kBlock samples. A block is
// transposed into an L1 tile of doubles [kBlock, rows], where one vector holds one sample of
// `lanes` rows; the sections pass over the tile, up to four at once with coefficients and state in
// registers; the tile is transposed back. Several groups in flight hide the 8-cycle chain of a
// section. The same instructions serve every lane and block length, so that any chunking of time
// gives the same bits. Roofline: the chain, then the transposes; x and y are read and written once.
#include "bandpass.h"

#include "simd_vec.h"
#include "threads.h"

#include "bandpass_step.h"

namespace clmer::CLMER_LEVEL {

namespace {

using V = Vec<double>;
constexpr int kWide = kLanes<double>;
constexpr int kGroups = 2;
constexpr int kRows = kWide * kGroups;
constexpr int kBlock = 64;

struct alignas(64) Tile {
  double sample[kBlock][kRows];
};

template <class T>
void read_tile(const T* x, int64_t stride, int rows, int count, Tile& tile) {
  for (int r = 0; r < kRows; ++r) {
    if (r < rows) {
      for (int t = 0; t < count; ++t) tile.sample[t][r] = static_cast<double>(x[r * stride + t]);
    } else {
      for (int t = 0; t < count; ++t) tile.sample[t][r] = 0.0;
    }
  }
}

template <class T>
void write_tile(const Tile& tile, int64_t stride, int rows, int count, T* y) {
  for (int r = 0; r < rows; ++r) {
    for (int t = 0; t < count; ++t) y[r * stride + t] = static_cast<T>(tile.sample[t][r]);
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

template <class T, bool kAdjoint>
void filter_rows(int64_t task, void* context) {
  const SosfiltArgs& a = *static_cast<const SosfiltArgs*>(context);
  const int64_t first = task * kRows;
  const int rows = static_cast<int>(a.rows - first < kRows ? a.rows - first : kRows);
  const T* x = static_cast<const T*>(a.x) + first * a.time;
  T* y = static_cast<T*>(a.y) + first * a.time;

  Biquad filters[kMaxSections];
  for (int64_t s = 0; s < a.sections; ++s) filters[s] = biquad(a.sos + 6 * s);
  alignas(64) double state[kMaxSections][2][kRows];
  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k) {
      for (int r = 0; r < kRows; ++r) {
        state[s][k][r] = r < rows ? a.state[((first + r) * a.sections + s) * 2 + k] : 0.0;
      }
    }
  }

  Tile tile;
  const int64_t blocks = (a.time + kBlock - 1) / kBlock;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t start = kBlock * (kAdjoint ? blocks - 1 - i : i);
    const int count = static_cast<int>(a.time - start < kBlock ? a.time - start : kBlock);
    read_tile(x + start, a.time, rows, count, tile);
    run_cascade<kAdjoint>(a.sections, filters, state, tile, count);
    write_tile(tile, a.time, rows, count, y + start);
  }

  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k) {
      for (int r = 0; r < rows; ++r) {
        a.state_out[((first + r) * a.sections + s) * 2 + k] = state[s][k][r];
      }
    }
  }
}

template <class T, bool kAdjoint>
void filter(const SosfiltArgs& args) {
  const int64_t tasks = (args.rows + kRows - 1) / kRows;
  const bool small =
      args.rows * args.time * args.sections < 1 << 16;  // under 0.1 ms: not worth a pool
  parallel_for(tasks, small ? 1 : args.threads, filter_rows<T, kAdjoint>,
               const_cast<SosfiltArgs*>(&args));
}

}  // namespace

const BandpassKernels bandpass = {filter<float, false>, filter<double, false>, filter<float, true>,
                                  filter<double, true>};

}  // namespace clmer::CLMER_LEVEL
