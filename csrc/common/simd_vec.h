// Vectors of the level being compiled: included by <op>/cpu_*.{h,cpp} alone, never by shared code.
//
// Everything sits in the level's namespace and uses no standard template: a std:: function
// instantiated with AVX-512 code here could be the copy that the linker keeps for everybody.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef CLMER_LEVEL
#error "simd_vec.h is for files compiled once per SIMD level"
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

// The first `count` lanes: nothing beyond them is read (zeros stand there) or written.
template <class T>
class FirstLanes {
 public:
  explicit FirstLanes(int64_t count) : count_(int(count < kLanes<T> ? count : kLanes<T>)) {}
  Vec<T> load(const T* p) const {
    T few[kLanes<T>] = {};
    for (int i = 0; i < count_; ++i) few[i] = p[i];
    return CLMER_LEVEL::load(few);
  }
  void store(T* p, Vec<T> v) const {
    for (int i = 0; i < count_; ++i) p[i] = v[i];
  }

 private:
  int count_;
};

#if defined(__AVX512F__)
template <>
class FirstLanes<float> {
 public:
  explicit FirstLanes(int64_t count) : mask_(__mmask16(count < 16 ? (1u << count) - 1 : ~0u)) {}
  Vec<float> load(const float* p) const { return (Vec<float>)_mm512_maskz_loadu_ps(mask_, p); }
  void store(float* p, Vec<float> v) const {
    // Half a vector, as of heads of 8 features: a plain store takes a fraction of a masked one.
    if (mask_ == 0xff) {
      __builtin_memcpy(p, &v, kVectorBytes / 2);
      return;
    }
    _mm512_mask_storeu_ps(p, mask_, (__m512)v);
  }

 private:
  __mmask16 mask_;
};

template <>
class FirstLanes<double> {
 public:
  explicit FirstLanes(int64_t count) : mask_(__mmask8(count < 8 ? (1u << count) - 1 : ~0u)) {}
  Vec<double> load(const double* p) const { return (Vec<double>)_mm512_maskz_loadu_pd(mask_, p); }
  void store(double* p, Vec<double> v) const { _mm512_mask_storeu_pd(p, mask_, (__m512d)v); }

 private:
  __mmask8 mask_;
};
#elif defined(__AVX2__)
template <>
class FirstLanes<float> {
 public:
  explicit FirstLanes(int64_t count)
      : mask_(_mm256_cmpgt_epi32(_mm256_set1_epi32(int(count < 8 ? count : 8)),
                                 _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))) {}
  Vec<float> load(const float* p) const { return (Vec<float>)_mm256_maskload_ps(p, mask_); }
  void store(float* p, Vec<float> v) const { _mm256_maskstore_ps(p, mask_, (__m256)v); }

 private:
  __m256i mask_;
};

template <>
class FirstLanes<double> {
 public:
  explicit FirstLanes(int64_t count)
      : mask_(_mm256_cmpgt_epi64(_mm256_set1_epi64x(count < 4 ? count : 4),
                                 _mm256_setr_epi64x(0, 1, 2, 3))) {}
  Vec<double> load(const double* p) const { return (Vec<double>)_mm256_maskload_pd(p, mask_); }
  void store(double* p, Vec<double> v) const { _mm256_maskstore_pd(p, mask_, (__m256d)v); }

 private:
  __m256i mask_;
};
#endif

// a b + c, rounded once where the level can (kFused): spelled out, since a compiler fuses what it
// likes, and nothing below -O2. Elsewhere the product is rounded too.
#if defined(__AVX512F__)
constexpr bool kFused = true;
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
  return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined(__AVX2__) && defined(__FMA__)
constexpr bool kFused = true;
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
  return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#elif defined(__aarch64__)
constexpr bool kFused = true;
inline Vec<float> fused(Vec<float> a, Vec<float> b, Vec<float> c) {
  return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
inline Vec<double> fused(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
constexpr bool kFused = false;
template <class V>
inline V fused(V a, V b, V c) {
  return a * b + c;
}
#endif

// exp for x up to 88 (double: 709). Relative error in units of eps: below 1.5 + |x| / 40 for float
// (fused multiply-add; 2 without), below 2 for double. Results near the smallest normal number and
// below are 0 (the processor takes a hundred cycles over a subnormal); NaN stays NaN; beyond 88 the
// result is unspecified.
// x = n ln 2 + r with n = round(x / ln 2): the magic number leaves n + bias in the low bits of the
// sum, one shift away from 2^n. e^r = 1 + r q(r), q of least relative error on |r| <= ln 2 / 2.
template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float magic = 12582912.0f + 127;  // 1.5 * 2^23 + bias
  static constexpr float ln2_hi = 0.693359375f, ln2_lo = -2.12194440e-4f;
  static constexpr bool split = !kFused;  // fused, the product is exact: n * 1.9e-9 is lost
  static constexpr float lowest = -86.9f;
  static constexpr int mantissa = 23, terms = 5;  // 1 + r q(r) is off by 9.1e-8, relatively
  static constexpr double q[terms] = {0.99999970721842733579, 0.49999149519816660238,
                                      0.16667636130205956629, 0.041897930320810564575,
                                      0.0082903182003367523171};
};

template <>
struct ExpConstants<double> {
  static constexpr double magic = 6755399441055744.0 + 1023;  // 1.5 * 2^52 + bias
  static constexpr double ln2_hi = 0.693147180369123816490, ln2_lo = 1.90821492927058770002e-10;
  static constexpr bool split = true;
  static constexpr double lowest = -707.9;
  static constexpr int mantissa = 52, terms = 11;  // q is off by 1.8e-17
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
  const Vec<T> shifted = fused(x, splat(T(1.4426950408889634)), splat(C::magic));
  const Vec<T> n = shifted - C::magic;
  const Vec<T> r = C::split ? fused(n, splat(-C::ln2_lo), fused(n, splat(-C::ln2_hi), x))
                            : fused(n, splat(T(-0.69314718055994530942)), x);
  Vec<T> q = splat<T>(T(C::q[C::terms - 1]));
  for (int i = C::terms - 2; i >= 0; --i) q = fused(q, r, splat(T(C::q[i])));
  const Vec<T> value = fused(q, r, splat(T(1))) * (Vec<T>)((Int)shifted << C::mantissa);
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
  for (int i = terms - 1; i >= 1; --i) p = fused(p, square, splat(T(1) / T(2 * i + 1)));
  const Vec<T> twice = s + s;
  const Vec<T> rest = fused(n, splat(C::ln2_lo), fused(twice * square, p, twice));
  return fused(n, splat(C::ln2_hi), rest);
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

// Up to kLanes bytes: a copy of constant length where it can be one.
template <class T>
inline void copy_lane_bytes(const uint8_t* from, int64_t count, uint8_t* to) {
  if (count >= kLanes<T>) {
    __builtin_memcpy(to, from, kLanes<T>);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  }
}

// -1 in the lanes whose byte is not zero.
template <class T>
inline typename Simd<T>::Int lanes_set(const uint8_t* bytes) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes<T>)));
  Bytes loaded;
  __builtin_memcpy(&loaded, bytes, kLanes<T>);
  return __builtin_convertvector(loaded, typename Simd<T>::Int) != 0;
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
template <class T, bool kHalf, int kStep = kLanes<T> / 2>
inline __attribute__((always_inline)) void transpose(Vec<T>* rows) {
  if constexpr (kStep > 0) {
    constexpr bool kSkip = kHalf && kStep < kLanes<T> / 2;
#pragma GCC unroll 16
    for (int i = 0; i < (kSkip ? kLanes<T> / 2 : kLanes<T>); ++i) {
      if (i & kStep) continue;
      const Vec<T> a = rows[i], b = rows[i + kStep];
      rows[i] = blend_lanes<T>(a, b, kStep, false);
      if (!kHalf || kSkip) rows[i + kStep] = blend_lanes<T>(a, b, kStep, true);
    }
    transpose<T, kHalf, kStep / 2>(rows);
  }
}

// The sums of kLanes vectors, one a lane: the network of the transposition, adding what it pairs.
template <class T, int kStep = kLanes<T> / 2>
inline __attribute__((always_inline)) Vec<T> reduce_rows(Vec<T>* rows) {
  if constexpr (kStep > 0) {
#pragma GCC unroll 8
    for (int i = 0; i < kStep; ++i) {
      const Vec<T> a = rows[i], b = rows[i + kStep];
      rows[i] = blend_lanes<T>(a, b, kStep, false) + blend_lanes<T>(a, b, kStep, true);
    }
    return reduce_rows<T, kStep / 2>(rows);
  }
  return rows[0];
}

}  // namespace clmer::CLMER_LEVEL
