// A task's rows, their samples to and from a tile of doubles [samples, width], their states. One
// vector of a tile holds one sample of kWide rows. Compiled once per SIMD level.
#pragma once

#include "bandpass/args.h"

#include "common/simd_vec.h"

namespace clmer::CLMER_LEVEL {

namespace {

using V = Vec<double>;
constexpr int kWide = kLanes<double>;
constexpr int kMaxWidth = 128;      // rows of a tile
constexpr int kTileDoubles = 2048;  // half of a first-level cache of 32 KiB

// The rows that the lanes of a tile stand for. Whole vectors only: where rows do not fill the last
// one it starts earlier and repeats rows that it shares with the one before (or, of fewer rows than
// a vector has, the last row). Both copies hold the same bits, so writing both is harmless.
struct Lanes {
  int64_t first;
  int rows, width;

  Lanes(int64_t first, int rows)
      : first(first), rows(rows), width((rows + kWide - 1) / kWide * kWide) {}
  int64_t row(int lane) const {
    const int spare = rows >= kWide && lane >= width - kWide ? width - rows : 0;
    return first + (lane - spare < rows ? lane - spare : rows - 1);
  }
};

// Where each lane's elements start, in elements from the operand's first one.
struct Offsets {
  int64_t at[kMaxWidth];
  bool vector[kMaxWidth / kWide];  // the lanes of this vector are neighbours in memory
  bool side_by_side = true;        // all lanes are

  Offsets(const SosfiltArgs& a, const int64_t* strides, const Lanes& lanes) {
    int g = 0;
    do {
      const int64_t first = lanes.row(g);
      const bool in_turn = lanes.row(g + kWide - 1) == first + kWide - 1;
      bool neighbours = in_turn && strides[0] == 1;
      if (in_turn && a.row_dims == 1) {
        for (int i = 0; i < kWide; ++i) at[g + i] = (first + i) * strides[0];
      } else {
        neighbours = true;
        for (int i = 0; i < kWide; ++i) {
          at[g + i] = offset(a, strides, in_turn ? first + i : lanes.row(g + i));
          neighbours &= at[g + i] == at[g] + i;
        }
      }
      vector[g / kWide] = neighbours;
      side_by_side &= neighbours && at[g] == at[0] + g;
      g += kWide;
    } while (g < lanes.width);
  }

 private:
  static int64_t offset(const SosfiltArgs& a, const int64_t* strides, int64_t row) {
    int64_t offset = 0;
    for (int d = a.row_dims - 1; d > 0; --d) {
      offset += row % a.row_sizes[d] * strides[d];
      row /= a.row_sizes[d];
    }
    return offset + row * strides[0];
  }
};

// kWide neighbours in memory, in doubles.
template <class X>
struct Neighbours {
  typedef X Loose __attribute__((vector_size(kWide * sizeof(X)), may_alias, aligned(alignof(X))));
};
template <class X>
inline V load_wide(const X* p) {
  return __builtin_convertvector(*reinterpret_cast<const typename Neighbours<X>::Loose*>(p), V);
}
template <class Y>
inline void store_wide(Y* p, V v) {
  typedef typename Neighbours<Y>::Loose Loose;
  *reinterpret_cast<Loose*>(p) = __builtin_convertvector(v, Loose);
}

// One vector of rows whose samples are neighbours, in either direction: kWide x kWide blocks, the
// last of which may overlap the one before. A row's run in a tile is too short for the processor to
// foresee the next one, which the prefetches ask for: a fifth of the time on data larger than the
// caches.
template <int kStep, class X>
void read_transposed(const X* x, const int64_t* at, int count, double scale, double* tile,
                     int width) {
  for (int t = 0; t < count; t += kWide) {
    const int start = t + kWide <= count ? t : count - kWide;
    const X* from = x + (kStep == 1 ? start : -(start + kWide - 1));
    V block[kWide];
#pragma GCC unroll 8
    for (int i = 0; i < kWide; ++i) {
      block[i] = load_wide(from + at[i]) * scale;
      __builtin_prefetch(from + at[i] + kStep * count);
    }
    transpose<double, false>(block);
#pragma GCC unroll 8
    for (int i = 0; i < kWide; ++i) {
      store(tile + (start + (kStep == 1 ? i : kWide - 1 - i)) * width, block[i]);
    }
  }
}

template <int kStep, class Y>
void write_transposed(const double* tile, int width, const int64_t* at, int count, Y* y) {
  for (int t = 0; t < count; t += kWide) {
    const int start = t + kWide <= count ? t : count - kWide;
    Y* to = y + (kStep == 1 ? start : -(start + kWide - 1));
    V block[kWide];
#pragma GCC unroll 8
    for (int i = 0; i < kWide; ++i) {
      block[i] = load(tile + (start + (kStep == 1 ? i : kWide - 1 - i)) * width);
    }
    transpose<double, false>(block);
#pragma GCC unroll 8
    for (int i = 0; i < kWide; ++i) {
      store_wide(to + at[i], block[i]);
      __builtin_prefetch(to + at[i] + kStep * count, 1);
    }
  }
}

// Samples [start, start + count) of all lanes into the tile.
template <class X>
void read_tile(const SosfiltArgs& a, const Offsets& o, int64_t start, int count, double* tile,
               int width) {
  const int64_t step = a.x.time;
  const X* x = static_cast<const X*>(a.x.data) + start * step;
  if (o.side_by_side) {
    for (int t = 0; t < count; ++t) {
      const X* at = x + o.at[0] + t * step;
      for (int g = 0; g < width; g += kWide)
        store(tile + t * width + g, load_wide(at + g) * a.scale);
    }
    return;
  }
  for (int g = 0; g < width; g += kWide) {
    const int64_t* at = o.at + g;
    double* to = tile + g;
    if (o.vector[g / kWide]) {
      for (int t = 0; t < count; ++t) {
        store(to + t * width, load_wide(x + at[0] + t * step) * a.scale);
      }
    } else if (step == 1 && count >= kWide) {
      read_transposed<1>(x, at, count, a.scale, to, width);
    } else if (step == -1 && count >= kWide) {
      read_transposed<-1>(x, at, count, a.scale, to, width);
    } else {
      for (int t = 0; t < count; ++t) {
        for (int i = 0; i < kWide; ++i) to[t * width + i] = double(x[at[i] + t * step]) * a.scale;
      }
    }
  }
}

template <class Y>
void write_tile(const SosfiltArgs& a, const Offsets& o, int64_t start, int count,
                const double* tile, int width) {
  const int64_t step = a.y.time;
  Y* y = static_cast<Y*>(a.y.data) + start * step;
  if (o.side_by_side) {
    for (int t = 0; t < count; ++t) {
      Y* at = y + o.at[0] + t * step;
      for (int g = 0; g < width; g += kWide) store_wide(at + g, load(tile + t * width + g));
    }
    return;
  }
  for (int g = 0; g < width; g += kWide) {
    const int64_t* at = o.at + g;
    const double* from = tile + g;
    if (o.vector[g / kWide]) {
      for (int t = 0; t < count; ++t) store_wide(y + at[0] + t * step, load(from + t * width));
    } else if (step == 1 && count >= kWide) {
      write_transposed<1>(from, width, at, count, y);
    } else if (step == -1 && count >= kWide) {
      write_transposed<-1>(from, width, at, count, y);
    } else {
      for (int t = 0; t < count; ++t) {
        for (int i = 0; i < kWide; ++i) y[at[i] + t * step] = static_cast<Y>(from[t * width + i]);
      }
    }
  }
}

// The forms for the types at hand: looked up once per task, called once per tile.
using Reader = void (*)(const SosfiltArgs&, const Offsets&, int64_t, int, double*, int);
using Writer = void (*)(const SosfiltArgs&, const Offsets&, int64_t, int, const double*, int);

inline Reader reader(Sample type) {
  switch (type) {
    case Sample::f32: return read_tile<float>;
    case Sample::i16: return read_tile<int16_t>;
    case Sample::i32: return read_tile<int32_t>;
    case Sample::f64: break;
  }
  return read_tile<double>;
}

inline Writer writer(Sample type) {
  return type == Sample::f32 ? write_tile<float> : write_tile<double>;
}

// state [sections, 2, width]
inline void load_states(const SosfiltArgs& a, const Offsets& o, int width, double* state) {
  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k, state += width) {
      const double* from = a.state.data + s * a.state.section + k * a.state.z;
      for (int g = 0; g < width; g += kWide) {
        if (o.vector[g / kWide]) {
          store(state + g, load(from + o.at[g]));
        } else {
          for (int i = g; i < g + kWide; ++i) state[i] = from[o.at[i]];
        }
      }
    }
  }
}

inline void save_states(const SosfiltArgs& a, const Offsets& o, int width, const double* state) {
  for (int64_t s = 0; s < a.sections; ++s) {
    for (int k = 0; k < 2; ++k, state += width) {
      double* to = a.state_out.data + s * a.state_out.section + k * a.state_out.z;
      for (int g = 0; g < width; g += kWide) {
        if (o.vector[g / kWide]) {
          store(to + o.at[g], load(state + g));
        } else {
          for (int i = g; i < g + kWide; ++i) to[o.at[i]] = state[i];
        }
      }
    }
  }
}

}  // namespace

}  // namespace clmer::CLMER_LEVEL
