// Vectors of the level being compiled: included by <op>_cpu.cpp alone, never by shared code.
//
// Everything sits in the level's namespace and uses no standard template: a std:: function
// instantiated with AVX-512 code here could be the copy that the linker keeps for everybody.
#pragma once

#include <cstdint>

#ifndef CLMER_LEVEL
#error "simd_vec.h is for files compiled once a SIMD level"
#endif

namespace clmer::CLMER_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;  // SSE2 or NEON
#endif

template <class T>
struct Simd;

template <>
struct Simd<float> {
  typedef float Vec __attribute__((vector_size(kVectorBytes), may_alias));
  typedef float Loose __attribute__((vector_size(kVectorBytes), may_alias, aligned(4)));
  typedef int32_t Int __attribute__((vector_size(kVectorBytes), may_alias));
  static constexpr int kLanes = kVectorBytes / 4;
};

template <>
struct Simd<double> {
  typedef double Vec __attribute__((vector_size(kVectorBytes), may_alias));
  typedef double Loose __attribute__((vector_size(kVectorBytes), may_alias, aligned(8)));
  typedef int64_t Int __attribute__((vector_size(kVectorBytes), may_alias));
  static constexpr int kLanes = kVectorBytes / 8;
};

template <class T>
using Vec = typename Simd<T>::Vec;

template <class T>
constexpr int kLanes = Simd<T>::kLanes;

template <class T>
inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::Loose*>(p);
}

template <class T>
inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename Simd<T>::Loose*>(p) = v;
}

template <class T>
inline Vec<T> splat(T value) {
  return value - Vec<T>{};
}

// exp, relative error below 2 ulp. Results near the smallest normal number and below are 0 (the
// processor takes a hundred cycles over a subnormal); overflow is inf, NaN stays NaN.
// x = n ln 2 + r with n = round(x / ln 2) by the magic-number addition; e^r = 1 + r q(r) with q of
// least relative error on |r| <= ln 2 / 2; the exponent is n - 1, so that 2^128 needs no special
// case.
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
  static constexpr float lowest = -86.9f, highest = 88.8f;
  static constexpr int bias = 127, mantissa = 23, terms = 6;  // q is off by 2.6e-9
  static constexpr double q[terms] = {1.0000000505854777,    0.50000004426458235,
                                      0.16666361630787677,   0.041664753354431664,
                                      0.0083792987952635308, 0.0014062332214056825};
};

template <>
struct ExpConstants<double> {
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_hi = 0.693147180369123816490, ln2_lo = 1.90821492927058770002e-10;
  static constexpr double lowest = -708.0, highest = 709.9;
  static constexpr int bias = 1023, mantissa = 52, terms = 11;  // q is off by 1.8e-17
  static constexpr double q[terms] = {
      1.0000000000000005758,     0.50000000000000057416,     0.1666666666665707507,
      0.041666666666571382526,   0.0083333333377951174374,   0.0013888888933128121323,
      0.00019841261390328384301, 0.000024801503513524178716, 2.7564296850984672217e-6,
      2.7626711084646506701e-7,  2.2981412255120463178e-8};
};

template <class T>
inline Vec<T> exp(Vec<T> x) {
  using C = ExpConstants<T>;
  using Int = typename Simd<T>::Int;
  const Vec<T> floored = splat<T>(C::lowest) > x ? splat<T>(C::lowest) : x;  // NaN passes
  const Vec<T> clamped = splat<T>(C::highest) < floored ? splat<T>(C::highest) : floored;
  const Vec<T> shifted = clamped * T(1.4426950408889634) + C::magic;
  const Vec<T> n = shifted - C::magic;
  const Vec<T> r = (clamped - n * C::ln2_hi) - n * C::ln2_lo;
  Vec<T> q = splat<T>(T(C::q[C::terms - 1]));
  for (int i = C::terms - 2; i >= 0; --i) q = q * r + T(C::q[i]);
  const Vec<T> p = q * r + T(1);
  const Int exponent = (Int)shifted - (Int)splat<T>(C::magic) + (C::bias - 1);
  const Vec<T> value = (p + p) * (Vec<T>)(exponent << C::mantissa);
  return x < C::lowest ? Vec<T>{} : value;
}

// Natural logarithm of normal positive numbers, relative error below 2 ulp; elsewhere unspecified.
// x = 2^e f with f in [1/sqrt 2, sqrt 2); ln f = 2 artanh((f - 1) / (f + 1)), a series in the
// square.
template <class T>
inline Vec<T> log(Vec<T> x) {
  using C = ExpConstants<T>;
  using Int = typename Simd<T>::Int;
  constexpr int terms = sizeof(T) == 4 ? 5 : 11;
  const Int bits = (Int)x - (Int)splat<T>(T(0.70710678118654752));
  const Int e = bits >> C::mantissa;
  const Vec<T> f = (Vec<T>)((Int)x - (e << C::mantissa));
  const Vec<T> n = (Vec<T>)(e + (Int)splat<T>(C::magic)) - C::magic;
  const Vec<T> s = (f - T(1)) / (f + T(1));
  const Vec<T> square = s * s;
  Vec<T> p = splat<T>(T(1) / T(2 * terms + 1));
  for (int i = terms - 1; i >= 1; --i) p = p * square + T(1) / T(2 * i + 1);
  const Vec<T> twice = s + s;
  return n * C::ln2_hi + (n * C::ln2_lo + (twice * square * p + twice));
}

template <class T>
inline Vec<T> max(Vec<T> a, Vec<T> b) {
  return a > b ? a : b;  // b where a is NaN
}

template <class T>
inline typename Simd<T>::Int lane_numbers() {
  typename Simd<T>::Int lane;
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
  return lane;
}

// Lanes exchanged `step` apart: with steps of kLanes/2 .. 1 every lane ends up with the reduction.
template <class T>
inline Vec<T> swap_lanes(Vec<T> v, int step) {
#if defined(__clang__)
  Vec<T> swapped;
  for (int i = 0; i < kLanes<T>; ++i) swapped[i] = v[i ^ step];
  return swapped;
#else
  return __builtin_shuffle(v, lane_numbers<T>() ^ step);
#endif
}

template <class T>
inline T reduce_max(Vec<T> v) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2) v = max<T>(v, swap_lanes<T>(v, step));
  return v[0];
}

template <class T>
inline T reduce_sum(Vec<T> v) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2) v = v + swap_lanes<T>(v, step);
  return v[0];
}

// One of the lane-wise choices that a transposition is made of: lanes with bit `step` clear come
// from a, the others from b; `high` takes each pair's second member, else the first.
template <class T>
inline Vec<T> blend_lanes(Vec<T> a, Vec<T> b, int step, bool high) {
#if defined(__clang__)
  Vec<T> mixed;
  for (int i = 0; i < kLanes<T>; ++i) {
    const int from = high ? (i | step) : (i & ~step);
    mixed[i] = i & step ? b[from] : a[from];
  }
  return mixed;
#else
  const auto lane = lane_numbers<T>();
  const auto from = high ? (lane | step) : (lane & ~step);
  return __builtin_shuffle(a, b, from + ((lane & step) != 0 ? lane * 0 + kLanes<T> : lane * 0));
#endif
}

// The matrix of kLanes rows, transposed in place; kHalf leaves out the lower half of the result.
template <class T, bool kHalf>
inline void transpose(Vec<T>* rows) {
  for (int step = kLanes<T> / 2; step > 0; step /= 2) {
    const int last = kHalf && step < kLanes<T> / 2 ? kLanes<T> / 2 : kLanes<T>;
    for (int i = 0; i < last; ++i) {
      if (i & step) continue;
      const Vec<T> a = rows[i], b = rows[i + step];
      rows[i] = blend_lanes<T>(a, b, step, false);
      if (!kHalf || step < kLanes<T> / 2) rows[i + step] = blend_lanes<T>(a, b, step, true);
    }
  }
}

}  // namespace clmer::CLMER_LEVEL
