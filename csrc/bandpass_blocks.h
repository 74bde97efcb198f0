// Plan: what the GPU does with time, in functions that a host form runs too (bandpass_blocks.cpp).
// A thread holds a segment of 32 samples in registers, a warp 32 segments, a block of threads a
// tile of up to 8 warps. Section by section: the state that a segment leaves behind when it starts
// from rest is a dot product with a table; a scan over the segments adds what the earlier ones and
// the tile's start have left, A^n times that, A the section's 2 x 2 transition; then every segment
// is filtered from its true start, sample after sample. So the joins are those of one section at a
// time, S is any number, and x is read once.
//
// Few long rows fill no GPU with one block of threads a row. There (`split`) every tile is first
// run from rest for the state of all sections that it leaves; one warp a row joins these by the
// cascade's transition over a tile, 2S x 2S; then all tiles are filtered from their true starts.
//
// Poles close together and to 1 (low edges) make A^n large where its effect is small: states are
// joined in a basis in which nothing cancels (Joint), and powers of A are squared in two doubles
// and rounded once.
//
// Nothing here may be contracted (--fmad=false, -ffp-contract=off): it would break the two doubles,
// and host and device would no longer agree bit for bit.
#pragma once

#include "bandpass_plan.h"
#include "bandpass_step.h"

namespace clmer {
namespace CLMER_LEVEL {

constexpr int kSegment = 32;  // samples of a thread
constexpr int kLanes = 32;
constexpr int kLevels = 5;  // 2^kLevels lanes
constexpr int kMaxWarps = Plan::kMaxWarps;
static_assert(Plan::kWarpSamples == kSegment * kLanes);

// ---- two doubles ------------------------------------------------------------------------------
struct Wide {
  double hi, lo;
};

CLMER_HD Wide exact_sum(double a, double b) {
  const double s = a + b, v = s - a;
  return {s, (a - (s - v)) + (b - v)};
}

CLMER_HD Wide multiply_add(Wide a, Wide b, Wide c) {
  const double p = a.hi * b.hi;
  const double rest = fused(a.hi, b.lo, fused(a.lo, b.hi, fused(a.hi, b.hi, -p)));
  const Wide s = exact_sum(p, c.hi);
  return exact_sum(s.hi, s.lo + (rest + c.lo));
}

// Element (r, c) of the square of an n x n matrix whose element (r, k) is zero for k > r | 1.
CLMER_HD Wide square_element(const Wide* m, int n, int r, int c) {
  Wide sum = {0, 0};
  for (int k = c & ~1; k <= (r | 1); ++k) sum = multiply_add(m[r * n + k], m[k * n + c], sum);
  return sum;
}

// ---- one section over a segment ---------------------------------------------------------------
// z0, z1 forwards; l0, l1 in the adjoint.
struct Pair {
  double p, q;
};

template <bool kAdjoint>
CLMER_HD double step(const Biquad& f, double v, Pair& z) {
  return kAdjoint ? adjoint_step(f, v, z.p, z.q) : forward_step(f, v, z.p, z.q);
}

// A section in the basis of its joins. For poles near sign = +-1, z1 and -sign z0 nearly cancel,
// and only their sum stays small: u = z0 and w = z1 + sign z0, so that A is near [1 1; 0 1] there,
// and A^n near [1 n; 0 1]. The adjoint has l0 near sign l1: u = l0 and w = l0 - sign l1.
struct Joint {
  double sign;
  Wide step[4];        // A in this basis, by rows
  Pair input, output;  // by x in (u, w); by (u, w) in y
};

template <bool kAdjoint>
CLMER_HD Joint joint(const Biquad& f) {
  const double sign = f.minus_a1 >= 0 ? 1 : -1;
  const Wide at_sign = exact_sum(fused(sign, f.minus_a1, -1.0), f.minus_a2);  // -(1 + sign a1 + a2)
  if (!kAdjoint) {
    return {sign,
            {exact_sum(f.minus_a1, -sign), {1, 0}, at_sign, {sign, 0}},
            {f.c1, fused(sign, f.c1, f.c2)},
            {1, 0}};
  }
  const Wide to_w = {-sign * f.minus_a2, 0};
  return {sign,
          {exact_sum(f.minus_a1, sign * f.minus_a2),
           to_w,
           {sign * at_sign.hi, sign * at_sign.lo},
           to_w},
          {1, 1},
          {fused(sign, f.c2, f.c1), -sign * f.c2}};
}

template <bool kAdjoint>
CLMER_HD Pair to_joint(double sign, Pair z) {
  return {z.p, kAdjoint ? fused(-sign, z.q, z.p) : fused(sign, z.p, z.q)};
}

template <bool kAdjoint>
CLMER_HD Pair from_joint(double sign, Pair j) {
  return {j.p, kAdjoint ? sign * (j.p - j.q) : fused(-sign, j.p, j.q)};
}

struct Transition {
  double uu, uw, wu, ww;
};

// m times `from`, onto what is there.
CLMER_HD Pair advance(const Transition& m, Pair from, Pair onto) {
  return {fused(m.uu, from.p, fused(m.uw, from.q, onto.p)),
          fused(m.wu, from.p, fused(m.ww, from.q, onto.q))};
}

CLMER_HD Transition rounded(const Wide (&m)[4]) { return {m[0].hi, m[1].hi, m[2].hi, m[3].hi}; }

struct SectionTable {
  Biquad f;
  double sign;                    // of its Joint, as are:
  Pair left[kSegment];            // in the state at a segment's end by a 1 at its sample m
  Transition power[kLevels + 1];  // over 2^k segments; the last is that over a warp
};

template <bool kAdjoint>
CLMER_HD void fill_table(const double* row, SectionTable& table) {
  table.f = biquad(row);
  Joint own = joint<kAdjoint>(table.f);
  Wide(&m)[4] = own.step;
  table.sign = own.sign;
  const Transition one = rounded(m);
  Pair left = own.input;
  for (int at = kSegment - 1; at >= 0; --at) {
    table.left[at] = left;
    left = advance(one, left, {0, 0});
  }
  for (int k = 0; k <= 2 * kLevels; ++k) {
    if (k >= kLevels) table.power[k - kLevels] = rounded(m);
    const Wide squared[4] = {square_element(m, 2, 0, 0), square_element(m, 2, 0, 1),
                             square_element(m, 2, 1, 0), square_element(m, 2, 1, 1)};
    for (int i = 0; i < 4; ++i) m[i] = squared[i];
  }
}

// The joint state behind a segment that starts from rest: two chains, which overlap.
CLMER_HD Pair end_from_rest(const SectionTable& table, const double (&v)[kSegment]) {
  Pair even = {0, 0}, odd = {0, 0};
#pragma unroll
  for (int m = 0; m < kSegment; m += 2) {
    const Pair a = table.left[m], b = table.left[m + 1];
    even = {fused(a.p, v[m], even.p), fused(a.q, v[m], even.q)};
    odd = {fused(b.p, v[m + 1], odd.p), fused(b.q, v[m + 1], odd.q)};
  }
  return {even.p + odd.p, even.q + odd.q};
}

// What `start`, the joint state before a warp's first segment, has become before that of `lane`.
CLMER_HD Pair carried(const SectionTable& table, int lane, Pair start) {
#pragma unroll
  for (int k = 0; k < kLevels; ++k) {
    if (lane >> k & 1) start = advance(table.power[k], start, {0, 0});
  }
  return start;
}

// Filters a segment in place from z and returns the state behind its sample `length` - 1.
template <bool kAdjoint>
CLMER_HD Pair filter_segment(const Biquad& f, Pair z, double (&v)[kSegment], int length) {
  if (length >= kSegment) {
#pragma unroll
    for (int m = 0; m < kSegment; ++m) v[m] = step<kAdjoint>(f, v[m], z);
    return z;
  }
  Pair kept = z;
#pragma unroll
  for (int m = 0; m < kSegment; ++m) {
    v[m] = step<kAdjoint>(f, v[m], z);
    if (m + 1 == length) kept = z;
  }
  return kept;
}

// ---- the cascade over a tile ------------------------------------------------------------------
// States stand in the order in which sections are passed: the adjoint takes the last one first.
template <bool kAdjoint>
CLMER_HD int section_at(int k, int sections) {
  return kAdjoint ? sections - 1 - k : k;
}

// Element (r, c) of the transition over one sample, in the sections' joints: what a 1 in c leaves
// in r.
template <bool kAdjoint>
CLMER_HD Wide transition_element(const double* sos, int sections, int r, int c) {
  const auto at = [&](int k) {
    return joint<kAdjoint>(biquad(sos + 6 * section_at<kAdjoint>(k, sections)));
  };
  if (r / 2 < c / 2) return {0, 0};
  const Joint from = at(c / 2);
  if (r / 2 == c / 2) return from.step[r % 2 * 2 + c % 2];
  double v = c % 2 == 0 ? from.output.p : from.output.q;
  for (int k = c / 2 + 1; k < r / 2; ++k) v *= sos[6 * section_at<kAdjoint>(k, sections)];
  const Pair input = at(r / 2).input;
  return {v * (r % 2 == 0 ? input.p : input.q), 0};
}

// Element r of the joint state behind a tile: `left` by its samples, plus the transition's row r
// times `start`, the state before it.
CLMER_HD double join_element(const double* row, int r, const double* start, double left) {
  for (int c = 0; c <= (r | 1); ++c) left = fused(row[c], start[c], left);
  return left;
}

}  // namespace CLMER_LEVEL
}  // namespace clmer
