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

// exp, relative error below 2 ulp; exp(-inf) = 0, exp(x > max) = inf, NaN stays NaN.
// x = n ln 2 + r with n = round(x / ln 2) by the magic-number addition, a Taylor polynomial in
// |r| <= ln 2 / 2 and an exponent built from n in two factors, so that neither overflows early.
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
  static constexpr float lowest = -104.0f, highest = 88.8f;
  static constexpr int bias = 127, mantissa = 23, degree = 7;
};

template <>
struct ExpConstants<double> {
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_hi = 0.693147180369123816490, ln2_lo = 1.90821492927058770002e-10;
  static constexpr double lowest = -746.0, highest = 709.9;
  static constexpr int bias = 1023, mantissa = 52, degree = 13;
};

constexpr double kInverseFactorial[] = {1.0,
                                        1.0,
                                        1.0 / 2,
                                        1.0 / 6,
                                        1.0 / 24,
                                        1.0 / 120,
                                        1.0 / 720,
                                        1.0 / 5040,
                                        1.0 / 40320,
                                        1.0 / 362880,
                                        1.0 / 3628800,
                                        1.0 / 39916800,
                                        1.0 / 479001600,
                                        1.0 / 6227020800.0};

template <class T>
inline Vec<T> exp(Vec<T> x) {
  using C = ExpConstants<T>;
  using Int = typename Simd<T>::Int;
  const Vec<T> clamped = x < C::lowest ? splat<T>(C::lowest) : x > C::highest ? splat<T>(C::highest) : x;
  const Vec<T> shifted = clamped * T(1.4426950408889634) + C::magic;
  const Vec<T> n = shifted - C::magic;
  const Vec<T> r = (clamped - n * C::ln2_hi) - n * C::ln2_lo;
  Vec<T> p = splat<T>(T(kInverseFactorial[C::degree]));
  for (int i = C::degree - 1; i >= 0; --i) p = p * r + T(kInverseFactorial[i]);
  const Int k = (Int)shifted - (Int)splat<T>(C::magic);
  const Int half = k >> 1;
  const Vec<T> low = (Vec<T>)((half + C::bias) << C::mantissa);
  const Vec<T> high = (Vec<T>)((k - half + C::bias) << C::mantissa);
  return x == x ? p * low * high : x;
}

// Natural logarithm of normal positive numbers, relative error below 2 ulp; elsewhere unspecified.
// x = 2^e f with f in [1/sqrt 2, sqrt 2); ln f = 2 artanh((f - 1) / (f + 1)), a series in the square.
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

}  // namespace clmer::CLMER_LEVEL
