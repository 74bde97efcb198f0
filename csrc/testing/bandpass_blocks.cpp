// The GPU's algorithm (bandpass/gpu_blocks.h) with loops in place of lanes, warps and blocks, in
// the same order of operations: tests hold it against the sequential kernels and long double, and
// the GPU against it, bit for bit.
#define CLMER_LEVEL scalar
#define CLMER_SCALAR
#include "bandpass/gpu_blocks.h"

#include <algorithm>
#include <vector>

#include "testing/forms.h"

namespace clmer {

namespace {

using namespace scalar;

using Segment = double[kSegment];

// A row's samples in the order in which they are filtered.
template <class T, bool kAdjoint>
struct Row {
  const T* x;
  T* y;
  int64_t time;

  int64_t at(int64_t i) const { return kAdjoint ? time - 1 - i : i; }
  double load(int64_t i) const { return static_cast<double>(x[at(i)]); }
  void store(int64_t i, double v) const { y[at(i)] = static_cast<T>(v); }
};

template <bool kAdjoint>
void fill_table(const double* row, SectionTable& table) {
  table.f = biquad(row);
  Joint own = joint<kAdjoint>(table.f);
  table.sign = own.sign;
  for (int squarings = 0; squarings <= kSquarings; ++squarings) {
    Wide squared[4];
    for (int i = 0; i < 4; ++i) {
      keep_power(table, squarings, i, own.step[i]);
      squared[i] = square_element(own.step, 2, i / 2, i % 2);
    }
    std::copy_n(squared, 4, own.step);
  }
  for (int which = 0; which < kJumps; ++which) fill_jump(table, which);
}

// Section `k` over a tile of segments [warps * lanes]; returns the state behind `count` samples.
template <bool kAdjoint>
Pair filter_tile(const SectionTable& table, Pair before, std::vector<Segment>& v, int64_t count) {
  const auto length = [&](size_t i) {
    return static_cast<int>(
        std::min<int64_t>(kSegment, count - static_cast<int64_t>(i) * kSegment));
  };
  std::vector<Pair> sum(v.size()), kept(v.size());
  for (size_t i = 0; i < v.size(); ++i) {
    const Pair behind = filter_from_rest<kAdjoint>(table.f, v[i], length(i), kept[i]);
    sum[i] = to_joint<kAdjoint>(table.sign, behind);
  }
  for (size_t warp = 0; warp < v.size(); warp += kLanes) {
    for (int k = 0; k < kLevels; ++k) {
      for (int lane = kLanes - 1; lane >= 1 << k; --lane) {
        Pair& own = sum[warp + lane];
        own = advance(table.power[k], sum[warp + lane - (1 << k)], own);
      }
    }
  }
  Pair end = before;
  before = to_joint<kAdjoint>(table.sign, before);
  for (size_t i = 0; i < v.size(); ++i) {
    const int lane = static_cast<int>(i % kLanes);
    if (lane == 0 && i > 0) before = advance(table.power[kLevels], before, sum[i - 1]);
    Pair start = carried(table, lane, before);
    if (lane > 0) start = {start.p + sum[i - 1].p, start.q + sum[i - 1].q};
    start = from_joint<kAdjoint>(table.sign, start);
    add_response<kAdjoint>(table.f, start, v[i], length(i), kept[i]);
    if (length(i) > 0) end = kept[i];
  }
  return end;
}

// Samples [begin, begin + count) of a row, at most a tile, from `state` [S] in the order of
// passing, brought up to date.
template <class T, bool kAdjoint>
void filter_cascade(const Row<T, kAdjoint>& row, int64_t begin, int64_t count,
                    const std::vector<SectionTable>& tables, std::vector<Pair>& state,
                    std::vector<Segment>& v, bool writes) {
  for (size_t i = 0; i < v.size() * kSegment; ++i) {
    const auto m = static_cast<int64_t>(i);
    v[i / kSegment][i % kSegment] = m < count ? row.load(begin + m) : 0;
  }
  for (size_t k = 0; k < tables.size(); ++k) {
    state[k] = filter_tile<kAdjoint>(tables[k], state[k], v, count);
  }
  for (int64_t m = 0; writes && m < count; ++m) {
    row.store(begin + m, v[m / kSegment][m % kSegment]);
  }
}

template <class T, bool kAdjoint>
void filter_sequential(const Row<T, kAdjoint>& row, const std::vector<SectionTable>& tables,
                       std::vector<Pair>& state) {
  for (int64_t i = 0; i < row.time; ++i) {
    double v = row.load(i);
    for (size_t k = 0; k < tables.size(); ++k) v = step<kAdjoint>(tables[k].f, v, state[k]);
    row.store(i, v);
  }
}

template <bool kAdjoint>
void fill_transition(const double* sos, int sections, int64_t length, double* transition) {
  const int n = 2 * sections;
  std::vector<Wide> m(n * n), squared(n * n);
  for (int i = 0; i < n * n; ++i) {
    m[i] = transition_element<kAdjoint>(sos, sections, i / n, i % n);
  }
  for (int64_t samples = 1; samples < length; samples *= 2) {
    for (int i = 0; i < n * n; ++i) squared[i] = square_element(m.data(), n, i / n, i % n);
    m.swap(squared);
  }
  for (int i = 0; i < n * n; ++i) transition[i] = m[i].hi;
}

// Tiles of samples [begin, stop) of a row, one after the other.
template <class T, bool kAdjoint>
void filter_tiles(const Row<T, kAdjoint>& row, const Plan& plan, int64_t begin, int64_t stop,
                  const std::vector<SectionTable>& tables, std::vector<Pair>& state,
                  std::vector<Segment>& v, bool writes) {
  for (; begin < stop; begin += plan.tile()) {
    filter_cascade(row, begin, std::min(plan.tile(), stop - begin), tables, state, v, writes);
  }
}

// From rest over every part, then the joins; leaves the parts' true starts in `starts`
// [parts, S], in the order of passing.
template <class T, bool kAdjoint>
void find_starts(const Row<T, kAdjoint>& row, const Plan& plan,
                 const std::vector<SectionTable>& tables, const std::vector<Pair>& state,
                 const double* transition, std::vector<Segment>& v, Pair* starts) {
  const int sections = static_cast<int>(tables.size()), n = 2 * sections;
  std::vector<double> now(n), next(n);
  for (int k = 0; k < sections; ++k) {
    const Pair z = to_joint<kAdjoint>(tables[k].sign, state[k]);
    now[2 * k] = z.p;
    now[2 * k + 1] = z.q;
  }
  for (int64_t part = 0; part < plan.parts(); ++part) {
    std::vector<Pair> left(sections, Pair{0, 0});
    const int64_t begin = part * plan.part(), stop = std::min(begin + plan.part(), row.time);
    filter_tiles(row, plan, begin, stop, tables, left, v, false);
    for (int k = 0; k < sections; ++k) {
      starts[part * sections + k] =
          from_joint<kAdjoint>(tables[k].sign, {now[2 * k], now[2 * k + 1]});
    }
    for (int r = 0; r < n; ++r) {
      const Pair own = to_joint<kAdjoint>(tables[r / 2].sign, left[r / 2]);
      next[r] = join_element(transition + r * n, r, now.data(), r % 2 == 0 ? own.p : own.q);
    }
    now.swap(next);
  }
}

template <class T, bool kAdjoint>
void filter(const SosfiltArgs& a, const Plan& plan, double* scratch) {
  const int sections = static_cast<int>(a.sections);
  std::vector<SectionTable> tables(sections);
  for (int k = 0; k < sections; ++k) {
    fill_table<kAdjoint>(a.sos + 6 * section_at<kAdjoint>(k, sections), tables[k]);
  }
  std::vector<Segment> v(plan.warps * kLanes);
  std::vector<Pair> state(sections);
  double* transition = nullptr;
  if (plan.form == Form::split) {
    transition = scratch + a.rows * plan.parts() * 2 * sections;
    fill_transition<kAdjoint>(a.sos, sections, plan.part(), transition);
  }
  for (int64_t r = 0; r < a.rows; ++r) {
    const Row<T, kAdjoint> row = {static_cast<const T*>(a.x.data) + r * a.time,
                                  static_cast<T*>(a.y.data) + r * a.time, a.time};
    for (int k = 0; k < sections; ++k) {
      const double* z = a.state.data + 2 * (r * sections + section_at<kAdjoint>(k, sections));
      state[k] = {z[0], z[1]};
    }
    Pair* starts = reinterpret_cast<Pair*>(scratch) + r * plan.parts() * sections;
    if (plan.form == Form::split) {
      find_starts(row, plan, tables, state, transition, v, starts);
    }
    if (plan.form == Form::sequential) {
      filter_sequential(row, tables, state);
    } else {
      const int64_t length = plan.form == Form::split ? plan.part() : row.time;
      for (int64_t part = 0; part < plan.parts(); ++part) {
        if (plan.form == Form::split) {
          std::copy_n(starts + part * sections, sections, state.begin());
        }
        const int64_t begin = part * length, stop = std::min(begin + length, row.time);
        filter_tiles(row, plan, begin, stop, tables, state, v, true);
      }
    }
    for (int k = 0; k < sections; ++k) {
      double* z = a.state_out.data + 2 * (r * sections + section_at<kAdjoint>(k, sections));
      z[0] = state[k].p;
      z[1] = state[k].q;
    }
  }
}

}  // namespace

void sosfilt_blocked(const SosfiltArgs& args, bool adjoint, const Plan& plan, double* scratch) {
  if (args.x.type == Sample::f64) {
    adjoint ? filter<double, true>(args, plan, scratch)
            : filter<double, false>(args, plan, scratch);
  } else {
    adjoint ? filter<float, true>(args, plan, scratch) : filter<float, false>(args, plan, scratch);
  }
}

}  // namespace clmer
