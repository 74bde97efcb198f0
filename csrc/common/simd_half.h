// Loading and storing rows in storage types narrower than the arithmetic: bfloat16 and float16 are
// read as float and rounded to nearest even when written. Included like simd_vec.h, by files that
// are compiled once per SIMD level.
#pragma once

#include <cstring>

#include "common/simd_vec.h"

namespace clmer::CLMER_LEVEL {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline uint32_t to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// One element.
inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline float widen(BFloat16 x) { return from_bits(uint32_t(x.bits) << 16); }
inline float widen(Float16 x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, rest = x.bits & 0x7FFF;
  if (rest >= 0x7C00) return from_bits(sign | 0x7F800000 | (rest & 0x3FF) << 13);
  if (rest < 0x400) return from_bits(sign | to_bits(float(rest) * 0x1p-24f));
  return from_bits(sign | ((rest << 13) + (112u << 23)));
}

inline void narrow(float x, float* to) { *to = x; }
inline void narrow(double x, double* to) { *to = x; }
inline void narrow(float x, BFloat16* to) {
  const uint32_t bits = to_bits(x);
  const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  to->bits = uint16_t(nan ? (bits >> 16) | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline void narrow(float x, Float16* to) {
  const uint32_t bits = to_bits(x), rest = bits & 0x7FFFFFFF;
  uint32_t half;
  if (rest > 0x7F800000) {
    half = 0x7E00;
  } else if (rest >= 0x477FF000) {  // 65520 and more
    half = 0x7C00;
  } else if (rest < 0x38800000) {  // subnormal: adding 1/2 rounds to multiples of 2^-24
    half = to_bits(from_bits(rest) + 0.5f) - to_bits(0.5f);
  } else {
    half = (rest + 0xFFF + (rest >> 13 & 1) - (112u << 23)) >> 13;
  }
  to->bits = uint16_t((bits >> 16 & 0x8000) | half);
}

// The first `count` elements, zeros after them; nothing beyond them is touched.
template <class T, class S>
inline Vec<T> load_few(const S* p, int64_t count, int64_t step = 1) {
  T few[kLanes<T>] = {};
  for (int64_t i = 0; i < count && i < kLanes<T>; ++i) few[i] = widen(p[i * step]);
  return load(few);
}

template <class T, class S>
inline void store_few(S* p, Vec<T> v, int64_t count) {
  T few[kLanes<T>];
  store(few, v);
  for (int64_t i = 0; i < count && i < kLanes<T>; ++i) narrow(few[i], p + i);
}

template <class T>
inline Vec<T> load_part(const T* p, int64_t count) {
  return FirstLanes<T>(count).load(p);
}
template <class T>
inline void store_part(T* p, Vec<T> v, int64_t count) {
  FirstLanes<T>(count).store(p, v);
}

#if defined(__AVX512F__)

typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

inline __m256i load_halves(const void* p, int64_t count) {
  return _mm256_maskz_loadu_epi16(__mmask16(count < 16 ? (1u << count) - 1 : ~0u), p);
}
inline Vec<float> load_part(const BFloat16* p, int64_t count) {
  return (Vec<float>)(__builtin_convertvector((Halves)load_halves(p, count), Words) << 16);
}
inline Vec<float> load_part(const Float16* p, int64_t count) {
  return (Vec<float>)_mm512_maskz_cvtph_ps(__mmask16(~0), load_halves(p, count));
}

inline void store_part(BFloat16* p, Vec<float> v, int64_t count) {
  const Words bits = (Words)v;
  const Words rounded = v == v ? bits + 0x7FFF + (bits >> 16 & 1) : bits | 0x400000;
  _mm256_mask_storeu_epi16(p, __mmask16(count < 16 ? (1u << count) - 1 : ~0u),
                           (__m256i) __builtin_convertvector(rounded >> 16, Halves));
}
inline void store_part(Float16* p, Vec<float> v, int64_t count) {
  const __m256i halves = _mm512_maskz_cvtps_ph(__mmask16(~0), (__m512)v, _MM_FROUND_TO_NEAREST_INT);
  _mm256_mask_storeu_epi16(p, __mmask16(count < 16 ? (1u << count) - 1 : ~0u), halves);
}

#else

inline Vec<float> load_part(const BFloat16* p, int64_t count) { return load_few<float>(p, count); }
inline Vec<float> load_part(const Float16* p, int64_t count) {
#if defined(__AVX2__)
  if (count >= kLanes<float>) {
    return (Vec<float>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
#endif
  return load_few<float>(p, count);
}

inline void store_part(BFloat16* p, Vec<float> v, int64_t count) { store_few<float>(p, v, count); }
inline void store_part(Float16* p, Vec<float> v, int64_t count) {
#if defined(__AVX2__)
  if (count >= kLanes<float>) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
    return;
  }
#endif
  store_few<float>(p, v, count);
}

#endif

}  // namespace clmer::CLMER_LEVEL
