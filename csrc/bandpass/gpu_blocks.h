// Plan: what the GPU does with time, in functions that a host form runs too
// (testing/bandpass_blocks.cpp). A thread holds a segment of 32 samples in registers, a warp 32
// segments, a block of threads per tile of up to 8 warps. Section by section: every segment is
// filtered from rest in place; a scan over the states that segments leave adds what the earlier
// ones and the tile's start have left, A^n times that, A the section's 2 x 2 transition; then the
// response to its true start is added to every segment, sample after sample. So the joins are those
// of one section at a time, S is any number, x is read once, and no sample takes a table: a double
// that every lane reads from shared memory costs as much time as two multiply-adds with it.
//
// Few long rows fill no GPU with one block of threads per row. There (`split`) every part of a row,
// a few tiles, is first run from rest for the state of all sections that it leaves; one warp per
// row joins these by the cascade's transition over a part, 2S x 2S; then all parts are filtered
// from their true starts.
//
// Poles close together and to 1 (low edges) make A^n large where its effect is small: states are
// joined in a basis in which nothing cancels (Joint), and powers of A are squared in two doubles
// and rounded once.
//
// Nothing here may be contracted (--fmad=false, -ffp-contract=off): it would break the two doubles,
// and host and device would no longer agree bit for bit.
#pragma once

#include "bandpass/gpu_plan.h"
#include "bandpass/step.h"

namespace clmer {
namespace CLMER_LEVEL {

constexpr int kSegment = 32;  // samples of a thread
constexpr int kLanes = 32;
constexpr int kLevels = 5;                              // 2^kLevels samples of a segment, or lanes
constexpr int kSquarings = 2 * kLevels;                 // from a sample to a warp
constexpr int kFew = 4, kJumps = kFew + kLanes / kFew;  // see SectionTable
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
  double of[4];  // by rows
};

// m times `from`, onto what is there.
CLMER_HD Pair advance(const Transition& m, Pair from, Pair onto) {
  return {fused(m.of[0], from.p, fused(m.of[1], from.q, onto.p)),
          fused(m.of[2], from.p, fused(m.of[3], from.q, onto.q))};
}

struct SectionTable {
  Biquad f;
  double sign;                    // of its Joint, as are:
  Transition power[kLevels + 1];  // over 2^k segments; the last is that over a warp
  Transition jump[kJumps];        // over 0 .. 3 segments; behind these, over 0, 4, ... 28
};

// Takes element i of A squared so many times.
CLMER_HD void keep_power(SectionTable& table, int squarings, int i, Wide element) {
  if (squarings >= kLevels) table.power[squarings - kLevels].of[i] = element.hi;
}

// Made of the powers.
CLMER_HD void fill_jump(SectionTable& table, int which) {
  const int segments = which < kFew ? which : (which - kFew) * kFew;
  Pair p = {1, 0}, q = {0, 1};  // the columns
  for (int k = 0; k < kLevels; ++k) {
    if (!(segments >> k & 1)) continue;
    p = advance(table.power[k], p, {0, 0});
    q = advance(table.power[k], q, {0, 0});
  }
  table.jump[which] = {{p.p, q.p, p.q, q.q}};
}

// What `start`, the joint state before a warp's first segment, has become before that of `lane`.
CLMER_HD Pair carried(const SectionTable& table, int lane, Pair start) {
  start = advance(table.jump[kFew + lane / kFew], start, {0, 0});
  return advance(table.jump[lane % kFew], start, {0, 0});
}

// Filters a segment from rest, in place; `kept` is the state behind its sample `length` - 1.
template <bool kAdjoint>
CLMER_HD Pair filter_from_rest(const Biquad& f, double (&v)[kSegment], int length, Pair& kept) {
  Pair z = {0, 0};
  if (length >= kSegment) {
    CLMER_UNROLL
    for (int m = 0; m < kSegment; ++m) v[m] = step<kAdjoint>(f, v[m], z);
    return kept = z;
  }
  CLMER_UNROLL
  for (int m = 0; m < kSegment; ++m) {
    v[m] = step<kAdjoint>(f, v[m], z);
    if (m + 1 == length) kept = z;
  }
  return z;
}

// Adds to a sample the response to the state z before it, and takes z behind it.
template <bool kAdjoint>
CLMER_HD void respond(const Biquad& f, double& sample, Pair& z) {
  if (kAdjoint) {
    sample = fused(f.c1, z.p, fused(f.c2, z.q, sample));
    z = {fused(f.minus_a1, z.p, f.minus_a2 * z.q), z.p};
  } else {
    sample += z.p;
    z = {fused(f.minus_a1, z.p, z.q), f.minus_a2 * z.p};
  }
}

// Adds the response to z to a segment, and to `kept` what is left of z.
template <bool kAdjoint>
CLMER_HD void add_response(const Biquad& f, Pair z, double (&v)[kSegment], int length, Pair& kept) {
  Pair left = z;
  CLMER_UNROLL
  for (int m = 0; m < kSegment; ++m) respond<kAdjoint>(f, v[m], z);
  if (length < kSegment) {
    double none = 0;
    CLMER_KEEP_LOOP
    for (int m = 0; m < length; ++m) respond<kAdjoint>(f, none, left);
  } else {
    left = z;
  }
  kept = {kept.p + left.p, kept.q + left.q};
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

// Element r of the joint state behind a part: `left` by its samples, plus the transition's row r
// times `start`, the state before it.
CLMER_HD double join_element(const double* row, int r, const double* start, double left) {
  CLMER_UNROLL
  for (int c = 0; c < 2 * kSplitSections; ++c) {
    if (c <= (r | 1)) left = fused(row[c], start[c], left);
  }
  return left;
}

}  // namespace CLMER_LEVEL
}  // namespace clmer
